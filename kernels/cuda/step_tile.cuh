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
    fopt_i_random_key random_key;
    uint64_t tile; /* of the tensor or shard */
};

/* A tile's arrays, each from the tile's first element. */
struct arrays {
    void *param, *grad, *state[FOPT_I_STATE_KINDS];
    float *absmax[FOPT_I_STATE_KINDS];
    unsigned param_format, grad_format, state_format[FOPT_I_STATE_KINDS];
    bool rounds; /* a moment, by random bits: those of */
    fopt_i_random_key random_key;
    uint64_t octet; /* the tile's octets, from this one on */
};

/* The loops of rules.h: each is a rule's arithmetic and the state arrays that it keeps. */
#define FOPT_I_TYPE(arithmetic, variant, kinds_, quantized_)                                                           \
    struct arithmetic##_##variant {                                                                                    \
        static constexpr unsigned kinds = kinds_;                                                                      \
        static constexpr bool quantized = quantized_;                                                                  \
        static __device__ __forceinline__ fopt_i_element element(const fopt_i_coef &c, fopt_i_element e, float g)      \
        {                                                                                                              \
            const float gradient = fopt_i_gradient(kinds, c.arithmetic.ends, e.param, g);                              \
            return fopt_i_##arithmetic##_element(kinds, c.arithmetic, e, gradient);                                    \
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
    a.rounds = false;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        a.state_format[k] = w.state_format[k];
        a.rounds = a.rounds || a.state_format[k] != FOPT_F32;
        if (!is_quantized<Loop>(a, k)) {
            a.state[k] = fopt_i_at_tile<false>(r.state[k], a.state_format[k], w.tile);
        } else {
            a.state[k] = fopt_i_at_tile<true>(r.state[k], a.state_format[k], w.tile);
            a.absmax[k] = r.absmax[k] + w.tile * (FOPT_I_TILE / fopt_i_block(a.state_format[k]));
        }
    }
    a.random_key = w.random_key;
    a.octet = (r.tile_offset + w.tile) * (FOPT_I_TILE / 8);
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

/* Returns the random bits of an octet of the tile, if they are needed. */
__device__ __forceinline__ uint32_t random_of(const arrays &a, uint32_t octet)
{
    return a.rounds ? fopt_i_random(a.random_key, a.octet + octet) : 0;
}

__device__ __forceinline__ float &moment(fopt_i_element &e, unsigned kind)
{
    return kind == FOPT_FIRST_MOMENT        ? e.first
           : kind == FOPT_SECOND_MOMENT     ? e.second
           : kind == FOPT_MAX_SECOND_MOMENT ? e.max_second
                                            : e.buffer;
}

/* A lane's elements, and its moments as they were stored. */
struct elements {
    float param[FOPT_I_EACH], grad[FOPT_I_EACH], state[FOPT_I_STATE_KINDS][FOPT_I_EACH];
    fopt_i_raw old[FOPT_I_STATE_KINDS];
};

/* Returns which of the tile's blocks an element is in. */
__device__ __forceinline__ uint32_t block_of(const arrays &a, unsigned kind, uint32_t element)
{
    return element / fopt_i_block(a.state_format[kind]);
}

__device__ __forceinline__ float absmax_of(const arrays &a, unsigned kind, uint32_t element)
{
    return fopt_i_load_one(a.absmax[kind], FOPT_F32, block_of(a, kind, element));
}

/* Stores a block's absmax, by the lane that has its first element. All lanes have read the old ones. */
__device__ __forceinline__ void put_absmax(const arrays &a, unsigned kind, uint32_t element, uint32_t largest)
{
    if (element % fopt_i_block(a.state_format[kind]) == 0)
        fopt_i_store_one(a.absmax[kind], FOPT_F32, block_of(a, kind, element),
                         fopt_i_absmax_of(a.state_format[kind], fopt_i_float(largest), (fopt_state_kind)kind));
}

