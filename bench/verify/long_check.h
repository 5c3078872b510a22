/* Checks one tensor of so many elements that 32 bits cannot count them. */
#ifndef LONG_CHECK_H
#define LONG_CHECK_H

#include "verify/check.h"

enum { LONG_CHECK_PERIOD = 1000003 };

/* Returns the bytes that the device's memory must hold: parameters and gradients, nothing besides, of plain SGD. */
size_t long_check_bytes(const check_case *what, uint64_t elements);

/* Makes one step of plain SGD over numbers that repeat with the period above: that divides no power of two, so that an
 * element taken for another one shows. Compares it to the bit with the CPU's portable code over one period, and that
 * with the oracle. `fault`: one unit in the last place of the last element, to see whether it is found. After a failure
 * of the library it complains, as `command` (options.h), and returns false. */
bool long_check(const char *command, fopt_device device, const check_case *what, uint64_t elements, bool fault,
                check_result *result);

#endif
