/* Quartiles, by which the program tells of many measurements. */
#ifndef QUARTILES_H
#define QUARTILES_H

#include <stddef.h>

/* A quarter of the values lies below `low`, half below `middle`, three quarters below `high`. */
typedef struct quartiles {
    double low, middle, high;
} quartiles;

/* Returns the quartiles of at least one value; sorts them. */
quartiles quartiles_of(double *values, size_t count);

/* Returns the middle half's width as a part of the middle. */
double quartiles_spread(quartiles q);

/* Returns by what part of the smaller one the medians of the first and the second half differ: what changed while the
 * values were gathered. Sorts the halves, each for itself. */
double quartiles_drift(double *values, size_t count);

#endif
