/* The input of the kernels of every backend: a record for each tensor, and one for each group. */
#ifndef FOPT_I_RECORD_H
#define FOPT_I_RECORD_H

#include "arithmetic.h"
#include "fusedopt.h"

/* Number of the last step, where the count stops: all up to it are exact in double. */
#define FOPT_I_LAST_STEP ((int64_t)1 << 53)

FOPT_FN int64_t fopt_i_next_step(int64_t step)
{
    return step < FOPT_I_LAST_STEP ? step + 1 : step;
}

typedef struct fopt_i_record {
    void *param;
    void *grad;                        /* NULL: skip this tensor */
    void *state[FOPT_I_STATE_KINDS];   /* NULL: the rule keeps none */
    float *absmax[FOPT_I_STATE_KINDS]; /* of moments whose blocks have a scale, one a block; else NULL */
    uint64_t count;
    uint64_t first_tile;  /* place of its first tile in the walk, whose order is the backend's */
    uint64_t id;          /* global_id */
    uint64_t tile_offset; /* of this shard in the whole tensor */
    int64_t step;         /* steps made so far */
    uint32_t group;
    uint8_t param_format, grad_format;
} fopt_i_record;

typedef struct fopt_i_group {
    fopt_group value;
    unsigned kinds; /* set of state arrays */
    unsigned loop;  /* index into FOPT_I_LOOPS */
} fopt_i_group;

FOPT_FN uint64_t fopt_i_tile_count(uint64_t count)
{
    return count / FOPT_I_TILE + (count % FOPT_I_TILE != 0);
}

#endif
