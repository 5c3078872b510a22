/*
 * Steps as a program would make them without the library, in single precision, one tensor at a time: by a fused loop as
 * one writes it by hand, and by a chain of BLAS calls with loops for what BLAS has not. On the CPU both run on all
 * threads, and are compiled for the same instruction sets as the library; on CUDA the chain is cuBLAS's.
 */
#ifndef BY_HAND_H
#define BY_HAND_H

#include "fusedopt.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct by_hand_tensor {
    float *param;
    const float *grad;
    float *state[FOPT_STATE_KINDS]; /* by fopt_state_kind */
    size_t count;
} by_hand_tensor;

typedef struct by_hand_model {
    fopt_device device;
    fopt_stream queue;
    fopt_group group;
    const by_hand_tensor *tensors;
    size_t tensor_count;
    float *scratch; /* as many elements as the largest tensor; for BLAS */
    long long step; /* steps made so far */
} by_hand_model;

/* Tells whether loop and chain know the group's rule and options: the defaults of each rule, and SGD with momentum,
 * with moments in single precision. */
bool by_hand_knows(const fopt_group *group);

/* The most elements of a tensor: what BLAS can count. */
#define BY_HAND_LARGEST 0x7fffffff

/* Tells whether there is a BLAS for the device. */
bool by_hand_has_blas(fopt_device device);

/* Make one step each. Return false if the device failed. */
bool by_hand_loop(by_hand_model *model);
bool by_hand_blas(by_hand_model *model);

/* ---- between by_hand.c and by_hand_cuda.cu --------------------------------------------------------------------- */

/* The Adam here is AdamW too: its decay may be zero. */
typedef enum by_hand_rule { BY_HAND_SGD, BY_HAND_MOMENTUM, BY_HAND_RMSPROP, BY_HAND_ADAM } by_hand_rule;

/* One tensor's step, with what is constant in it. */
typedef struct by_hand_job {
    by_hand_tensor tensor;
    fopt_stream queue;
    float *scratch;
    float lr, momentum, alpha, beta1, beta2, eps;
    float decay;      /* lr * weight_decay */
    float step_size;  /* lr / (1 - beta1^t) */
    float correction; /* 1 / sqrt(1 - beta2^t) */
} by_hand_job;

bool by_hand_cuda_loop(by_hand_rule rule, const by_hand_job *job);  /* in builds with FUSEDOPT_HAVE_CUDA */
bool by_hand_cuda_chain(by_hand_rule rule, const by_hand_job *job); /* in builds with FUSEDOPT_HAVE_CUBLAS */

#ifdef __cplusplus
}
#endif

#endif
