/*
 * The CPU's tile walk, as a template: walk_baseline.c, walk_avx2.c and walk_avx512.c include it, each compiled for its
 * instruction set, and name what it defines, FOPT_I_STEP. The compiler vectorises the loops; but for one table look-up
 * (q8_loops.h) there are no intrinsics, so that the sets cannot differ in what they compute.
 *
 * A tile's arrays are opened (in place or decoded into a buffer), the rule's loop runs over float arrays, and what is
 * in a buffer is encoded again. Whole tiles that are bf16 throughout have a loop that does without buffers.
 */
#if defined(__FP_FAST_FMAF) && defined(__GNUC__) && !defined(__clang__) && !defined(__STRICT_ANSI__)
#error "gcc fuses a * b + c in its GNU modes, and does not tell: compile fusedopt with -std=c11"
#endif

#include "../begin.h"
#include "../formats/formats.h"
#include "isa.h"
#include "q8_loops.h"

#ifdef __GNUC__
#define FOPT_I_INLINE static inline __attribute__((always_inline))
#else
#define FOPT_I_INLINE static inline
#endif

/* One tensor's part of a walk: what all of its tiles share. */
typedef struct visit {
    const fopt_i_record *record;
    const fopt_i_group *group;
    fopt_i_beginning beginning;
} visit;

/* ---- formats ------------------------------------------------------------------------------------------------- */

static const struct {
    size_t element_bytes;
    const fopt_i_format_loops *loops;
} formats[] = {
#define FOPT_I_ROW(format, name, tile_bytes) [format] = {sizeof(fopt_i_##name), &fopt_i_##name##_loops},
    FOPT_I_FORMATS(FOPT_I_ROW)
#undef FOPT_I_ROW
};

FOPT_I_INLINE void *at_tile(void *array, unsigned format, uint64_t tile)
{
    return (char *)array + (size_t)tile * FOPT_I_TILE * formats[format].element_bytes;
}

/* A tile of parameters or gradients as floats: in place, or decoded into `buffer`. */
FOPT_I_INLINE float *open_tile(void *array, unsigned format, uint64_t tile, size_t count, float *buffer)
{
    void *data = at_tile(array, format, tile);
    if (format == FOPT_F32)
        return data;
    formats[format].loops->load(data, count, buffer);
    return buffer;
}

FOPT_I_INLINE fopt_i_moments moments_of(const visit *v, unsigned kind, uint64_t tile)
{
    const fopt_i_record *r = v->record;
    return (fopt_i_moments){
        .data = at_tile(r->state[kind], v->group->value.state_format[kind], tile),
        .absmax = r->absmax[kind] ? r->absmax[kind] + tile : NULL,
        .kind = (fopt_state_kind)kind,
        .tile_key = fopt_i_tile_key(v->beginning.step_keys[kind], r->tile_offset + tile),
    };
}

FOPT_I_INLINE float *open_moments(const fopt_i_moments *from, unsigned format, size_t count, float *buffer)
{
    if (format == FOPT_F32)
        return from->data;
    formats[format].loops->load_moments(from, count, buffer);
    return buffer;
}

/* ---- rules --------------------------------------------------------------------------------------------------- */

typedef fopt_i_element element_function(unsigned kinds, const fopt_i_coef *coef, fopt_i_element e, float gradient);

/* Each arithmetic as it is, and without the options that are most often off: choosing between their outcomes by masks
 * takes a fifth of the time of a loop that arithmetic bounds. */
