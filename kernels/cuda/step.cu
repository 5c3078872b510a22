/* The step: a warp takes a tile of any tensor. */
#include "launch.h"
#include "tile.cuh"

enum { WARPS = 8, BLOCK = WARPS * FOPT_I_WARP };

/* Blocks that must fit a multiprocessor, which caps the registers: as many as there can be without spills. A warp has
 * three to five KiB of loads under way, so that even two blocks keep the memory busy. */
static constexpr unsigned blocks_per_sm(unsigned kinds)
{
    unsigned arrays = 0;
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
        arrays += kinds >> k & 1u;
    return arrays <= 1 ? 4 : arrays == 2 ? 3 : 2;
}

/* ---- one tile ------------------------------------------------------------------------------------------------ */

/* What a tile's elements are computed with: parts of the tables, or of a kernel's arguments. */
struct work {
    const fopt_i_record *record;
    const fopt_format *state_format;
    const fopt_i_coef *coef;
    uint64_t tile; /* of the tensor or shard */
    uint64_t seed;
};

/* A tile's arrays, each from the tile's first element. */
struct arrays {
    void *param, *grad, *state[FOPT_STATE_KINDS];
    unsigned param_format, grad_format, state_format[FOPT_STATE_KINDS];
    uint64_t tile_key[FOPT_STATE_KINDS];
};

/* The loops of rules.h: each is a rule's arithmetic and the state arrays that it keeps. */
#define FOPT_I_TYPE(arithmetic, variant, kinds_)                                                                       \
    struct arithmetic##_##variant {                                                                                    \
        static constexpr unsigned kinds = kinds_;                                                                      \
        static __device__ __forceinline__ fopt_i_element element(const fopt_i_coef &c, fopt_i_element e, float g)      \
        {                                                                                                              \
            return fopt_i_##arithmetic##_element(kinds, c.arithmetic, e, g);                                           \
        }                                                                                                              \
    };
FOPT_I_LOOPS(FOPT_I_TYPE)
#undef FOPT_I_TYPE

__device__ __forceinline__ void *at_tile(void *array, unsigned format, uint64_t tile)
{
    return (char *)array + tile * (FOPT_I_TILE * (format == FOPT_F32 ? 4 : 2));
}

template <unsigned kinds> __device__ __forceinline__ arrays arrays_of(const work &w)
{
    const fopt_i_record &r = *w.record;
    arrays a;
    a.param_format = r.param_format;
    a.grad_format = r.grad_format;
    a.param = at_tile(r.param, a.param_format, w.tile);
    a.grad = at_tile(r.grad, a.grad_format, w.tile);
#pragma unroll
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++) {
        if (!(kinds & 1u << k))
            continue;
        a.state_format[k] = w.state_format[k];
        a.state[k] = at_tile(r.state[k], a.state_format[k], w.tile);
        a.tile_key[k] = a.state_format[k] == FOPT_F32
                            ? 0 /* is not rounded */
                            : fopt_i_tile_key(fopt_i_step_key(w.seed, r.id, r.step, k), r.tile_offset + w.tile);
    }
    return a;
}

template <unsigned kinds> __device__ __forceinline__ bool aligned(const arrays &a)
{
    uintptr_t bits = (uintptr_t)a.param | (uintptr_t)a.grad;
#pragma unroll
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
        if (kinds & 1u << k)
            bits |= (uintptr_t)a.state[k];
    return bits % sizeof(uint4) == 0;
}

template <unsigned kinds> __device__ __forceinline__ bool all_f32(const arrays &a)
{
    unsigned formats = a.param_format | a.grad_format;
#pragma unroll
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
        if (kinds & 1u << k)
            formats |= a.state_format[k];
    return formats == FOPT_F32;
}

__device__ __forceinline__ float &moment(fopt_i_element &e, unsigned kind)
{
    return kind == FOPT_FIRST_MOMENT        ? e.first
           : kind == FOPT_SECOND_MOMENT     ? e.second
           : kind == FOPT_MAX_SECOND_MOMENT ? e.max_second
                                            : e.buffer;
}

