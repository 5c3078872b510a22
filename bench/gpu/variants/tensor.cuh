/*
 * The parts that the fast variants share. These take a whole tile of aligned arrays whose formats are known when they
 * are compiled, if Adam's usual options are on and the tile's moments are in the middle of float's range (middle.cuh),
 * or 0. Any other tile goes element by element, as the library takes partial ones.
 */
#ifndef FUSEDOPT_GPU_TENSOR_CUH
#define FUSEDOPT_GPU_TENSOR_CUH

#include "../../../kernels/cuda/step_tile.cuh"
#include "middle.cuh"
#include "variant.h"

#define ALL_LANES 0xffffffffu

template <fopt_format param_, fopt_format grad_, fopt_format state_, bool streaming_ = false> struct formats {
    static constexpr fopt_format param = param_, grad = grad_, state = state_;
    /* With f32 alone a lane takes two runs of four elements, half a tile apart; else eight together. */
    static constexpr bool striped = param == FOPT_F32 && grad == FOPT_F32 && state == FOPT_F32;
    static constexpr bool streaming = streaming_; /* past the caches */
};

template <fopt_format format> __device__ __forceinline__ constexpr uint32_t tile_bytes()
{
    return FOPT_I_TILE * (format == FOPT_F32 ? 4 : format == FOPT_Q8 ? 1 : 2);
}

/* Returns how far into a tile a lane begins. */
template <class F, fopt_format format> __device__ __forceinline__ uint32_t lane_bytes(uint32_t lane)
{
    return lane * (F::striped ? 16 : tile_bytes<format>() / FOPT_I_WARP);
}

/* A tensor, as a warp keeps it in registers for all the tiles that it takes. */
struct tensor_now {
    uint32_t index;                      /* of its record */
    const char *grad;                    /* where the lane's elements of the first tile are */
    char *param, *first, *second;        /* likewise */
    float *first_absmax, *second_absmax; /* quantized moments */
    fopt_i_random_key key;
    uint64_t octet;             /* the lane's in the first tile */
    uint32_t begin, fast_tiles; /* of the launch's tiles; how many whole ones may be taken fast */
    float w1, w2, root_scale, eps, step_size, decay;
    bool decoupled;
};

template <class F>
__device__ __forceinline__ bool may_be_fast(const fopt_i_record *r, const fopt_i_group *g, const fopt_i_adam_coef &c)
{
    uintptr_t bits = (uintptr_t)r->param | (uintptr_t)r->grad;
    if (F::state != FOPT_Q8) /* the library pads arrays of codes */
        bits |= (uintptr_t)r->state[FOPT_FIRST_MOMENT] | (uintptr_t)r->state[FOPT_SECOND_MOMENT];
    return bits % sizeof(uint4) == 0 && r->grad && r->param_format == F::param && r->grad_format == F::grad &&
           g->value.state_format[FOPT_FIRST_MOMENT] == F::state &&
           g->value.state_format[FOPT_SECOND_MOMENT] == F::state &&
           (c.ends.sign | c.first.from_new | c.second.from_new) == 0 && c.ends.most_uncoupled == FOPT_I_NONE_DECAYS &&
           c.root_scale < MIDDLE_LARGEST_COEF && c.eps < MIDDLE_LARGEST_COEF && c.eps > MIDDLE_LEAST_EPS;
}

template <class F>
__device__ __forceinline__ void look_up(const fopt_i_cuda_tables &tables, uint32_t index, uint32_t lane, tensor_now &t)
{
    const fopt_i_record *r = &tables.records[index];
    const fopt_i_adam_coef c = tables.coefs[index].adam;
    t.index = index;
    t.param = (char *)r->param + lane_bytes<F, F::param>(lane);
    t.grad = (char *)r->grad + lane_bytes<F, F::grad>(lane);
    t.first = (char *)r->state[FOPT_FIRST_MOMENT] + lane_bytes<F, F::state>(lane);
    t.second = (char *)r->state[FOPT_SECOND_MOMENT] + lane_bytes<F, F::state>(lane);
    if (F::state == FOPT_Q8) {
        t.first_absmax = r->absmax[FOPT_FIRST_MOMENT];
        t.second_absmax = r->absmax[FOPT_SECOND_MOMENT];
    }
    if (F::state != FOPT_F32) {
        t.key = tables.random_keys[index];
        t.octet = r->tile_offset * FOPT_I_WARP + lane;
    }
    t.begin = (uint32_t)r->first_tile;
    t.fast_tiles = may_be_fast<F>(r, &tables.groups[r->group], c) ? (uint32_t)(r->count / FOPT_I_TILE) : 0;
    t.w1 = c.first.weight, t.w2 = c.second.weight;
    t.root_scale = c.root_scale, t.eps = c.eps, t.step_size = c.step_size, t.decay = c.ends.decay;
    t.decoupled = c.ends.decay != 0.0f;
}