/* All arrays are fetched before any is decoded. */
template <class Loop>
__device__ __forceinline__ void load_whole(const arrays &a, const fopt_i_maps *maps, fopt_i_place place, elements &e)
{
    const fopt_i_raw raw_param = fopt_i_fetch<false>(a.param, a.param_format, place);
    const fopt_i_raw raw_grad = fopt_i_fetch<false>(a.grad, a.grad_format, place);
    float absmax[FOPT_I_STATE_KINDS];
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k)) {
            e.old[k] = fopt_i_fetch<true>(a.state[k], a.state_format[k], place);
            absmax[k] = absmax_of(a, k, place.run[0]);
        } else {
            e.old[k] = fopt_i_fetch<false>(a.state[k], a.state_format[k], place);
        }
    }
    fopt_i_decode(raw_param, a.param_format, e.param);
    fopt_i_decode(raw_grad, a.grad_format, e.grad);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k))
            fopt_i_decode_scaled(maps, e.old[k], a.state_format[k], absmax[k], (fopt_state_kind)k, e.state[k]);
        else
            fopt_i_decode(e.old[k], a.state_format[k], e.state[k]);
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
    const uint32_t random = random_of(a, lane);
    if (Loop::quantized)
        __syncwarp(); /* all lanes have read the scales */
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        const fopt_state_kind kind = (fopt_state_kind)k;
        if (is_quantized<Loop>(a, k)) {
            const uint32_t lanes = fopt_i_block(a.state_format[k]) / FOPT_I_EACH;
            const uint32_t largest = fopt_i_max_of_lanes(fopt_i_lane_max(all.state[k]), lanes);
            fopt_i_put<true>(a.state[k], a.state_format[k], place,
                             fopt_i_encode_scaled(maps, all.state[k], all.old[k], a.state_format[k],
                                                  fopt_i_float(largest), kind, random));
            put_absmax(a, k, place.run[0], largest);
        } else {
            fopt_i_put<false>(a.state[k], a.state_format[k], place,
                              fopt_i_encode_moment(all.state[k], a.state_format[k], kind, random));
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
            moment(e, k) = fopt_i_load_one_scaled(maps, a.state[k], a.state_format[k], at, absmax_of(a, k, at),
                                                  (fopt_state_kind)k);
        else
            moment(e, k) = fopt_i_load_one(a.state[k], a.state_format[k], at);
    }
    return next_of<Loop>(coef, e, fopt_i_load_one(a.grad, a.grad_format, at));
}

/* Finds the largest magnitude of each block of each moment: lane b has that of block b. The elements are computed here
 * and once more when they are stored: to keep them in between would take registers of the whole tiles, which are almost
 * all. */
template <class Loop>
__device__ __forceinline__ void find_largest(const arrays &a, const fopt_i_coef &coef, const fopt_i_maps *maps,
                                             uint32_t lane, uint32_t count, uint32_t *largest)
{
#pragma unroll 1
    for (uint32_t first = 0; first < count; first += FOPT_I_WARP) {
        const bool mine = first + lane < count;
        fopt_i_element e = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        if (mine)
            e = step_one<Loop>(a, coef, maps, first + lane);
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k)) {
                const uint32_t most = fopt_i_max_of_lanes(fopt_i_larger(0, moment(e, k)), FOPT_I_WARP);
                largest[k] = most > largest[k] && lane == block_of(a, k, first) ? most : largest[k];
            }
    }
}

/* A tensor's partial last tile, and any tile of an array that is not aligned to 16 bytes: element by element. */
template <class Loop>
__device__ __forceinline__ void step_part(const arrays &a, const fopt_i_coef &coef, const fopt_i_maps *maps,
                                          uint32_t lane, uint32_t count)
{
    uint32_t largest[FOPT_I_STATE_KINDS] = {0};
    if (Loop::quantized)
        find_largest<Loop>(a, coef, maps, lane, count, largest);
    for (uint32_t first = 0; first < count; first += FOPT_I_WARP) {
        const uint32_t i = first + lane;
        fopt_i_element e = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        if (i < count) {
            e = step_one<Loop>(a, coef, maps, i);
            fopt_i_store_one(a.param, a.param_format, i, e.param);
        }
        const uint32_t random = random_of(a, i / 8);
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
            if (!(Loop::kinds & 1u << k))
                continue;
            const fopt_state_kind kind = (fopt_state_kind)k;
            if (is_quantized<Loop>(a, k)) {
                const uint32_t own = lane == block_of(a, k, first) ? largest[k] : 0;
                const uint32_t most = fopt_i_max_of_lanes(own, FOPT_I_WARP);
                if (i < count)
                    fopt_i_store_one_scaled(maps, a.state[k], a.state_format[k], i, moment(e, k), fopt_i_float(most),
                                            kind, random);
            } else if (i < count) {
                fopt_i_store_one_moment(a.state[k], a.state_format[k], i, moment(e, k), kind, random);
            }
        }
    }
    if (!Loop::quantized)
        return;
    __syncwarp(); /* all lanes have read the scales */
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k)) {
            const uint32_t element = lane * fopt_i_block(a.state_format[k]);
            if (element < count)
                put_absmax(a, k, element, largest[k]);
        }
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