#define FOPT_I_ELEMENT(arithmetic)                                                                                     \
    FOPT_I_INLINE fopt_i_element element_##arithmetic(unsigned kinds, const fopt_i_coef *coef, fopt_i_element e,       \
                                                      float gradient)                                                  \
    {                                                                                                                  \
        return fopt_i_##arithmetic##_element(kinds, coef->arithmetic, e, gradient);                                    \
    }                                                                                                                  \
    FOPT_I_INLINE fopt_i_element simple_##arithmetic(unsigned kinds, const fopt_i_coef *coef, fopt_i_element e,        \
                                                     float gradient)                                                   \
    {                                                                                                                  \
        fopt_i_##arithmetic##_coef simple = coef->arithmetic;                                                          \
        fopt_i_##arithmetic##_simplify(&simple);                                                                       \
        return fopt_i_##arithmetic##_element(kinds, simple, e, gradient);                                              \
    }                                                                                                                  \
    FOPT_I_INLINE bool is_simple_##arithmetic(fopt_i_coef coef)                                                        \
    {                                                                                                                  \
        return fopt_i_##arithmetic##_simplify(&coef.arithmetic) == 0;                                                  \
    }
FOPT_I_ARITHMETICS(FOPT_I_ELEMENT)
#undef FOPT_I_ELEMENT

/* A part of a tile, as floats. The arrays do not overlap; those of kinds that a rule does not keep are NULL. */
typedef struct arrays {
    float *param, *grad, *state[FOPT_I_STATE_KINDS];
} arrays;

/* The loop that everything else is around. `kinds`, `quantized` and `element` are constants wherever it is
 * inlined. */
FOPT_I_INLINE void loop(unsigned kinds, bool quantized, element_function *element, const fopt_i_coef *coef,
                        size_t count, arrays a)
{
    float *FOPT_I_RESTRICT param = a.param;
    const float *FOPT_I_RESTRICT grad = a.grad;
    float *FOPT_I_RESTRICT first = a.state[FOPT_FIRST_MOMENT];
    float *FOPT_I_RESTRICT second = a.state[FOPT_SECOND_MOMENT];
    float *FOPT_I_RESTRICT max_second = a.state[FOPT_MAX_SECOND_MOMENT];
    float *FOPT_I_RESTRICT buffer = a.state[FOPT_MOMENTUM_BUFFER];

    for (size_t i = 0; i < count; i++) {
        fopt_i_element e = {.param = param[i]};
        if (kinds & FOPT_I_FIRST)
            e.first = first[i];
        if (kinds & FOPT_I_SECOND)
            e.second = second[i];
        if (kinds & FOPT_I_MAX_SECOND)
            e.max_second = max_second[i];
        if (kinds & FOPT_I_BUFFER)
            e.buffer = buffer[i];
        const fopt_i_element old = e;
        e = element(kinds, coef, e, grad[i]);
        if (quantized)
            e = fopt_i_contain(kinds, old, e);
        param[i] = e.param;
        if (kinds & FOPT_I_FIRST)
            first[i] = e.first;
        if (kinds & FOPT_I_SECOND)
            second[i] = e.second;
        if (kinds & FOPT_I_MAX_SECOND)
            max_second[i] = e.max_second;
        if (kinds & FOPT_I_BUFFER)
            buffer[i] = e.buffer;
    }
}

/* The most elements that a vector register holds. */
#define LANES 16

/* The last elements of a tensor, fewer than LANES: through buffers of a full register. Left to the loop they would be
 * computed one at a time, and for a model of many small tensors take longer than all the rest. */
FOPT_I_INLINE void loop_rest(unsigned kinds, bool quantized, element_function *element, const fopt_i_coef *coef,
                             size_t count, arrays a)
{
    _Alignas(64) float lanes[2 + FOPT_I_STATE_KINDS][LANES] = {{0}};
    const size_t bytes = count * sizeof(float);
    arrays b = {lanes[0], lanes[1], {lanes[2], lanes[3], lanes[4], lanes[5]}};
    memcpy(b.param, a.param, bytes);
    memcpy(b.grad, a.grad, bytes);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (kinds & 1u << k)
            memcpy(b.state[k], a.state[k], bytes);
    loop(kinds, quantized, element, coef, LANES, b);
    memcpy(a.param, b.param, bytes);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (kinds & 1u << k)
            memcpy(a.state[k], b.state[k], bytes);
}

