/* The numbers of the library's formats, as bits, by arithmetic of the program's own. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include "fusedopt.h"
#include "splitmix.h"

#include <stddef.h>
#include <stdint.h>

size_t numbers_bytes(fopt_format format);

/* One element of an array. */
uint32_t numbers_get(fopt_format format, const void *array, size_t index);
void numbers_set(fopt_format format, void *array, size_t index, uint32_t bits);

/* What bits stand for; not FOPT_Q8's, which stand for parts of a tile's absmax. */
double numbers_value(fopt_format format, uint32_t bits);

/* The largest finite number. */
double numbers_largest(fopt_format format);

/* The distance between a 16-bit format's numbers around x; 0 for single precision. */
double numbers_spacing(fopt_format format, double x);

/* A zero, subnormal, infinite, NaN, the least or the largest of its kind, or any bits at all. */
uint32_t numbers_special(fopt_format format, splitmix *random);

/* Of either sign, from 2^-12 to 2^4. */
uint32_t numbers_ordinary(fopt_format format, splitmix *random);

#endif
