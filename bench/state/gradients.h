/*
 * Synthetic gradients, by which formats of moments are judged. A seed gives the same bits on every machine: besides
 * integers only products and sums of single precision, and what exp() and pow() give in double, rounded to float.
 *
 * Let z be normal, s = 0.001 a size, and m = +-s / 10 the mean of an element, the signal beneath its noise:
 *   dense   z * s + m, s times a lognormal of sigma 0.5
 *   embed   z * s + m, in rows of 64; a row that is not hit gets zeros. Row r of a shuffled order is hit with
 *           probability min(0.9, 2 / (1 + r)^1.1), as Zipf has it
 *   spike   dense; at one step, before the first that is measured, one element in 256 gets 1: a thousand times the size
 *   norm    z * s + m, s times a lognormal of sigma 2: neighbours differ 10 to 1000 times
 *   decay   dense, times 10^(-4 t / steps) at step t
 *   stop    one element in 256 gets 1 for ever; the others z times 10^(-4 place / 256), ten times, then zeros
 */
#ifndef GRADIENTS_H
#define GRADIENTS_H

#include "reference/splitmix.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gradients_kind {
    GRADIENTS_DENSE,
    GRADIENTS_EMBED,
    GRADIENTS_SPIKE,
    GRADIENTS_NORM,
    GRADIENTS_DECAY,
    GRADIENTS_STOP,
    GRADIENTS_KINDS
} gradients_kind;

extern const char *const gradients_names[GRADIENTS_KINDS];

/* The steps of GRADIENTS_STOP that have gradients; the distance of what dominates, there and in GRADIENTS_SPIKE; the
 * elements of a row. */
enum { GRADIENTS_FEW = 10, GRADIENTS_NEIGHBOURS = 256, GRADIENTS_ROW = 64 };

/* The most elements. */
enum { GRADIENTS_MOST = 1 << 18 };

/* Normal numbers, from which the gradients of all kinds are cut. */
typedef struct gradients_pool {
    float *normals;
    splitmix random; /* behind the last draw */
} gradients_pool;

/* Returns false if memory is lacking. */
bool gradients_pool_new(uint64_t seed, gradients_pool *pool);
void gradients_pool_free(gradients_pool *pool);

/* One kind's gradients, of so many elements and steps. */
typedef struct gradients {
    gradients_kind kind;
    size_t elements, steps;
    size_t spike; /* its step */
    const gradients_pool *pool;
    splitmix random;
    float *sizes, *means;
    double *hits; /* the probabilities of rows; NULL but in GRADIENTS_EMBED */
} gradients;

/* Begins. Returns false if memory is lacking; what there is is to be freed then too. */
bool gradients_new(const gradients_pool *pool, gradients_kind kind, size_t elements, size_t steps, size_t spike,
                   gradients *made);
void gradients_free(gradients *made);

/* Writes the gradients of step t: the next one, from 1. */
void gradients_next(gradients *g, size_t t, float *out);

#endif
