/* The plan of an optimizer: tiles and bytes by its descriptions, before anything is allocated. */
#ifndef FOPT_I_PLAN_H
#define FOPT_I_PLAN_H

#include "internal.h"

typedef struct fopt_i_plan {
    fopt_config config;
    const fopt_i_backend *backend;
    size_t group_count, tensor_count;
    uint64_t tile_count;
    size_t name_bytes;
    size_t written_count;    /* no more arrays of the caller's than these are written */
    fopt_i_state_walk state; /* which only counts */
} fopt_i_plan;

/* Reads the configuration, and looks at the arrays of descriptions, but not at what they describe. */
fopt_status fopt_i_begin_plan(const fopt_config *config, const fopt_group *groups, size_t group_count,
                              const fopt_tensor *tensors, size_t tensor_count, fopt_i_plan *plan);

/* Adds a tensor of a group. */
fopt_status fopt_i_plan_tensor(fopt_i_plan *plan, const fopt_i_group *group, size_t index, const fopt_tensor *tensor);

/* Returns the bytes of the optimizer and its tables on the host, which fopt_i_begin_plan() suffices for. */
size_t fopt_i_host_bytes(const fopt_i_plan *plan);

/* Returns all sizes, when all tensors are planned. */
fopt_sizes fopt_i_planned_sizes(const fopt_i_plan *plan);

#endif
