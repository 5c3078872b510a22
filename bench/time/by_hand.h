/*
 * What a program would do without the library, in single precision, one tensor at a time: a fused loop as one writes it
 * by hand, and a chain of BLAS calls with loops for what BLAS has not. On the CPU both run on all threads, and are
 * compiled for the same instruction sets as the library; on CUDA the chain is cuBLAS's.
 */
#ifndef PEERS_H
#define PEERS_H

#include "fusedopt.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct peers_tensor {
    float *param;
    const float *grad;
    float *state[FOPT_STATE_KINDS]; /* by fopt_state_kind */
    size_t count;
} peers_tensor;

typedef struct peers_model {
    fopt_device device;
    fopt_stream queue;
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

/* Whether there is a BLAS for the device. */
bool peers_have_blas(fopt_device device);

/* One step each. Return false if the device failed. */
bool peers_loop(peers_model *model);
bool peers_blas(peers_model *model);

/* ---- between peers.c and peers_cuda.cu ------------------------------------------------------------------------- */

/* The Adam here is AdamW too: its decay may be zero. */
typedef enum peers_rule { PEERS_SGD, PEERS_MOMENTUM, PEERS_RMSPROP, PEERS_ADAM } peers_rule;

/* One tensor's step, with what is constant in it. */
typedef struct peers_job {
    peers_tensor tensor;
    fopt_stream queue;
    float *scratch;
    float lr, momentum, alpha, beta1, beta2, eps;
    float decay;      /* lr * weight_decay */
    float step_size;  /* lr / (1 - beta1^t) */
    float correction; /* 1 / sqrt(1 - beta2^t) */
} peers_job;

bool peers_cuda_loop(peers_rule rule, const peers_job *job);  /* in builds with FUSEDOPT_HAVE_CUDA */
bool peers_cuda_chain(peers_rule rule, const peers_job *job); /* in builds with FUSEDOPT_HAVE_CUBLAS */

#ifdef __cplusplus
}
#endif

#endif
