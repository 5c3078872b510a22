/*
 * The step of one tile by one warp, for every loop of rules.h. A whole tile of aligned arrays is computed in registers,
 * eight elements a lane; any other element by element.
 */
#ifndef FOPT_I_STEP_TILE_CUH
#define FOPT_I_STEP_TILE_CUH

#include "../rules/rules.h"
#include "codec.cuh"

/* What a tile's elements are computed with: parts of the tables, or of a kernel's arguments. */
struct work {
    const fopt_i_record *record;
    const fopt_format *state_format;
    const fopt_i_coef *coef;
    uint64_t step_key; /* of the random bits */
    uint64_t tile;     /* of the tensor or shard */
};

/* A tile's arrays, each from the tile's first element. */
struct arrays {
    void *param, *grad, *state[FOPT_I_STATE_KINDS];
    float *absmax[FOPT_I_STATE_KINDS], old_absmax[FOPT_I_STATE_KINDS];
    unsigned param_format, grad_format, state_format[FOPT_I_STATE_KINDS];
    uint64_t tile_key; /* of the random bits */
};

/* The loops of rules.h: each is a rule's arithmetic and the state arrays that it keeps. */
#define FOPT_I_TYPE(arithmetic, variant, kinds_, quantized_)                                                           \
    struct arithmetic##_##variant {                                                                                    \
        static constexpr unsigned kinds = kinds_;                                                                      \
        static constexpr bool quantized = quantized_;                                                                  \
        static __device__ __forceinline__ fopt_i_element element(const fopt_i_coef &c, fopt_i_element e, float g)      \
        {                                                                                                              \
            return fopt_i_##arithmetic##_element(kinds, c.arithmetic, e, g);                                           \
        }                                                                                                              \
    };
FOPT_I_LOOPS(FOPT_I_TYPE)
#undef FOPT_I_TYPE

template <class Loop> __device__ __forceinline__ bool is_quantized(const arrays &a, unsigned kind)
{
    return Loop::quantized && fopt_i_is_quantized(a.state_format[kind]);
}

template <class Loop> __device__ __forceinline__ arrays arrays_of(const work &w)
{
    const fopt_i_record &r = *w.record;
    arrays a;
    a.param_format = r.param_format;
    a.grad_format = r.grad_format;
    a.param = fopt_i_at_tile<false>(r.param, a.param_format, w.tile);
    a.grad = fopt_i_at_tile<false>(r.grad, a.grad_format, w.tile);
    bool rounds = false; /* a moment, by random bits */
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        a.state_format[k] = w.state_format[k];
        rounds = rounds || a.state_format[k] != FOPT_F32;
        if (!is_quantized<Loop>(a, k)) {
            a.state[k] = fopt_i_at_tile<false>(r.state[k], a.state_format[k], w.tile);
        } else {
            a.state[k] = fopt_i_at_tile<true>(r.state[k], a.state_format[k], w.tile);
            a.absmax[k] = r.absmax[k] + w.tile;
            a.old_absmax[k] = fopt_i_load_one(a.absmax[k], FOPT_F32, 0);
        }
    }
    a.tile_key = rounds ? fopt_i_tile_key(w.step_key, r.tile_offset + w.tile) : 0;
    return a;
}

template <unsigned kinds> __device__ __forceinline__ bool aligned(const arrays &a)
{
    uintptr_t bits = (uintptr_t)a.param | (uintptr_t)a.grad;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (kinds & 1u << k)
            bits |= (uintptr_t)a.state[k];
    return bits % sizeof(uint4) == 0;
}

template <unsigned kinds> __device__ __forceinline__ bool all_f32(const arrays &a)
{
    unsigned formats = a.param_format | a.grad_format;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (kinds & 1u << k)
            formats |= a.state_format[k];
    return formats == FOPT_F32;
}

/* Stores the new absmax, after every lane has read the old one. */
__device__ __forceinline__ void put_absmax(const arrays &a, unsigned kind, uint32_t lane, float absmax)
{
    __syncwarp();
    if (lane == 0)
        fopt_i_store_one(a.absmax[kind], FOPT_F32, 0, absmax);
}

__device__ __forceinline__ float &moment(fopt_i_element &e, unsigned kind)
{
    return kind == FOPT_FIRST_MOMENT        ? e.first
           : kind == FOPT_SECOND_MOMENT     ? e.second
           : kind == FOPT_MAX_SECOND_MOMENT ? e.max_second
                                            : e.buffer;
}

/* A lane's elements. */
struct elements {
    float param[FOPT_I_EACH], grad[FOPT_I_EACH], state[FOPT_I_STATE_KINDS][FOPT_I_EACH];
};

/* All arrays are fetched before any is decoded. */
template <class Loop>
__device__ __forceinline__ void load_whole(const arrays &a, const fopt_i_maps *maps, fopt_i_place place, elements &e)
{
    const fopt_i_raw raw_param = fopt_i_fetch<false>(a.param, a.param_format, place);
    const fopt_i_raw raw_grad = fopt_i_fetch<false>(a.grad, a.grad_format, place);
    fopt_i_raw raw_state[FOPT_I_STATE_KINDS];
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            raw_state[k] = is_quantized<Loop>(a, k) ? fopt_i_fetch<true>(a.state[k], a.state_format[k], place)
                                                    : fopt_i_fetch<false>(a.state[k], a.state_format[k], place);
    fopt_i_decode(raw_param, a.param_format, e.param);
    fopt_i_decode(raw_grad, a.grad_format, e.grad);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k))
            fopt_i_decode_scaled(maps, raw_state[k], a.state_format[k], a.old_absmax[k], (fopt_state_kind)k,
                                 e.state[k]);
        else
            fopt_i_decode(raw_state[k], a.state_format[k], e.state[k]);
    }
}

