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

/* The state of an optimizer: for each kind this padding, and then the arrays of all tensors, each starting at a
 * multiple of FOPT_I_ALIGNMENT. CPUs are slow at walking arrays side by side that begin at the same place in a page, as
 * large blocks from malloc() do, parameters and gradients among them (an Adam step took up to 15 % longer), and slower
 * where they are a multiple of a large power of two apart as well (1.75 times as long, with 64M elements). So each kind
 * begins a page and a fifth further on: four fifths are not a page, and the last kind is not where the block begins. */
#define FOPT_I_KIND_PADDING (4096 + 13 * FOPT_I_ALIGNMENT)

/* Of one moment of one tensor. */
typedef struct fopt_i_state_bytes {
    size_t data, absmax;
} fopt_i_state_bytes;

fopt_i_state_bytes fopt_i_bytes_of_state(const fopt_i_group *group, unsigned kind, size_t count);

#endif
