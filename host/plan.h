/* From a list of tensors to tiles and bytes, before anything is allocated. */
#ifndef FOPT_I_PLAN_H
#define FOPT_I_PLAN_H

#include "internal.h"

typedef struct fopt_i_plan {
    fopt_config config;
    const fopt_i_backend *backend;
    uint64_t tile_count;
    size_t name_bytes;
    fopt_sizes sizes;
} fopt_i_plan;

/* Validates everything but overlaps. */
fopt_status fopt_i_make_plan(const fopt_config *config, const fopt_group *groups, size_t group_count,
                             const fopt_tensor *tensors, size_t tensor_count, fopt_i_plan *plan);

/* The bytes that one moment of a tensor takes, and with padding to where the next array may begin. */
#define FOPT_I_ALIGNMENT 64
size_t fopt_i_state_bytes(const fopt_i_group *group, unsigned kind, size_t count);
size_t fopt_i_padded(size_t bytes);

#endif
