/* Checks one case of tests/reference/cases.h: the library on a device against the CPU's portable code to the bit, and
 * that against the oracle, step by step, over tensors of many sizes. */
#ifndef CHECK_H
#define CHECK_H

#include "fusedopt.h"
#include "reference/cases.h"
#include "verify/judge.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct check_case {
    fopt_group group; /* with its state formats */
    case_formats formats;
    uint64_t seed; /* of the data, and of stochastic rounding */
} check_case;

/* A fault to plant in an array after the last step, to see whether it is found: one unit in the last place of the
 * device's result, or, in the reference that the oracle judges, one too large for its bounds. */
typedef struct check_fault {
    size_t array; /* as in judge.h */
    bool absmax;  /* of a quantized format, instead of a code */
    bool in_reference;
} check_fault;

typedef struct check_result {
    uint64_t elements;       /* compared with the oracle */
    uint64_t differing_bits; /* between the device and the reference */
    double param_ulps, state_ulps;
    char message[320]; /* what was wrong first; "" if nothing was */
} check_result;

/* The memory for checks, on the host and on the device, and what they run on. */
typedef struct check_bench check_bench;

/* Makes room for optimizers of nine tensors of awkward sizes and places, and so many small ones. Complains, as
 * `command` (options.h), and returns NULL if memory is lacking. */
check_bench *check_open(const char *command, fopt_device device, size_t small_tensors);
void check_close(check_bench *bench);

/* Returns how many tensors there are in all. */
size_t check_tensors(const check_bench *bench);

/* Tells whether a rule keeps an array. */
bool check_keeps(const fopt_group *group, size_t array);

/* Checks a case. `fault` may be NULL. After a failure of the library it complains, as `command`, and returns false. */
bool check_run(const char *command, check_bench *bench, const check_case *what, const check_fault *fault,
               check_result *result);

#endif
