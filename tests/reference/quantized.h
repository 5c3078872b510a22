/*
 * The formats whose elements share a block's scale, once more, from their definitions and sharing nothing with the
 * library: in double, whose 53 bits hold the distance of two floats from 1e-7 to 1 exactly.
 *
 * To add one: functions that say what a code stands for and what is stored as absmax, and rows of the table in
 * quantized.c.
 */
#ifndef FUSEDOPT_TESTS_QUANTIZED_H
#define FUSEDOPT_TESTS_QUANTIZED_H

#include "fusedopt.h"

#include <stdbool.h>

bool is_quantized(fopt_format format);

/* Elements of a block, and how many blocks there are of `count` elements. */
size_t quantized_block(fopt_format format);
size_t quantized_blocks(fopt_format format, size_t count);

/* Whether moments of a kind have a sign. */
bool moment_has_sign(fopt_state_kind kind);

/* What a code stands for, over absmax; NaN if nothing is ever stored as it. */
double quantized_value(fopt_format format, bool has_sign, unsigned code);

/* What is stored as absmax of a block with this largest magnitude. */
double quantized_absmax(fopt_format format, bool has_sign, double largest);

/* The code of the value nearest to y. */
unsigned quantized_nearest(fopt_format format, bool has_sign, double y);

/* The value of one moment. */
double quantized_get(const fopt_array *moments, fopt_state_kind kind, size_t index);

/* How far from x it may be stored in a block with this absmax. What is rounded by random bits may become either of the
 * two values around it; AMSGrad's maximum becomes the nearest; and a positive moment without sign is never zero. */
double quantized_distance(fopt_format format, fopt_state_kind kind, double x, double absmax);

/* Makes the tables that are otherwise made when they are first asked: threads may then ask at once. */
void quantized_prepare(void);

#endif
