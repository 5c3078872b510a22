/*
 * The numbers of the library's formats, as bits, by arithmetic of their own: for the tests, and for `fusedopt verify`,
 * `bench` and `state`.
 */
#ifndef FUSEDOPT_TESTS_NUMBERS_H
#define FUSEDOPT_TESTS_NUMBERS_H

#include "fusedopt.h"
#include "splitmix.h"

#include <stddef.h>
#include <stdint.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Elements of a tile: they share a scale, and a key of random bits. */
#define TILE ((size_t)256)

size_t numbers_bytes(fopt_format format);

/* One element of an array. */
uint32_t numbers_get(fopt_format format, const void *array, size_t index);
void numbers_set(fopt_format format, void *array, size_t index, uint32_t bits);

/* Returns what bits stand for; not a quantized format's, which stand for parts of a tile's absmax. */
double numbers_value(fopt_format format, uint32_t bits);

/* Returns the nearest to it, ties to even; NaN as 0x7fc0, 0x7e00 or 0x7fc00000. */
uint32_t numbers_nearest(fopt_format format, double value);

/* Returns the largest finite number. */
double numbers_largest(fopt_format format);

/* Returns the distance between a 16-bit format's numbers around x; 0 for single precision. */
double numbers_spacing(fopt_format format, double x);

/* Draws a zero, subnormal, infinite, NaN, the least or the largest of its kind, or any bits at all. */
uint32_t numbers_special(fopt_format format, splitmix *random);

/* Draws a number of either sign, from 2^-12 to 2^4. */
uint32_t numbers_ordinary(fopt_format format, splitmix *random);

#endif
