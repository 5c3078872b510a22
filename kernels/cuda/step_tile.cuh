/*
 * The step of one tile by one warp, for every loop of rules.h. An ordinary tile (arithmetic.h) of usual formats goes a
 * short way, with code of its own; any other whole tile of aligned arrays is computed in registers too, eight elements
 * a lane; and what is left element by element.
 */
#ifndef FOPT_I_STEP_TILE_CUH
#define FOPT_I_STEP_TILE_CUH

#include "../rules/rules.h"
#include "ordinary.cuh"

/* What a tensor's elements are computed with: parts of the tables, or of a kernel's arguments. */
struct work {
    const fopt_i_record *record;
    const fopt_format *state_format;
    const fopt_i_coef *coef;
    fopt_i_random_key random_key;
};

/* Arrays, each from the first element of a tile, or the first that a lane has of it. */
struct arrays {
    void *param, *grad, *state[FOPT_I_STATE_KINDS];
    float *absmax[FOPT_I_STATE_KINDS];
    unsigned param_format, grad_format, state_format[FOPT_I_STATE_KINDS];
    fopt_i_random_key random_key;
    uint64_t octet; /* number of the first, in the whole tensor */
};

/* The loops of rules.h: each is a rule's arithmetic and the state arrays that it keeps. `ordinary`: the tile is, and so
 * are the coefficients; without moments nothing is asked of the tile. */
#define FOPT_I_TYPE(arithmetic, variant, kinds_, quantized_)                                                           \
    struct arithmetic##_##variant {                                                                                    \
        static constexpr unsigned kinds = kinds_;                                                                      \
        static constexpr bool quantized = quantized_;                                                                  \
        static __device__ __forceinline__ bool is_ordinary(const fopt_i_coef &c)                                       \
        {                                                                                                              \
            fopt_i_##arithmetic##_coef own = c.arithmetic;                                                             \
            return !fopt_i_##arithmetic##_simplify(&own) && fopt_i_leaves_ordinary(own.ends) &&                        \
                   fopt_i_##arithmetic##_is_ordinary(own);                                                             \
        }                                                                                                              \
        template <bool ordinary>                                                                                       \
        static __device__ __forceinline__ fopt_i_element element(const fopt_i_coef &c, fopt_i_element e, float g)      \
        {                                                                                                              \
            fopt_i_##arithmetic##_coef own = c.arithmetic;                                                             \
            if (!ordinary)                                                                                             \
                return fopt_i_##arithmetic##_element(kinds, own, e, fopt_i_gradient(kinds, own.ends, e.param, g));     \
            fopt_i_##arithmetic##_simplify(&own);                                                                      \
            return fopt_i_##arithmetic##_element(kinds | (kinds != 0 ? FOPT_I_ORDINARY : 0), own, e, g);               \
        }                                                                                                              \
    };
FOPT_I_LOOPS(FOPT_I_TYPE)
#undef FOPT_I_TYPE

template <class Loop> __device__ __forceinline__ bool is_quantized(const arrays &a, unsigned kind)
{
    return Loop::quantized && fopt_i_is_quantized(a.state_format[kind]);
}

/* Return how many blocks a tile has, how many lanes have a block together, and which of the blocks an element is in: no
 * other sizes than these are divided by. */
__device__ __forceinline__ uint32_t blocks_of_tile(const arrays &a, unsigned kind)
{
    return fopt_i_block(a.state_format[kind]) == FOPT_I_TILE ? 1 : FOPT_I_TILE / FOPT_I_SMALL_BLOCK;
}

__device__ __forceinline__ uint32_t lanes_of_block(const arrays &a, unsigned kind)
{
    return fopt_i_block(a.state_format[kind]) == FOPT_I_TILE ? FOPT_I_WARP : FOPT_I_SMALL_BLOCK / FOPT_I_EACH;
}

__device__ __forceinline__ uint32_t block_of(const arrays &a, unsigned kind, uint32_t element)
{
    return fopt_i_block(a.state_format[kind]) == FOPT_I_TILE ? 0 : element / FOPT_I_SMALL_BLOCK;
}