template <class Loop>
__device__ __forceinline__ fopt_i_element next_of(const fopt_i_coef &coef, fopt_i_element old, float gradient)
{
    const fopt_i_element e = Loop::element(coef, old, gradient);
    return Loop::quantized ? fopt_i_contain(Loop::kinds, old, e) : e;
}

/* A whole tile of aligned arrays: eight elements a lane, in registers. */
template <class Loop>
__device__ __forceinline__ void step_whole(const arrays &a, const fopt_i_coef &coef, const fopt_i_maps *maps,
                                           uint32_t lane)
{
    const fopt_i_place place = fopt_i_place_of(all_f32<Loop::kinds>(a), lane);
    elements all;
    load_whole<Loop>(a, maps, place, all);

#pragma unroll
    for (unsigned i = 0; i < FOPT_I_EACH; i++) {
        fopt_i_element e = {all.param[i], 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                moment(e, k) = all.state[k][i];
        e = next_of<Loop>(coef, e, all.grad[i]);
        all.param[i] = e.param;
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                all.state[k][i] = moment(e, k);
    }

    fopt_i_put<false>(a.param, a.param_format, place, fopt_i_encode(all.param, a.param_format));
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        const fopt_state_kind kind = (fopt_state_kind)k;
        if (is_quantized<Loop>(a, k)) {
            const float absmax = fopt_i_warp_max(fopt_i_lane_max(all.state[k]));
            fopt_i_put<true>(
                a.state[k], a.state_format[k], place,
                fopt_i_encode_scaled(maps, all.state[k], a.state_format[k], absmax, kind, a.tile_key, place));
            put_absmax(a, k, lane, absmax);
        } else {
            fopt_i_put<false>(a.state[k], a.state_format[k], place,
                              fopt_i_encode_moment(all.state[k], a.state_format[k], kind, a.tile_key, place));
        }
    }
}

/* ---- a part of a tile ---------------------------------------------------------------------------------------- */

template <class Loop>
__device__ __forceinline__ fopt_i_element step_one(const arrays &a, const fopt_i_coef &coef, const fopt_i_maps *maps,
                                                   uint32_t at)
{
    fopt_i_element e = {fopt_i_load_one(a.param, a.param_format, at), 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k))
            moment(e, k) =
                fopt_i_load_one_scaled(maps, a.state[k], a.state_format[k], at, a.old_absmax[k], (fopt_state_kind)k);
        else
            moment(e, k) = fopt_i_load_one(a.state[k], a.state_format[k], at);
    }
    return next_of<Loop>(coef, e, fopt_i_load_one(a.grad, a.grad_format, at));
}

/* The new absmax of each moment. The elements are computed here and once more when they are stored: to keep
 * them in between would take registers of the whole tiles, which are almost all. */
template <class Loop>
__device__ __forceinline__ void find_absmax(const arrays &a, const fopt_i_coef &coef, const fopt_i_maps *maps,
                                            uint32_t lane, uint32_t count, float *absmax)
{
    uint32_t most[FOPT_I_STATE_KINDS] = {0};
#pragma unroll 1
    for (uint32_t i = lane; i < count; i += FOPT_I_WARP) {
        fopt_i_element e = step_one<Loop>(a, coef, maps, i);
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k))
                most[k] = fopt_i_larger(most[k], moment(e, k));
    }
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k))
            absmax[k] = fopt_i_warp_max(most[k]);
}

/* A tensor's partial last tile, and any tile of an array that is not aligned to 16 bytes: element by element. */
template <class Loop>
__device__ __forceinline__ void step_part(const arrays &a, const fopt_i_coef &coef, const fopt_i_maps *maps,
                                          uint32_t lane, uint32_t count)
{
    float absmax[FOPT_I_STATE_KINDS];
    if (Loop::quantized)
        find_absmax<Loop>(a, coef, maps, lane, count, absmax);
    for (uint32_t i = lane; i < count; i += FOPT_I_WARP) {
        fopt_i_element e = step_one<Loop>(a, coef, maps, i);
        fopt_i_store_one(a.param, a.param_format, i, e.param);
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
            if (!(Loop::kinds & 1u << k))
                continue;
            const fopt_state_kind kind = (fopt_state_kind)k;
            if (is_quantized<Loop>(a, k))
                fopt_i_store_one_scaled(maps, a.state[k], a.state_format[k], i, moment(e, k), absmax[k], kind,
                                        a.tile_key);
            else
                fopt_i_store_one_moment(a.state[k], a.state_format[k], i, moment(e, k), kind, a.tile_key);
        }
    }
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k))
            put_absmax(a, k, lane, absmax[k]);
}

/* `maps` is NULL unless some moments are quantized. */
template <class Loop> __device__ __forceinline__ void step_tile(const work &w, const fopt_i_maps *maps, uint32_t lane)
{
    const arrays a = arrays_of<Loop>(w);
    const fopt_i_coef coef = *w.coef;
    const uint64_t rest = w.record->count - w.tile * FOPT_I_TILE;
    if (rest >= FOPT_I_TILE && aligned<Loop::kinds>(a))
        step_whole<Loop>(a, coef, maps, lane);
    else
        step_part<Loop>(a, coef, maps, lane, rest < FOPT_I_TILE ? (uint32_t)rest : FOPT_I_TILE);
}

#endif
