/* The step: a warp takes a tile of any tensor. */
#include "../begin.h"
#include "launch.h"
#include "step_tile.cuh"

enum { WARPS = 8, BLOCK = WARPS * FOPT_I_WARP, MOST_TILES = 8 };

/* Returns how many blocks must fit a multiprocessor, which caps the registers: so many that no kernel spills. A warp
 * has two to four KiB of loads under way, so that two blocks keep the memory busy. With quantized moments it has less,
 * but instructions are the bound there. */
static constexpr unsigned blocks_per_sm(unsigned kinds, bool quantized)
{
    return quantized && kinds & FOPT_I_MAX_SECOND ? 1 : 2;
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

/* A warp's walk over the tiles of a launch. A block takes `each` neighbours a warp, in turn, so that a warp seldom
 * comes to another tensor; then, if there are fewer blocks than it takes, the next ones. A launch has less than 2^32
 * tiles: 10^12 elements, more than any device has memory for. */
struct walk {
    uint32_t tile, left; /* left: of the neighbours, this one too */
};

__device__ __forceinline__ walk first_tile_of_warp(uint32_t each)
{
    return {blockIdx.x * WARPS * each + threadIdx.x / FOPT_I_WARP, each};
}

/* Advances to this warp's next tile; returns false if there is none. */
__device__ __forceinline__ bool next_tile(walk &w, uint32_t each, uint32_t count)
{
    uint32_t step = WARPS;
    if (--w.left == 0) {
        w.left = each;
        step += (gridDim.x - 1) * WARPS * each;
    }
    const bool more = count - w.tile > step;
    w.tile += step;
    return more;
}

__device__ __forceinline__ uint32_t lane_index()
{
    return threadIdx.x % FOPT_I_WARP;
}

__device__ __forceinline__ work work_of(const fopt_i_record *records, const fopt_i_group *groups,
                                        const fopt_i_coef *coefs, const fopt_i_random_key *random_keys, uint32_t index)
{
    return {&records[index], groups[records[index].group].value.state_format, &coefs[index], random_keys[index]};
}

/* Steps a tile of the tables that is not usual, or not ordinary. A function of its own: none of the others' registers
 * are for it. */
template <class Loop>
static __device__ __attribute__((noinline)) void
step_unusual(const fopt_i_record *records, const fopt_i_group *groups, const fopt_i_coef *coefs,
             const fopt_i_random_key *random_keys, uint32_t index, uint64_t tile)
{
    __builtin_assume(__isGlobal(records));
    __builtin_assume(__isGlobal(groups));
    __builtin_assume(__isGlobal(coefs));
    __builtin_assume(__isGlobal(random_keys));
    const work w = work_of(records, groups, coefs, random_keys, index);
    if (w.record->grad)
        step_any<Loop>(w, tile - w.record->first_tile, lane_index());
}

template <class Loop>
static __global__ void __launch_bounds__(BLOCK, blocks_per_sm(Loop::kinds, Loop::quantized))
    step_tables(const fopt_i_cuda_tables tables, uint64_t first, uint32_t count, uint32_t each)
{
    if (Loop::quantized)
        fopt_i_share_maps();
    walk at = first_tile_of_warp(each);
    if (at.tile >= count)
        return;
    const uint32_t *const indices = tables.tile_records + first;
    tensor t;
    t.usual_tiles = 0;
    uint32_t first_tile = 0;
    do {
        if (at.tile - first_tile >= t.usual_tiles) { /* of another tensor */
            const uint32_t index = indices[at.tile];
            t = tensor_of<Loop>(work_of(tables.records, tables.groups, tables.coefs, tables.random_keys, index),
                                lane_index());
            first_tile = (uint32_t)(tables.records[index].first_tile - first);
        }
        const uint32_t tile = at.tile - first_tile;
        if (tile >= t.usual_tiles || !step_usual<Loop>(t, tile, lane_index())) {
            step_unusual<Loop>(tables.records, tables.groups, tables.coefs, tables.random_keys, indices[at.tile],
                               first + at.tile);
            t.usual_tiles = 0; /* looked up again, rather than kept in registers during all that */
        }
    } while (next_tile(at, each, count));
}

struct update_arguments {
    fopt_i_record record;
    fopt_format state_format[FOPT_I_STATE_KINDS];
    fopt_i_beginning beginning;
    uint32_t tile_count, each;
};

template <class Loop>
static __global__ void __launch_bounds__(BLOCK, blocks_per_sm(Loop::kinds, Loop::quantized))
    step_update(const __grid_constant__ update_arguments arguments)
{
    if (Loop::quantized)
        fopt_i_share_maps();
    walk at = first_tile_of_warp(arguments.each);
    if (at.tile >= arguments.tile_count)
        return;
    const work w = {&arguments.record, arguments.state_format, &arguments.beginning.coef,
                    arguments.beginning.random_key};
    const tensor t = tensor_of<Loop>(w, lane_index());
    do
        if (at.tile >= t.usual_tiles || !step_usual<Loop>(t, at.tile, lane_index()))
            step_any<Loop>(w, at.tile, lane_index());
    while (next_tile(at, arguments.each, arguments.tile_count));
}

/* ---- launches ------------------------------------------------------------------------------------------------ */

cudaError_t fopt_i_cuda_multiprocessors(uint32_t *count)
{
    int device = 0, found = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&found, cudaDevAttrMultiProcessorCount, device);
    *count = (uint32_t)found;
    return error;
}