/* ---- arrays --------------------------------------------------------------------------------------------------- */

/* Returns a tensor's arrays, from its first tile. */
template <class Loop> __device__ __forceinline__ arrays arrays_of(const work &w)
{
    const fopt_i_record &r = *w.record;
    arrays a;
    a.param = r.param;
    a.grad = r.grad;
    a.param_format = r.param_format;
    a.grad_format = r.grad_format;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        a.state[k] = r.state[k];
        if (Loop::quantized)
            a.absmax[k] = r.absmax[k];
        a.state_format[k] = w.state_format[k];
    }
    a.random_key = w.random_key;
    a.octet = r.tile_offset * FOPT_I_WARP;
    return a;
}

/* Returns the same from another tile. */
template <class Loop> __device__ __forceinline__ arrays at_tile(arrays a, uint64_t tile)
{
    a.param = fopt_i_at_tile<false>(a.param, a.param_format, tile);
    a.grad = fopt_i_at_tile<false>(a.grad, a.grad_format, tile);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (!is_quantized<Loop>(a, k)) {
            a.state[k] = fopt_i_at_tile<false>(a.state[k], a.state_format[k], tile);
        } else {
            a.state[k] = fopt_i_at_tile<true>(a.state[k], a.state_format[k], tile);
            a.absmax[k] += tile * blocks_of_tile(a, k);
        }
    }
    a.octet += tile * FOPT_I_WARP;
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

/* Returns the same from what a lane has of the tile, if a whole tile is computed. */
template <class Loop> __device__ __forceinline__ arrays of_lane(arrays a, uint32_t lane)
{
    const bool f32 = all_f32<Loop::kinds>(a);
    a.param = fopt_i_at_lane<false>(a.param, a.param_format, f32, lane);
    a.grad = fopt_i_at_lane<false>(a.grad, a.grad_format, f32, lane);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (!is_quantized<Loop>(a, k)) {
            a.state[k] = fopt_i_at_lane<false>(a.state[k], a.state_format[k], f32, lane);
        } else {
            a.state[k] = fopt_i_at_lane<true>(a.state[k], a.state_format[k], f32, lane);
            a.absmax[k] += block_of(a, k, lane * FOPT_I_EACH);
        }
    }
    a.octet += lane;
    return a;
}

/* Returns the random bits of an octet, counted from the arrays' first, if a moment is rounded by such. */
template <class Loop> __device__ __forceinline__ uint32_t random_of(const arrays &a, uint32_t octet)
{
    unsigned formats = FOPT_F32;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            formats |= a.state_format[k];
    return formats == FOPT_F32 ? 0 : fopt_i_random(a.random_key, a.octet + octet);
}

__device__ __forceinline__ float absmax_of(const arrays &a, unsigned kind, uint32_t element)
{
    return fopt_i_load_one(a.absmax[kind], FOPT_F32, block_of(a, kind, element));
}

__device__ __forceinline__ void put_absmax(const arrays &a, unsigned kind, uint32_t block, uint32_t largest)
{
    fopt_i_store_one(a.absmax[kind], FOPT_F32, block,
                     fopt_i_absmax_of(a.state_format[kind], fopt_i_float(largest), (fopt_state_kind)kind));
}

/* ---- elements ------------------------------------------------------------------------------------------------- */

__device__ __forceinline__ float &moment(fopt_i_element &e, unsigned kind)
{
    return kind == FOPT_FIRST_MOMENT        ? e.first
           : kind == FOPT_SECOND_MOMENT     ? e.second
           : kind == FOPT_MAX_SECOND_MOMENT ? e.max_second
                                            : e.buffer;
}

/* Steps an element. Of an ordinary tile nothing has to be contained, or the caller finds out. */
template <class Loop, bool ordinary>
__device__ __forceinline__ fopt_i_element next_of(const fopt_i_coef &coef, fopt_i_element old, float gradient)
{
    const fopt_i_element e = Loop::template element<ordinary>(coef, old, gradient);
    return Loop::quantized && !ordinary ? fopt_i_contain(Loop::kinds, old, e) : e;
}

