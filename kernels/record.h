/* What the kernels of every backend are given: a record for each tensor, and one for each group. */
#ifndef FOPT_I_RECORD_H
#define FOPT_I_RECORD_H

#include "arithmetic.h"
#include "fusedopt.h"

/* The last step number: all up to it are exact in double. There the count stops. */
#define FOPT_I_LAST_STEP ((int64_t)1 << 53)

FOPT_FN int64_t fopt_i_next_step(int64_t step)
{
    return step < FOPT_I_LAST_STEP ? step + 1 : step;
}

typedef struct fopt_i_record {
    void *param;
    void *grad; /* NULL: skip this tensor */
    void *state[FOPT_I_STATE_KINDS];
    uint64_t count;
    uint64_t first_tile;  /* place of its first tile in the walk, whose order is the backend's */
    uint64_t id;          /* global_id */
    uint64_t tile_offset; /* of this shard in the whole tensor */
    int64_t step;         /* steps made so far */
    uint32_t group;
    uint8_t param_format, grad_format;
} fopt_i_record;

/* A tensor that is in no optimizer (fopt_update()). */
typedef struct fopt_i_alone {
    fopt_i_record record;
    float *absmax[FOPT_I_STATE_KINDS]; /* of quantized moments, which an optimizer keeps behind their codes */
} fopt_i_alone;

typedef struct fopt_i_group {
    fopt_group value;
    unsigned kinds; /* set of state arrays */
    unsigned loop;  /* index into FOPT_I_LOOPS */
} fopt_i_group;

/* Of all arrays of an optimizer's state. */
#define FOPT_I_ALIGNMENT 64

FOPT_FN size_t fopt_i_padded(size_t bytes)
{
    return (bytes + FOPT_I_ALIGNMENT - 1) / FOPT_I_ALIGNMENT * FOPT_I_ALIGNMENT;
}

/* In an optimizer. */
FOPT_FN float *fopt_i_absmax(const fopt_i_record *r, unsigned kind)
{
    return (float *)((char *)r->state[kind] + fopt_i_padded((size_t)r->count));
}

FOPT_FN uint64_t fopt_i_tile_count(uint64_t count)
{
    return count / FOPT_I_TILE + (count % FOPT_I_TILE != 0);
}

#endif