/* A whole tile of aligned arrays: eight elements a lane, in registers. */
template <class Loop>
__device__ __forceinline__ void step_whole(const arrays &a, const fopt_i_coef &coef, uint32_t lane)
{
    const fopt_i_place place = fopt_i_place_of(all_f32<Loop::kinds>(a), lane);
    fopt_i_raw raw_param = fopt_i_fetch(a.param, a.param_format, place);
    fopt_i_raw raw_grad = fopt_i_fetch(a.grad, a.grad_format, place);
    fopt_i_raw raw_state[FOPT_STATE_KINDS];
#pragma unroll
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            raw_state[k] = fopt_i_fetch(a.state[k], a.state_format[k], place);

    float param[FOPT_I_EACH], grad[FOPT_I_EACH], state[FOPT_STATE_KINDS][FOPT_I_EACH];
    fopt_i_decode(raw_param, a.param_format, param);
    fopt_i_decode(raw_grad, a.grad_format, grad);
#pragma unroll
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            fopt_i_decode(raw_state[k], a.state_format[k], state[k]);

#pragma unroll
    for (unsigned i = 0; i < FOPT_I_EACH; i++) {
        fopt_i_element e = {param[i], 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                moment(e, k) = state[k][i];
        e = Loop::element(coef, e, grad[i]);
        param[i] = e.param;
#pragma unroll
        for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                state[k][i] = moment(e, k);
    }

    fopt_i_put(a.param, a.param_format, place, fopt_i_encode(param, a.param_format));
#pragma unroll
    for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            fopt_i_put(a.state[k], a.state_format[k], place,
                       fopt_i_encode_moment(state[k], a.state_format[k], (fopt_state_kind)k, a.tile_key[k], place));
}

/* A tensor's partial last tile, and any tile of an array that is not aligned to 16 bytes: element by element. */
template <class Loop>
__device__ __forceinline__ void step_part(const arrays &a, const fopt_i_coef &coef, uint32_t lane, uint32_t count)
{
    for (uint32_t i = lane; i < count; i += FOPT_I_WARP) {
        fopt_i_element e = {fopt_i_load_one(a.param, a.param_format, i), 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                moment(e, k) = fopt_i_load_one(a.state[k], a.state_format[k], i);
        e = Loop::element(coef, e, fopt_i_load_one(a.grad, a.grad_format, i));
        fopt_i_store_one(a.param, a.param_format, i, e.param);
#pragma unroll
        for (unsigned k = 0; k < FOPT_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                fopt_i_store_one_moment(a.state[k], a.state_format[k], i, moment(e, k), (fopt_state_kind)k,
                                        a.tile_key[k]);
    }
}

template <class Loop> __device__ __forceinline__ void step_tile(const work &w, uint32_t lane)
{
    const arrays a = arrays_of<Loop::kinds>(w);
    const fopt_i_coef coef = *w.coef;
    const uint64_t rest = w.record->count - w.tile * FOPT_I_TILE;
    if (rest >= FOPT_I_TILE && aligned<Loop::kinds>(a))
        step_whole<Loop>(a, coef, lane);
    else
        step_part<Loop>(a, coef, lane, rest < FOPT_I_TILE ? (uint32_t)rest : FOPT_I_TILE);
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

/* One tile a warp. A grid may have 2^31 - 1 blocks: 4 * 10^12 elements, more than any device has memory for. */
__device__ __forceinline__ uint64_t warp_index()
{
    return ((uint64_t)blockIdx.x * BLOCK + threadIdx.x) / FOPT_I_WARP;
}

template <class Loop>
static __global__ void __launch_bounds__(BLOCK, blocks_per_sm(Loop::kinds))
    step_tables(const fopt_i_cuda_tables tables, uint64_t first, uint64_t count)
{
    const uint64_t i = warp_index();
    if (i >= count)
        return;
    const uint32_t index = tables.tile_records[first + i];
    const fopt_i_record *record = &tables.records[index];
    if (!record->grad)
        return;
    const work w = {record, tables.groups[record->group].value.state_format, &tables.coefs[index],
                    first + i - record->first_tile, tables.seed};
    step_tile<Loop>(w, threadIdx.x % FOPT_I_WARP);
}

struct update_arguments {
    fopt_i_record record;
    fopt_format state_format[FOPT_STATE_KINDS];
    fopt_i_coef coef;
    uint64_t seed, tile_count;
};

template <class Loop>
static __global__ void __launch_bounds__(BLOCK, blocks_per_sm(Loop::kinds))
    step_update(const __grid_constant__ update_arguments arguments)
{
    const uint64_t tile = warp_index();
    if (tile >= arguments.tile_count)
        return;
    const work w = {&arguments.record, arguments.state_format, &arguments.coef, tile, arguments.seed};
    step_tile<Loop>(w, threadIdx.x % FOPT_I_WARP);
}

/* ---- launches ------------------------------------------------------------------------------------------------ */

static cudaLaunchConfig_t configuration(uint64_t tile_count, cudaStream_t stream)
{
    const uint64_t blocks = (tile_count + WARPS - 1) / WARPS;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks <= INT32_MAX ? (unsigned)blocks : UINT32_MAX); /* which the launch refuses */
    config.blockDim = dim3(BLOCK);
    config.stream = stream;
    return config;
}

template <class Loop>
static cudaError_t launch_tables(const fopt_i_cuda_tables *tables, uint64_t first, uint64_t count, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration(count, stream);
    return cudaLaunchKernelEx(&config, step_tables<Loop>, *tables, first, count);
}

template <class Loop> static cudaError_t launch_update(const update_arguments &arguments, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration(arguments.tile_count, stream);
    return cudaLaunchKernelEx(&config, step_update<Loop>, arguments);
}

cudaError_t fopt_i_cuda_step(const fopt_i_cuda_tables *tables, unsigned loop, uint64_t first, uint64_t count,
                             cudaStream_t stream)
{
    static cudaError_t (*const launches[])(const fopt_i_cuda_tables *, uint64_t, uint64_t, cudaStream_t) = {
#define FOPT_I_ROW(arithmetic, variant, kinds) launch_tables<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    return launches[loop](tables, first, count, stream);
}

cudaError_t fopt_i_cuda_update(const fopt_i_record *record, const fopt_i_group *group, uint64_t seed,
                               cudaStream_t stream)
{
    static cudaError_t (*const launches[])(const update_arguments &, cudaStream_t) = {
#define FOPT_I_ROW(arithmetic, variant, kinds) launch_update<arithmetic##_##variant>,
        FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
    };
    update_arguments arguments = {};
    arguments.record = *record;
    memcpy(arguments.state_format, group->value.state_format, sizeof arguments.state_format);
    fopt_i_coefficients(&group->value, record->step, &arguments.coef);
    arguments.seed = seed;
    arguments.tile_count = fopt_i_tile_count(record->count);
    return launches[group->loop](arguments, stream);
}