/* A lane's elements, and its moments as they were stored. */
struct elements {
    float param[FOPT_I_EACH], grad[FOPT_I_EACH], state[FOPT_I_STATE_KINDS][FOPT_I_EACH];
    fopt_i_raw old[FOPT_I_STATE_KINDS];
    bool none_small; /* gradient: no ordinary one is */
};

/* All arrays are fetched before any is decoded. */
template <class Loop, bool ordinary>
__device__ __forceinline__ void load_whole(const arrays &a, uint32_t second_run, elements &e)
{
    float absmax[FOPT_I_STATE_KINDS];
    const fopt_i_raw raw_param = fopt_i_fetch<false>(a.param, a.param_format, second_run);
    const fopt_i_raw raw_grad = fopt_i_fetch<false>(a.grad, a.grad_format, second_run);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k)) {
            e.old[k] = fopt_i_fetch<true>(a.state[k], a.state_format[k], second_run);
            absmax[k] = fopt_i_load_one(a.absmax[k], FOPT_F32, 0);
        } else {
            e.old[k] = fopt_i_fetch<false>(a.state[k], a.state_format[k], second_run);
        }
    }
    fopt_i_decode(raw_param, a.param_format, e.param);
    fopt_i_decode(raw_grad, a.grad_format, e.grad);
    e.none_small = fopt_i_are_none_small(raw_grad, a.grad_format, e.grad);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k) && ordinary)
            fopt_i_decode_ordinary_scaled(e.old[k], a.state_format[k], absmax[k], (fopt_state_kind)k, e.state[k]);
        else if (is_quantized<Loop>(a, k))
            fopt_i_decode_scaled(e.old[k], a.state_format[k], absmax[k], (fopt_state_kind)k, e.state[k]);
        else
            fopt_i_decode(e.old[k], a.state_format[k], e.state[k]);
    }
}

/* ---- a whole tile of aligned arrays: eight elements a lane, in registers -------------------------------------- */

template <class Loop, bool ordinary>
__device__ __forceinline__ void store_moments(const arrays &a, const elements &all, const uint32_t *largest,
                                              uint32_t lane)
{
    const uint32_t second_run = fopt_i_second_run(all_f32<Loop::kinds>(a)), random = random_of<Loop>(a, 0);
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        const fopt_state_kind kind = (fopt_state_kind)k;
        const unsigned format = a.state_format[k];
        if (is_quantized<Loop>(a, k)) {
            const uint32_t lanes = lanes_of_block(a, k), most = fopt_i_max_of_lanes(largest[k], lanes);
            const float block = fopt_i_float(most);
            fopt_i_put<true>(a.state[k], format, second_run,
                             ordinary
                                 ? fopt_i_encode_ordinary_scaled(all.state[k], all.old[k], format, block, kind, random)
                                 : fopt_i_encode_scaled(all.state[k], all.old[k], format, block, kind, random));
            if ((lane & (lanes - 1)) == 0)
                put_absmax(a, k, 0, most);
        } else {
            fopt_i_put<false>(a.state[k], format, second_run,
                              ordinary ? fopt_i_encode_ordinary_moment(all.state[k], format, kind, random)
                                       : fopt_i_encode_moment(all.state[k], format, kind, random));
        }
    }
}

/* Steps the tile, of which the arrays are a lane's. If it is to be an ordinary one and is not, returns false, and has
 * stored nothing. */