/* Steps any tile, `own` of its tensor, by a whole warp, which may have fetched it in vain. */
template <class Loop>
__device__ __forceinline__ void step_general(const fopt_i_cuda_tables &tables, uint32_t index, uint32_t own,
                                             uint32_t lane)
{
    const fopt_i_record *record = &tables.records[index];
    if (!record->grad)
        return;
    __syncwarp(); /* what a lane has fetched another may store */
    const work w = {record, tables.groups[record->group].value.state_format, &tables.coefs[index],
                    tables.random_keys[index]};
    const arrays a = at_tile<Loop>(arrays_of<Loop>(w), own);
    const fopt_i_coef coef = *w.coef;
    const uint64_t rest = record->count - (uint64_t)own * FOPT_I_TILE;
    step_part<Loop>(a, coef, lane, rest < FOPT_I_TILE ? (uint32_t)rest : FOPT_I_TILE);
}

/* Returns the random bits of the lane's octet of a tile. */
__device__ __forceinline__ uint32_t random_of(const tensor_now &t, uint32_t own)
{
    return fopt_i_random(t.key, t.octet + (uint64_t)own * FOPT_I_WARP);
}

/* ---- arrays --------------------------------------------------------------------------------------------------- */

template <class F, class T> __device__ __forceinline__ T load(const T *at)
{
    __builtin_assume(__isGlobal(at));
    return F::streaming ? __ldcs(at) : *at;
}

template <class F, class T> __device__ __forceinline__ void store(T *at, T value)
{
    __builtin_assume(__isGlobal(at));
    if (F::streaming)
        __stcs(at, value);
    else
        *at = value;
}

/* A lane's eight elements, as they are stored in f32 or bf16. */
template <class F, fopt_format format> struct raw8 {
    static constexpr uint32_t second = F::striped ? tile_bytes<format>() / 2 : 16;
    uint4 a, b; /* b: f32 */

    __device__ __forceinline__ void fetch(const char *at)
    {
        a = load<F>((const uint4 *)at);
        if (format == FOPT_F32)
            b = load<F>((const uint4 *)(at + second));
    }
    __device__ __forceinline__ void decode(float *x) const
    {
        if (format == FOPT_F32) {
            const uint32_t w[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
            for (uint32_t i = 0; i < 8; i++)
                x[i] = fopt_i_float(w[i]);
        } else {
            const uint32_t w[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
            for (uint32_t i = 0; i < 8; i++)
                x[i] = fopt_i_float(i % 2 ? w[i / 2] & 0xffff0000u : w[i / 2] << 16);
        }
    }
    __device__ __forceinline__ void put(char *at) const
    {
        store<F>((uint4 *)at, a);
        if (format == FOPT_F32)
            store<F>((uint4 *)(at + second), b);
    }
};

template <class F> __device__ __forceinline__ raw8<F, FOPT_F32> raw_of_f32(const float *x)
{
    raw8<F, FOPT_F32> raw;
    raw.a = make_uint4(fopt_i_bits(x[0]), fopt_i_bits(x[1]), fopt_i_bits(x[2]), fopt_i_bits(x[3]));
    raw.b = make_uint4(fopt_i_bits(x[4]), fopt_i_bits(x[5]), fopt_i_bits(x[6]), fopt_i_bits(x[7]));
    return raw;
}

/* Makes the library's NaN of the conversion's. */
__device__ __forceinline__ uint32_t mend_nan(uint32_t pair)
{
    if ((pair & 0xffffu) == 0x7fffu)
        pair ^= 0x3fu;
    if (pair >> 16 == 0x7fffu)
        pair ^= 0x3f0000u;
    return pair;
}

/* Rounds, and asks for NaN once: it is the largest that a signed half can be. */
template <class F> __device__ __forceinline__ raw8<F, FOPT_BF16> raw_of_bf16(const float *x)
{
    raw8<F, FOPT_BF16> raw;
    raw.a = make_uint4(bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7]));
    const uint32_t most = max3_halves(max3_halves(raw.a.x, raw.a.y, raw.a.z), raw.a.w, raw.a.w);
    if ((most & 0xffffu) == 0x7fffu || most >> 16 == 0x7fffu)
        raw.a = make_uint4(mend_nan(raw.a.x), mend_nan(raw.a.y), mend_nan(raw.a.z), mend_nan(raw.a.w));
    return raw;
}