FOPT_I_INLINE void loop_all(unsigned kinds, bool quantized, element_function *element, const fopt_i_coef *coef,
                            size_t count, arrays a)
{
    const size_t whole = count / LANES * LANES;
    loop(kinds, quantized, element, coef, whole, a);
    if (whole == count)
        return;
    a.param += whole;
    a.grad += whole;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (kinds & 1u << k)
            a.state[k] += whole;
    loop_rest(kinds, quantized, element, coef, count - whole, a);
}

/* Where all arrays are bf16, a step moves so few bytes that passing floats through buffers would take longer than the
 * memory does. There a whole tile is decoded, computed and encoded in registers, two neighbours at a time. */
FOPT_I_INLINE bool all_bf16(unsigned kinds, const visit *v)
{
    bool all = v->record->param_format == FOPT_BF16 && v->record->grad_format == FOPT_BF16;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (kinds & 1u << k)
            all = all && v->group->value.state_format[k] == FOPT_BF16;
    return all;
}

FOPT_I_INLINE fopt_i_bf16 *bf16_moments(unsigned kinds, const fopt_i_record *r, unsigned kind, uint64_t tile)
{
    return kinds & 1u << kind ? at_tile(r->state[kind], FOPT_BF16, tile) : NULL;
}

FOPT_I_INLINE void loop_bf16(unsigned kinds, element_function *element, const fopt_i_coef *coef, const visit *v,
                             uint64_t tile)
{
    const fopt_i_record *r = v->record;
    fopt_i_bf16 *FOPT_I_RESTRICT param = at_tile(r->param, FOPT_BF16, tile);
    const fopt_i_bf16 *FOPT_I_RESTRICT grad = at_tile(r->grad, FOPT_BF16, tile);
    fopt_i_bf16 *FOPT_I_RESTRICT first = bf16_moments(kinds, r, FOPT_FIRST_MOMENT, tile);
    fopt_i_bf16 *FOPT_I_RESTRICT second = bf16_moments(kinds, r, FOPT_SECOND_MOMENT, tile);
    fopt_i_bf16 *FOPT_I_RESTRICT max_second = bf16_moments(kinds, r, FOPT_MAX_SECOND_MOMENT, tile);
    fopt_i_bf16 *FOPT_I_RESTRICT buffer = bf16_moments(kinds, r, FOPT_MOMENTUM_BUFFER, tile);
    /* The key of the one kind that is rounded stochastically. */
    const uint64_t key = fopt_i_tile_key(v->beginning.step_keys[FOPT_SECOND_MOMENT], r->tile_offset + tile);

    for (uint32_t pair = 0; pair < FOPT_I_TILE / 2; pair++) {
        const size_t i = 2 * (size_t)pair;
        fopt_i_element low = {.param = 0}, high = {.param = 0};
        fopt_i_bf16_get(param + i, &low.param, &high.param);
        if (kinds & FOPT_I_FIRST)
            fopt_i_bf16_get(first + i, &low.first, &high.first);
        if (kinds & FOPT_I_SECOND)
            fopt_i_bf16_get(second + i, &low.second, &high.second);
        if (kinds & FOPT_I_MAX_SECOND)
            fopt_i_bf16_get(max_second + i, &low.max_second, &high.max_second);
        if (kinds & FOPT_I_BUFFER)
            fopt_i_bf16_get(buffer + i, &low.buffer, &high.buffer);
        float low_gradient, high_gradient;
        fopt_i_bf16_get(grad + i, &low_gradient, &high_gradient);
        low = element(kinds, coef, low, low_gradient);
        high = element(kinds, coef, high, high_gradient);
        fopt_i_bf16_put_params(param + i, low.param, high.param);
        if (kinds & FOPT_I_FIRST)
            fopt_i_bf16_put_moments(first + i, low.first, high.first, FOPT_FIRST_MOMENT, key, pair);
        if (kinds & FOPT_I_SECOND)
            fopt_i_bf16_put_moments(second + i, low.second, high.second, FOPT_SECOND_MOMENT, key, pair);
        if (kinds & FOPT_I_MAX_SECOND)
            fopt_i_bf16_put_moments(max_second + i, low.max_second, high.max_second, FOPT_MAX_SECOND_MOMENT, key, pair);
        if (kinds & FOPT_I_BUFFER)
            fopt_i_bf16_put_moments(buffer + i, low.buffer, high.buffer, FOPT_MOMENTUM_BUFFER, key, pair);
    }
}

