/* The step: a warp takes a tile of any tensor. */
#include "../begin.h"
#include "launch.h"
#include "step_tile.cuh"

enum { WARPS = 8, BLOCK = WARPS * FOPT_I_WARP };

/* Returns how many blocks must fit a multiprocessor, which caps the registers: as many as there can be without spills.
 * A warp has three to five KiB of loads under way, so that even two blocks keep the memory busy. With quantized moments
 * it has less, but instructions are the bound there. */
static constexpr unsigned blocks_per_sm(unsigned kinds, bool quantized)
{
    unsigned arrays = 0;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        arrays += kinds >> k & 1u;
    const bool few = arrays <= 1 && !(kinds & FOPT_I_SECOND); /* a root and a quotient take registers too */
    return quantized ? (arrays <= 1 ? 3 : 2) : few ? 4 : arrays <= 2 ? 3 : 2;
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

/* Returns the number of this warp. A grid may have 2^31 - 1 blocks: 4 * 10^12 elements, more than any device has memory
 * for. */
__device__ __forceinline__ uint64_t warp_index()
{
    return ((uint64_t)blockIdx.x * BLOCK + threadIdx.x) / FOPT_I_WARP;
}

/* Advances to this warp's next tile; returns false if there is none. A warp takes several only where moments are
 * quantized: there its block has filled shared memory first. */
template <class Loop> __device__ __forceinline__ bool next_tile(uint64_t &tile, uint64_t count)
{
    tile += (uint64_t)gridDim.x * WARPS;
    return Loop::quantized && tile < count;
}

template <class Loop>
__device__ __forceinline__ void step_of_tables(const fopt_i_cuda_tables &tables, uint64_t first, uint64_t tile,
                                               const fopt_i_maps *maps)
{
    const uint32_t index = tables.tile_records[first + tile];
    const fopt_i_record *record = &tables.records[index];
    if (!record->grad)
        return;
    const work w = {record, tables.groups[record->group].value.state_format, &tables.coefs[index],
                    tables.random_keys[index], first + tile - record->first_tile};
    step_tile<Loop>(w, maps, threadIdx.x % FOPT_I_WARP);
}

template <class Loop>
static __global__ void __launch_bounds__(BLOCK, blocks_per_sm(Loop::kinds, Loop::quantized))
    step_tables(const fopt_i_cuda_tables tables, uint64_t first, uint64_t count)
{
    const fopt_i_maps *maps = Loop::quantized ? fopt_i_share_maps() : NULL;
    uint64_t tile = warp_index();
    if (tile < count)
        do
            step_of_tables<Loop>(tables, first, tile, maps);
        while (next_tile<Loop>(tile, count));
}

struct update_arguments {
    fopt_i_record record;
    fopt_format state_format[FOPT_I_STATE_KINDS];
    fopt_i_beginning beginning;
    uint64_t tile_count;
};

template <class Loop>
static __global__ void __launch_bounds__(BLOCK, blocks_per_sm(Loop::kinds, Loop::quantized))
    step_update(const __grid_constant__ update_arguments arguments)
{
    const fopt_i_maps *maps = Loop::quantized ? fopt_i_share_maps() : NULL;
    uint64_t tile = warp_index();
    if (tile < arguments.tile_count)
        do
            step_tile<Loop>({&arguments.record, arguments.state_format, &arguments.beginning.coef,
                             arguments.beginning.random_key, tile},
                            maps, threadIdx.x % FOPT_I_WARP);
        while (next_tile<Loop>(tile, arguments.tile_count));
}

/* ---- launches ------------------------------------------------------------------------------------------------ */

template <class Loop> static cudaError_t configure(uint64_t tile_count, cudaStream_t stream, cudaLaunchConfig_t *config)
{
    uint64_t blocks = (tile_count + WARPS - 1) / WARPS;
    if (Loop::quantized) {
        uint64_t most = 0;
        const cudaError_t error = fopt_i_cuda_multiprocessors(&most);
        if (error != cudaSuccess)
            return error;
        most *= blocks_per_sm(Loop::kinds, true);
        blocks = blocks < most ? blocks : most;
    }
    *config = {};
    config->gridDim = dim3(blocks <= INT32_MAX ? (unsigned)blocks : UINT32_MAX); /* which the launch refuses */
    config->blockDim = dim3(BLOCK);
    config->stream = fopt_i_cuda_stream(stream);
    return cudaSuccess;
}

template <class Loop>
static cudaError_t launch_tables(const fopt_i_cuda_tables *tables, uint64_t first, uint64_t count, cudaStream_t stream)
{
    cudaLaunchConfig_t config;
    const cudaError_t error = configure<Loop>(count, stream, &config);
    return error ? error : cudaLaunchKernelEx(&config, step_tables<Loop>, *tables, first, count);
}

template <class Loop> static cudaError_t launch_update(const update_arguments &arguments, cudaStream_t stream)
{
    cudaLaunchConfig_t config;
    const cudaError_t error = configure<Loop>(arguments.tile_count, stream, &config);
    return error ? error : cudaLaunchKernelEx(&config, step_update<Loop>, arguments);
}

/* Loads a kernel, by asking for its attributes. */
template <class Loop> static cudaError_t load_tables()
{
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, (const void *)step_tables<Loop>);
}

cudaError_t fopt_i_cuda_load_step(unsigned loop)
{
    static cudaError_t (*const loads[])() = {
#define FOPT_I_ROW(arithmetic, variant, kinds, quantized) load_tables<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    return loads[loop]();
}

cudaError_t fopt_i_cuda_step(const fopt_i_cuda_tables *tables, unsigned loop, uint64_t first, uint64_t count,
                             cudaStream_t stream)
{
    static cudaError_t (*const launches[])(const fopt_i_cuda_tables *, uint64_t, uint64_t, cudaStream_t) = {
#define FOPT_I_ROW(arithmetic, variant, kinds, quantized) launch_tables<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    return launches[loop](tables, first, count, stream);
}

cudaError_t fopt_i_cuda_update(const fopt_i_record *record, const fopt_i_group *group, uint64_t seed,
                               cudaStream_t stream)
{
    static cudaError_t (*const launches[])(const update_arguments &, cudaStream_t) = {
#define FOPT_I_ROW(arithmetic, variant, kinds, quantized) launch_update<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    update_arguments arguments = {};
    arguments.record = *record;
    memcpy(arguments.state_format, group->value.state_format, sizeof arguments.state_format);
    if (!fopt_i_begin_step(record, group, seed, &arguments.beginning))
        return cudaSuccess;
    arguments.tile_count = fopt_i_tile_count(record->count);
    return launches[group->loop](arguments, stream);
}