template <class Loop, bool ordinary>
__device__ __forceinline__ bool step_whole(const arrays &a, const fopt_i_coef &coef, uint32_t lane)
{
    const uint32_t second_run = fopt_i_second_run(all_f32<Loop::kinds>(a));
    elements all;
    load_whole<Loop, ordinary>(a, second_run, all);
    bool good = Loop::kinds == 0 || all.none_small; /* a large gradient shows in the moments */

#pragma unroll
    for (unsigned i = 0; i < FOPT_I_EACH; i++) {
        fopt_i_element e = {all.param[i], 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                moment(e, k) = all.state[k][i];
        e = next_of<Loop, ordinary>(coef, e, all.grad[i]);
        all.param[i] = e.param;
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k)
                all.state[k][i] = moment(e, k);
    }

    uint32_t largest[FOPT_I_STATE_KINDS] = {0};
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k && (ordinary || Loop::quantized)) {
            const fopt_state_kind kind = (fopt_state_kind)k;
            const fopt_i_range r = fopt_i_range_of(all.state[k], !ordinary || fopt_i_has_sign(kind));
            largest[k] = r.most;
            good &= fopt_i_are_ordinary_moments(r, kind);
        }
    const fopt_i_raw param =
        ordinary ? fopt_i_encode_ordinary(all.param, a.param_format, &good) : fopt_i_encode(all.param, a.param_format);
    if (ordinary && !__all_sync(0xffffffffu, good))
        return false;
    if (Loop::quantized)
        __syncwarp(); /* all lanes have read the scales */

    fopt_i_put<false>(a.param, a.param_format, second_run, param);
    store_moments<Loop, ordinary>(a, all, largest, lane);
    return true;
}

/* ---- a part of a tile ---------------------------------------------------------------------------------------- */

template <class Loop>
__device__ __forceinline__ fopt_i_element step_one(const arrays &a, const fopt_i_coef &coef, uint32_t at)
{
    fopt_i_element e = {fopt_i_load_one(a.param, a.param_format, at), 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!(Loop::kinds & 1u << k))
            continue;
        if (is_quantized<Loop>(a, k))
            moment(e, k) =
                fopt_i_load_one_scaled(a.state[k], a.state_format[k], at, absmax_of(a, k, at), (fopt_state_kind)k);
        else
            moment(e, k) = fopt_i_load_one(a.state[k], a.state_format[k], at);
    }
    return next_of<Loop, false>(coef, e, fopt_i_load_one(a.grad, a.grad_format, at));
}

/* Finds the largest magnitude of each block of each moment: lane b has that of block b. The elements are computed here
 * and once more when they are stored: to keep them in between would take registers of the whole tiles, which are almost
 * all. */
template <class Loop>
__device__ __forceinline__ void find_largest(const arrays &a, const fopt_i_coef &coef, uint32_t lane, uint32_t count,
                                             uint32_t *largest)
{
#pragma unroll 1
    for (uint32_t first = 0; first < count; first += FOPT_I_WARP) {
        const bool mine = first + lane < count;
        fopt_i_element e = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        if (mine)
            e = step_one<Loop>(a, coef, first + lane);
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k)) {
                const uint32_t most = fopt_i_max_of_lanes(fopt_i_bits(moment(e, k)) & 0x7fffffffu, FOPT_I_WARP);
                largest[k] = most > largest[k] && lane == block_of(a, k, first) ? most : largest[k];
            }
    }
}

