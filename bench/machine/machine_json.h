/* What a JSON file of measurements tells of the machine. */
#ifndef MACHINE_JSON_H
#define MACHINE_JSON_H

#include "fusedopt.h"

/* Returns a new object with the machine, the device, compiler, versions and commit; NULL if it could not be made. Only
 * for builds that write JSON. */
struct json_t *machine_json(fopt_device device);

#endif
