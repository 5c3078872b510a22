/* A variant: a kernel that does what the library's step does, to be raced against it. */
#ifndef FUSEDOPT_GPU_VARIANT_H
#define FUSEDOPT_GPU_VARIANT_H

#include "../../../kernels/cuda/launch.h"
#include <cuda_runtime.h>

typedef cudaError_t launch_function(const fopt_i_cuda_tables &tables);

struct variant {
    const char *name;
    fopt_format param, grad, state; /* state: of both moments */
    launch_function *launch;        /* on the default stream, of all tiles */
    const void *kernel;
    unsigned warps;      /* a block */
    size_t shared_bytes; /* dynamic, a block */
};

extern const variant landed_f32, landed_bf16_f32, landed_bf16, landed_bf16_q8, landed_f32_q8;
extern const variant tile_a_warp_f32, tile_a_warp_streaming_f32;
extern const variant persistent_f32, persistent_bf16_f32, persistent_bf16;
extern const variant two_tiles_f32, chunks_f32;
extern const variant bins_20_bf16_q8, bins_20_f32_q8, bins_16_bf16_q8, bins_16_f32_q8;
extern const variant bins_prefetch_bf16_q8;

/* Launches as many blocks as the tiles ask for, but no more than `most_per_sm` on a multiprocessor unless that is 0. */
template <class... P, class... A>
cudaError_t launch_blocks(void (*kernel)(P...), unsigned warps, unsigned tiles_per_warp, unsigned most_per_sm,
                          size_t shared_bytes, const fopt_i_cuda_tables &tables, A... more)
{
    const uint64_t turn = (uint64_t)warps * tiles_per_warp;
    uint64_t blocks = (tables.tile_count + turn - 1) / turn;
    if (most_per_sm != 0) {
        int device = 0, multiprocessors = 0;
        cudaError_t error = cudaGetDevice(&device);
        if (!error)
            error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
        if (error)
            return error;
        const uint64_t most = (uint64_t)most_per_sm * (uint64_t)multiprocessors;
        blocks = blocks < most ? blocks : most;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)blocks);
    config.blockDim = dim3(warps * 32);
    config.dynamicSmemBytes = shared_bytes;
    return cudaLaunchKernelEx(&config, kernel, tables, (uint32_t)tables.tile_count, more...);
}

#endif
