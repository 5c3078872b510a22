/*
 * The formats whose elements share a tile's scale, once more, from their definitions and sharing nothing with the
 * library: in double, whose 53 bits hold the distance of two floats from 1e-7 to 1 exactly.
 *
 * To add one: a function that says what a code stands for, and a row of the table in quantized.c.
 */
#ifndef FUSEDOPT_TESTS_QUANTIZED_H
#define FUSEDOPT_TESTS_QUANTIZED_H

#include "fusedopt.h"

#include <stdbool.h>

bool is_quantized(fopt_format format);

/* Whether moments of a kind have a sign. */
bool moment_has_sign(fopt_state_kind kind);

/* What a code stands for, over absmax; NaN if nothing is ever stored as it. */
double quantized_value(fopt_format format, bool has_sign, unsigned code);

/* The code of the value nearest to y: a tie goes to the even code. */
unsigned quantized_nearest(fopt_format format, bool has_sign, double y);

/* The value of one moment. */
double quantized_get(const fopt_array *moments, fopt_state_kind kind, size_t index);

/* How far x is from the nearest value that it may be stored as in a tile with this absmax: a positive one of a moment
 * without sign never as zero. */
double quantized_distance(fopt_format format, bool has_sign, double x, double absmax);

/* Makes the tables that are otherwise made when they are first asked: threads may then ask at once. */
void quantized_prepare(void);

#endif
