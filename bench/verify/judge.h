/* Says whether results are right: to the bit against other results, and within bounds against the oracle. */
#ifndef JUDGE_H
#define JUDGE_H

#include "../tests/reference/oracle.h"
#include "fusedopt.h"
#include <stddef.h>
#include <stdint.h>

/* The arrays that a step works on: the parameters, then the moments by fopt_state_kind. */
enum { JUDGE_PARAM, JUDGE_STATES, JUDGE_ARRAYS = JUDGE_STATES + FOPT_MOMENTUM_BUFFER + 1 };

/* The arrays before or after a step, and their formats. */
typedef struct judge_arrays {
    unsigned char *data[JUDGE_ARRAYS]; /* NULL: the rule keeps no such moment */
    fopt_format formats[JUDGE_ARRAYS];
    float *absmax[JUDGE_ARRAYS]; /* quantized: from the block on in which the elements to judge begin */
} judge_arrays;

/* Makes the tables that are made but once; call it before threads judge. */
void judge_prepare(void);

const char *judge_array_name(fopt_rule rule, size_t array);

/* Counts the bits in which two arrays differ. In single precision all NaNs are equal; a 16-bit format has one. *first
 * is the first element that differs, if any does. */
uint64_t judge_bits(fopt_format format, const void *got, const void *want, size_t count, size_t *first);

/* Errors are counted as oracle.h says. A code of a quantized format is as wrong as the number, or its block's absmax,
 * would have to be for the code to be one that it may become. */
typedef struct judge_error {
    double ulps;
    size_t element;
    double got, want;
} judge_error;

/* Finds the worst error in each array of elements begin to end - 1, a tensor's, after step number `step`. Elements with
 * finite numbers above FLT_MAX / 4 are left out: their sums may overflow, and fusedopt.h promises nothing of such. */
void judge_step(const fopt_group *group, int64_t step, const judge_arrays *before, fopt_format grad_format,
                const void *grad, const judge_arrays *after, size_t begin, size_t end, judge_error worst[JUDGE_ARRAYS]);

#endif