FOPT_I_INLINE void walk_tiles(unsigned kinds, bool quantized, element_function *element, const visit *v,
                              uint64_t first_tile, uint64_t tile_count)
{
    _Alignas(64) float buffers[2 + FOPT_I_STATE_KINDS][FOPT_I_TILE];
    const fopt_i_record *r = v->record;
    const fopt_format *state_format = v->group->value.state_format;
    const fopt_i_coef coef = v->beginning.coef; /* a copy that no store can alias */
    const bool in_registers = !quantized && all_bf16(kinds, v);

    for (uint64_t tile = first_tile; tile < first_tile + tile_count; tile++) {
        const uint64_t rest = r->count - tile * FOPT_I_TILE;
        const size_t count = rest < FOPT_I_TILE ? (size_t)rest : FOPT_I_TILE;
        if (in_registers && count == FOPT_I_TILE) {
            loop_bf16(kinds, element, &coef, v, tile);
            continue;
        }
        arrays a = {.param = open_tile(r->param, r->param_format, tile, count, buffers[0]),
                    .grad = open_tile(r->grad, r->grad_format, tile, count, buffers[1])};
        fopt_i_moments moments[FOPT_I_STATE_KINDS];
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (kinds & 1u << k) {
                moments[k] = moments_of(v, k, tile);
                a.state[k] = open_moments(&moments[k], state_format[k], count, buffers[2 + k]);
            }

        loop_all(kinds, quantized, element, &coef, count, a);

        if (r->param_format != FOPT_F32)
            formats[r->param_format].loops->store(at_tile(r->param, r->param_format, tile), count, a.param);
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            if (kinds & 1u << k && state_format[k] != FOPT_F32)
                formats[state_format[k]].loops->store_moments(&moments[k], count, a.state[k]);
    }
}

#define FOPT_I_LOOP(arithmetic, variant, kinds, quantized)                                                             \
    static void loop_##arithmetic##_##variant(const visit *v, uint64_t first_tile, uint64_t tile_count)                \
    {                                                                                                                  \
        if (is_simple_##arithmetic(v->beginning.coef))                                                                 \
            walk_tiles(kinds, quantized, simple_##arithmetic, v, first_tile, tile_count);                              \
        else                                                                                                           \
            walk_tiles(kinds, quantized, element_##arithmetic, v, first_tile, tile_count);                             \
    }
FOPT_I_LOOPS(FOPT_I_LOOP)
#undef FOPT_I_LOOP

static void (*const loops[])(const visit *v, uint64_t first_tile, uint64_t tile_count) = {
#define FOPT_I_ROW(arithmetic, variant, kinds, quantized) loop_##arithmetic##_##variant,
    FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_ROW
};

/* ---- the walk ------------------------------------------------------------------------------------------------ */

static void step(const fopt_i_cpu_job *job, uint64_t first, uint64_t count)
{
    const uint64_t end = first + count;
    visit v = {.group = NULL};

    for (const fopt_i_record *r = fopt_i_find_record(job->records, job->record_count, first); first < end; r++) {
        const uint64_t here = fopt_i_tiles_until(r, end) - first;
        const fopt_i_group *group = &job->groups[r->group];
        if (here > 0 && fopt_i_begin_step(r, group, job->seed, &v.beginning)) {
            v.group = group;
            v.record = r;
            loops[group->loop](&v, first - r->first_tile, here);
        }
        first += here;
    }
}

fopt_i_cpu_step *const FOPT_I_STEP = step;
