/*
 * FOPT_Q8 once more, straight from the papers' construction and sharing nothing with the library: in double, whose 53
 * bits hold the distance of two floats from 1e-7 to 1 exactly.
 */
#ifndef FUSEDOPT_TESTS_Q8_MAPS_H
#define FUSEDOPT_TESTS_Q8_MAPS_H

#include "fusedopt.h"

#include <stdbool.h>

/* Tells whether moments of a kind have a sign, and so which of the two maps is theirs. */
bool q8_has_sign(fopt_state_kind kind);

/* Returns what a code stands for, over absmax: the float nearest to the exact value. */
double q8_value(bool has_sign, unsigned code);

/* Returns the code of the value nearest to y, by looking at them all: a tie goes to the even code. */
unsigned q8_nearest(bool has_sign, double y);

/* Returns an element of a moment in double. */
double q8_get(const fopt_array *moments, fopt_state_kind kind, size_t index);

/* Returns how far from x a value may be stored in a tile with this absmax, where codes are the nearest. */
double q8_half_gap(bool has_sign, double x, double absmax);

#endif
