/*
 * What the tests of the CUDA backend share. The same sources run on a GPU and, with EMULATED defined, on the emulator:
 * test_device_twin.c says on which.
 */
#ifndef FUSEDOPT_TESTS_TWINS_H
#define FUSEDOPT_TESTS_TWINS_H

#include "../api/books.h"
#include "../numerics/buffers.h"

#include <cuda_runtime_api.h>

/* ---- the device ---------------------------------------------------------------------------------------------- */

#define CUDA_OK(call) expect_cuda(call, #call)
void expect_cuda(cudaError_t error, const char *call);

/* Skips the test, and says why, unless there are so many devices; the emulator gives them. */
void need_devices(int count);

/* Skips the test unless it runs on the emulator, which alone can make `what` happen. */
void need_emulator(const char *what);

/* Choose the orders of threads, blocks and streams' work that a test should be run in: some on the emulator, one on a
 * GPU. */
size_t mode_count(void);
const char *choose_mode(size_t index); /* any index; the name of the mode */

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* A mirror: the same bytes on the host and on the device. */
typedef struct mirror {
    unsigned char *host, *device;
    size_t bytes;
} mirror;

mirror mirror_new(size_t bytes); /* filled with a pattern */
void mirror_free(mirror m);
void mirror_upload(mirror m);
unsigned char *mirror_download(mirror m); /* the device's bytes, to be freed */

/* Get the current device's memory, and give it back, as members of `books`. */
void *give_device(books *b, size_t bytes, size_t alignment);
void take_device(books *b, void *block);

/* Allocates as a malloc() that does not fail, and may be asked for nothing. */
void *memory(size_t bytes);

/* ---- twins --------------------------------------------------------------------------------------------------- */

/* Tensors as twins: the same ones in memory of the host, for the CPU backend, and in memory of the device. All arrays
 * of a kind lie in one block, a few bytes apart, so that what is written beyond one is found out. */
typedef struct shape {
    fopt_format param, grad;
    size_t count, group;
    size_t param_shift, grad_shift, state_shift; /* elements beyond an address that is aligned to 64 bytes */
    uint64_t global_id;                          /* this and the following as in fopt_tensor */
    size_t first_element;
} shape;

#define TWINS_SEED 5 /* of both optimizers */

typedef struct twins {
    const fopt_group *groups;
    size_t group_count, tensor_count, grad_sets;
    fopt_tensor *host, *device; /* descriptions; the gradients of the first set */
    mirror params, grads, states;
    size_t grad_stride; /* bytes from one set of gradients to the next */
    fopt_array *host_states, *device_states;
    fopt_optimizer *cpu, *cuda;
    cudaStream_t stream; /* where the device's part of all calls goes; the default one to begin with */
} twins;

/* Makes tensors of adversarial data, one in eight elements, and several sets of gradients for them. */
twins *twins_new(const fopt_group *groups, size_t group_count, const shape *shapes, size_t tensor_count,
                 size_t grad_sets, uint64_t seed);
void twins_free(twins *t); /* the optimizers too */

fopt_config cuda_config(void); /* the current device, TWINS_SEED */
/* Creates both optimizers, by the first set of gradients, except that tensors i with i % skip == 0 have none if skip is
 * not 0. */
void twins_create(twins *t, size_t skip);

/* Make the calls of fusedopt.h on both. */
void twins_step(twins *t);
void twins_set_lr(twins *t, size_t group, double lr);
void twins_set_group(twins *t, size_t group, const fopt_group *value);
void twins_set_step(twins *t, size_t tensor, int64_t step);
void twins_zero_grads(twins *t);
/* Gives them that set of gradients; none to the tensors i with i % skip == set % skip, if skip is not 0. */
void twins_set_grads(twins *t, size_t set, size_t skip);

/* Updates all tensors by fopt_update(), with state of the caller's, which is zero before the first. */
void twins_update(twins *t, size_t set, int64_t step);

/* Waits, and fails unless both have the same parameters, gradients, states and step counts. */
void twins_compare(twins *t);

/* Returns the device's address of what is in the block of parameters or gradients. */
void *on_device(const twins *t, const void *host);

#endif
