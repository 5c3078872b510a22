/* One moment of one tile, as the CPU's loops get it. */
#ifndef FOPT_I_MOMENTS_H
#define FOPT_I_MOMENTS_H

#include "../random.h"
#include "fusedopt.h"

typedef struct fopt_i_moments {
    void *data;    /* the first element */
    float *absmax; /* of a quantized format: what the elements are, or will be, stored beside */
    fopt_state_kind kind;
    const uint32_t *random; /* of the pairs, where something will be stored: a word each */
} fopt_i_moments;

#endif
