/*
 * CUDA contexts: which one an optimizer works in, and how it is made current for the time of a call.
 *
 * The runtime's cudaSetDevice() would not do. To go back to the caller's device it would make a context there, some
 * hundred megabytes, for a process that never meant to use that device; and it would put a primary context in the place
 * of one that the caller made current through the driver. Pushing a context and popping it again changes nothing.
 */
#ifndef FOPT_I_CUDA_CONTEXT_H
#define FOPT_I_CUDA_CONTEXT_H

#include "fusedopt.h"
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>

/* A context, and the driver's functions for it: the library is linked with the runtime alone. */
typedef struct fopt_i_cuda_context {
    CUcontext handle; /* NULL: whatever is current */
    bool retained;    /* primary, and to be given back */
    CUdevice device;
    PFN_cuCtxPushCurrent_v4000 push;
    PFN_cuCtxPopCurrent_v4000 pop;
    PFN_cuDevicePrimaryCtxRelease_v11000 release;
} fopt_i_cuda_context;

/* Finds the context in which to work on a device for longer: the calling thread's current one if it is of that device,
 * else the device's primary one. One that is not primary must outlive its use here. */
fopt_status fopt_i_cuda_find_context(int device, fopt_i_cuda_context *context);

/* Finds the context for one call, which need not be made current if the device is. */
fopt_status fopt_i_cuda_find_context_once(int device, fopt_i_cuda_context *context);

/* Gives back what was found. */
void fopt_i_cuda_drop_context(const fopt_i_cuda_context *context);

/* Makes a context current. */
fopt_status fopt_i_cuda_push_context(const fopt_i_cuda_context *context);

/* Makes a context current without a message on failure. Returns whether it is current. */
bool fopt_i_cuda_try_push_context(const fopt_i_cuda_context *context);

/* Makes current again what was so before. That cannot fail after a push; if it did, the work would still be done. */
void fopt_i_cuda_pop_context(const fopt_i_cuda_context *context);

/* Reports an error of CUDA's that this call has caused, and takes it off CUDA's record. */
fopt_status fopt_i_cuda_check(cudaError_t error, const char *what);

#endif
