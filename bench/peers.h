/*
 * What a program would do without the library, in single precision, one tensor at a time: a fused loop as one writes it
 * by hand, and a chain of BLAS calls with loops for what BLAS has not. Both on all threads, and compiled for the same
 * instruction sets as the library.
 */
#ifndef PEERS_H
#define PEERS_H

#include "fusedopt.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct peers_tensor {
    float *param;
    const float *grad;
    float *state[FOPT_STATE_KINDS]; /* by fopt_state_kind */
    size_t count;
} peers_tensor;

typedef struct peers_model {
    fopt_group group;
    const peers_tensor *tensors;
    size_t tensor_count;
    float *scratch; /* as many elements as the largest tensor; for BLAS */
    long long step; /* steps made so far */
} peers_model;

/* Whether the peers know the group's rule and options: they know the defaults of each rule, and SGD with momentum, with
 * moments in single precision. */
bool peers_know(const fopt_group *group);

/* The most elements of a tensor: what BLAS can count. */
#define PEERS_LARGEST 0x7fffffff

/* Whether there is a BLAS. */
bool peers_have_blas(void);

/* One step each. */
void peers_loop(peers_model *model);
void peers_blas(peers_model *model);

#endif