/* A warp takes several tiles, because of what it looks up for a tensor: at most MOST_TILES, so that the device hands
 * them out as it gets on; or, with quantized moments, as many as there are, since its block has filled shared memory
 * first. But no multiprocessor is left without. */
template <class Loop>
static cudaLaunchConfig_t configuration(uint64_t tile_count, uint32_t multiprocessors, cudaStream_t stream,
                                        uint32_t *each)
{
    const uint64_t full = (uint64_t)multiprocessors * blocks_per_sm(Loop::kinds, Loop::quantized);
    const uint64_t share = tile_count / (full * WARPS);
    *each = share >= MOST_TILES ? MOST_TILES : share > 1 ? (uint32_t)share : 1;
    const uint64_t turn = (uint64_t)WARPS * *each, all = (tile_count + turn - 1) / turn;
    const uint64_t blocks = Loop::quantized && all > full ? full : all;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks <= INT32_MAX ? (unsigned)blocks : UINT32_MAX); /* which the launch refuses */
    config.blockDim = dim3(BLOCK);
    config.stream = fopt_i_cuda_stream(stream);
    return config;
}

template <class Loop>
static cudaError_t launch_tables(const fopt_i_cuda_tables *tables, uint64_t first, uint64_t count,
                                 uint32_t multiprocessors, cudaStream_t stream)
{
    uint32_t each = 0;
    const cudaLaunchConfig_t config = configuration<Loop>(count, multiprocessors, stream, &each);
    return cudaLaunchKernelEx(&config, step_tables<Loop>, *tables, first, (uint32_t)count, each);
}

template <class Loop>
static cudaError_t launch_update(update_arguments &arguments, uint32_t multiprocessors, cudaStream_t stream)
{
    const cudaLaunchConfig_t config =
        configuration<Loop>(arguments.tile_count, multiprocessors, stream, &arguments.each);
    return cudaLaunchKernelEx(&config, step_update<Loop>, arguments);
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
                             uint32_t multiprocessors, cudaStream_t stream)
{
    static cudaError_t (*const launches[])(const fopt_i_cuda_tables *, uint64_t, uint64_t, uint32_t, cudaStream_t) = {
#define FOPT_I_ROW(arithmetic, variant, kinds, quantized) launch_tables<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    return launches[loop](tables, first, count, multiprocessors, stream);
}

cudaError_t fopt_i_cuda_update(const fopt_i_record *record, const fopt_i_group *group, uint64_t seed,
                               cudaStream_t stream)
{
    static cudaError_t (*const launches[])(update_arguments &, uint32_t, cudaStream_t) = {
#define FOPT_I_ROW(arithmetic, variant, kinds, quantized) launch_update<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    update_arguments arguments = {};
    arguments.record = *record;
    memcpy(arguments.state_format, group->value.state_format, sizeof arguments.state_format);
    if (!fopt_i_begin_step(record, group, seed, &arguments.beginning))
        return cudaSuccess;
    arguments.tile_count = (uint32_t)fopt_i_tile_count(record->count);
    uint32_t multiprocessors = 0;
    const cudaError_t error = fopt_i_cuda_multiprocessors(&multiprocessors);
    return error ? error : launches[group->loop](arguments, multiprocessors, stream);
}