/* ---- the element ---------------------------------------------------------------------------------------------- */

/* Computes a lane's new moments. A -0 is not made +0 yet, nor is a subnormal number made 0. */
__device__ __forceinline__ void next_moments(const tensor_now &t, const float *g, float *m, float *v)
{
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        m[i] = fmaf(t.w1, g[i] - m[i], m[i]);
        v[i] = fmaf(t.w2, g[i] * g[i] - v[i], v[i]);
    }
}

template <class F>
__device__ __forceinline__ void step_params(const tensor_now &t, const raw8<F, F::param> &raw, const float *m,
                                            const float *v, char *param)
{
    float p[8];
    raw.decode(p);
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        const float denominator = fmaf(fopt_i_root(true, v[i]), t.root_scale, t.eps);
        float update = t.step_size * fopt_i_quotient(true, m[i], denominator);
        if (t.decoupled)
            update = fmaf(t.decay, p[i], update);
        p[i] -= update;
    }
    if constexpr (F::param == FOPT_F32)
        raw_of_f32<F>(p).put(param);
    else
        raw_of_bf16<F>(p).put(param);
}

/* ---- checks --------------------------------------------------------------------------------------------------- */

/* Returns the largest, in bits. Those of floats that are not negative are ordered as the floats are; any other number's
 * are larger. */
__device__ __forceinline__ uint32_t most_of(const float *x)
{
    uint32_t u[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        u[i] = fopt_i_bits(x[i]);
    return max3(max3(u[0], u[1], u[2]), max3(u[3], u[4], u[5]), max(u[6], u[7]));
}

/* Returns the least of numbers that are not negative, in bits. */
__device__ __forceinline__ uint32_t least_of(const float *x)
{
    uint32_t u[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        u[i] = fopt_i_bits(x[i]);
    return min3(min3(u[0], u[1], u[2]), min3(u[3], u[4], u[5]), min(u[6], u[7]));
}

/* Returns the least magnitude but 0, less 1, in bits; `least` if that is less. */
__device__ __forceinline__ uint32_t least_positive(const float *x, uint32_t least)
{
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        least = add_min(fopt_i_bits(x[i]) & 0x7fffffffu, 0xffffffffu, least);
    return least;
}

/* Returns the largest magnitude, or NaN if one is. */
__device__ __forceinline__ float most_magnitude(const float *x)
{
    return max_or_nan(max_or_nan(max_or_nan(fabsf(x[0]), fabsf(x[1])), max_or_nan(fabsf(x[2]), fabsf(x[3]))),
                      max_or_nan(max_or_nan(fabsf(x[4]), fabsf(x[5])), max_or_nan(fabsf(x[6]), fabsf(x[7]))));
}

/* Returns the least magnitude; passes over NaN. */
__device__ __forceinline__ float least_magnitude(const float *x)
{
    return fminf(fminf(fminf(fabsf(x[0]), fabsf(x[1])), fminf(fabsf(x[2]), fabsf(x[3]))),
                 fminf(fminf(fabsf(x[4]), fabsf(x[5])), fminf(fabsf(x[6]), fabsf(x[7]))));
}

/* Returns whether all of a tile's moments are in the middle, or 0. */
__device__ __forceinline__ bool in_the_middle(const float *m, const float *v)
{
    const bool small = most_of(v) <= MIDDLE_V_BITS && most_magnitude(m) <= MIDDLE_LARGEST;
    const bool large = least_of(v) >= MIDDLE_LEAST_BITS && least_magnitude(m) >= MIDDLE_LEAST;
    return __all_sync(ALL_LANES, small && large) ||
           __all_sync(ALL_LANES, small && least_positive(v, least_positive(m, 0xffffffffu)) >= MIDDLE_LEAST_BITS);
}

#endif