/* A tensor's partial last tile, and any tile of an array that is not aligned to 16 bytes: element by element. */
template <class Loop>
__device__ __forceinline__ void step_part(const arrays &a, const fopt_i_coef &coef, uint32_t lane, uint32_t count)
{
    uint32_t largest[FOPT_I_STATE_KINDS] = {0};
    if (Loop::quantized)
        find_largest<Loop>(a, coef, lane, count, largest);
    for (uint32_t first = 0; first < count; first += FOPT_I_WARP) {
        const uint32_t i = first + lane;
        fopt_i_element e = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        if (i < count) {
            e = step_one<Loop>(a, coef, i);
            fopt_i_store_one(a.param, a.param_format, i, e.param);
        }
        const uint32_t random = random_of<Loop>(a, i / 8);
#pragma unroll
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
            if (!(Loop::kinds & 1u << k))
                continue;
            const fopt_state_kind kind = (fopt_state_kind)k;
            if (is_quantized<Loop>(a, k)) {
                const uint32_t own = lane == block_of(a, k, first) ? largest[k] : 0;
                const uint32_t most = fopt_i_max_of_lanes(own, FOPT_I_WARP);
                if (i < count)
                    fopt_i_store_one_scaled(a.state[k], a.state_format[k], i, moment(e, k), fopt_i_float(most), kind,
                                            random);
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
        if (Loop::kinds & 1u << k && is_quantized<Loop>(a, k) && lane <= block_of(a, k, count - 1))
            put_absmax(a, k, lane, largest[k]);
}

/* Steps any tile. */
template <class Loop> __device__ __forceinline__ void step_any(const work &w, uint64_t tile, uint32_t lane)
{
    const arrays a = at_tile<Loop>(arrays_of<Loop>(w), tile);
    const fopt_i_coef coef = *w.coef;
    const uint64_t rest = w.record->count - tile * FOPT_I_TILE;
    if (rest >= FOPT_I_TILE && aligned<Loop::kinds>(a))
        step_whole<Loop, false>(of_lane<Loop>(a, lane), coef, lane);
    else
        step_part<Loop>(a, coef, lane, rest < FOPT_I_TILE ? (uint32_t)rest : FOPT_I_TILE);
}

/* ---- ordinary tiles of usual formats -------------------------------------------------------------------------- */

/* A tensor, as a lane keeps it for all the tiles that its warp takes. */
struct tensor {
    arrays all; /* from what the lane has of the first tile */
    fopt_i_coef coef;
    uint32_t
        usual_tiles;  /* so many of its tiles, from the first one on, are whole and aligned, of usual formats and with
                             ordinary coefficients */
    unsigned formats; /* which of FOPT_I_USUAL_FORMATS, from 1 */
};

/* Tells whether a loop has a use for a row of FOPT_I_USUAL_FORMATS with moments of a format. */
template <class Loop> __device__ __forceinline__ bool has_use_for(unsigned state)
{
    return Loop::quantized == fopt_i_is_quantized(state) && (Loop::kinds != 0 || state == FOPT_F32);
}

template <class Loop>
__device__ __forceinline__ bool has_formats(const arrays &a, unsigned param, unsigned grad, unsigned state)
{
    bool same = a.param_format == param && a.grad_format == grad;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            same = same && a.state_format[k] == state;
    return same;
}

template <class Loop> __device__ __forceinline__ tensor tensor_of(const work &w, uint32_t lane)
{
    tensor t;
    t.all = arrays_of<Loop>(w);
    t.coef = *w.coef;
    t.formats = 0;
    unsigned number = 0;
#define FOPT_I_FIND(param, grad, state)                                                                                \
    number++;                                                                                                          \
    if (has_use_for<Loop>(state))                                                                                      \
        t.formats = has_formats<Loop>(t.all, param, grad, state) ? number : t.formats;
    FOPT_I_USUAL_FORMATS(FOPT_I_FIND)
#undef FOPT_I_FIND
    const bool usual = t.formats != 0 && t.all.grad && aligned<Loop::kinds>(t.all) && Loop::is_ordinary(t.coef);
    t.usual_tiles = usual ? (uint32_t)(w.record->count / FOPT_I_TILE) : 0;
    t.all = of_lane<Loop>(t.all, lane);
    return t;
}

template <class Loop, unsigned param, unsigned grad, unsigned state>
__device__ __forceinline__ bool step_with_formats(const tensor &t, uint32_t tile, uint32_t lane)
{
    arrays a = t.all;
    a.param_format = param;
    a.grad_format = grad;
#pragma unroll
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (Loop::kinds & 1u << k)
            a.state_format[k] = state;
    return step_whole<Loop, true>(at_tile<Loop>(a, tile), t.coef, lane);
}

/* Steps one of the usual tiles if it is ordinary; else returns false, and has stored nothing. */
template <class Loop> __device__ __forceinline__ bool step_usual(const tensor &t, uint32_t tile, uint32_t lane)
{
    unsigned number = 0;
#define FOPT_I_TRY(param, grad, state)                                                                                 \
    number++;                                                                                                          \
    if (has_use_for<Loop>(state) && t.formats == number)                                                               \
        return step_with_formats<Loop, param, grad, state>(t, tile, lane);
    FOPT_I_USUAL_FORMATS(FOPT_I_TRY)
#undef FOPT_I_TRY
    return false;
}

#endif
