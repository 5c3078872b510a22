/* The machine, as the JSON files of measurements tell of it. */
#include "machine/machine_json.h"

#ifdef FUSEDOPT_HAVE_JANSSON

#include "machine/hardware.h"
#include "program/commit.h"
#include "program/compiler.h"
#include <jansson.h>
#include <sys/utsname.h>
#ifdef FUSEDOPT_HAVE_CBLAS
#include <cblas.h>
#endif

static json_t *describe_device(fopt_device device)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(device, &info) != FOPT_OK)
        return NULL;
    if (device.kind == FOPT_CPU)
        return json_pack("{s:s, s:s, s:s, s:i}", "kind", "cpu", "name", info.name, "isa", fopt_isa_name(info.isa),
                         "threads", info.threads);
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:I}", "kind", "cuda", "name", info.name, "compute_major",
                     info.compute_major, "compute_minor", info.compute_minor, "multiprocessors", info.multiprocessors,
                     "memory_bytes", (json_int_t)info.memory_bytes);
}

static json_t *describe_versions(fopt_device device)
{
#ifdef FUSEDOPT_HAVE_CBLAS
    const char *blas = openblas_get_config();
#else
    const char *blas = "none";
#endif
    return json_pack("{s:s, s:s, s:s}", "fusedopt", fopt_version_string(), "blas", blas, "driver",
                     hardware_driver(device));
}

json_t *machine_json(fopt_device device)
{
    struct utsname machine = {0};
    uname(&machine);
    return json_pack("{s:{s:s, s:s, s:s}, s:o, s:s, s:o, s:s}", "machine", "system", machine.sysname, "release",
                     machine.release, "architecture", machine.machine, "device", describe_device(device), "compiler",
                     COMPILER, "versions", describe_versions(device), "commit", build_commit);
}

#endif
