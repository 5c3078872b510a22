/* One moment of one tile, as the CPU's loops get it. */
#ifndef FOPT_I_MOMENTS_H
#define FOPT_I_MOMENTS_H

#include "../random.h"
#include "fusedopt.h"

typedef struct fopt_i_moments {
    void *data;    /* the first element */
    float *absmax; /* of a quantized format: what the blocks are, or will be, stored beside */
    fopt_state_kind kind;
    const uint16_t *random; /* bits for each element, where something will be stored */
    float largest;          /* of a quantized format, where it will be stored: the tile's largest magnitude */
} fopt_i_moments;

/* Returns the largest magnitude of a block. */
static inline float fopt_i_block_largest(const fopt_i_moments *to, size_t block, const float *in, size_t count)
{
    if (block == FOPT_I_TILE)
        return to->largest;
    uint32_t most = 0; /* finite floats are ordered as their bits are */
    for (size_t i = 0; i < count; i++) {
        const uint32_t magnitude = fopt_i_bits(in[i]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return fopt_i_float(most);
}

#endif
