/*
 * The CPU's tile walk, as a template: walk_baseline.c and walk_avx*.c include it, each compiled for its instruction
 * set, and name what it defines, FOPT_I_STEP. The compiler vectorises the loops; but for FOPT_Q8 (q8_loops.h) there are
 * no intrinsics, so that the sets cannot differ in what they compute.
 *
 * A tile's gradients become what the rule takes, its arrays are loaded (used in place or decoded into a buffer), the
 * rule's loop runs over float arrays, and what is in a buffer is encoded again. Where a tensor's arrays are all f32 or
 * all bf16, and its gradients are ordinary, a loop goes over them directly.
 */
#if defined(__FP_FAST_FMAF) && defined(__GNUC__) && !defined(__clang__) && !defined(__STRICT_ANSI__)
#error "gcc fuses a * b + c in its GNU modes, and does not tell: compile fusedopt with -std=c11"
#endif

#include "../begin.h"
#include "bf16_loops.h"
#include "codec.h"
#include "isa.h"

/* ---- the loops ------------------------------------------------------------------------------------------------- */

/* The most elements that a vector register holds. Loops take a multiple of it: where there are no more elements, zeros,
 * of which rules make moments of zero. */
#define LANES 16

/* The most elements that a loop goes over directly: a kilobyte of bf16. Prefetching takes more than that less well. */
#define DIRECT (2 * FOPT_I_TILE)

/* The arrays that a loop goes over. They do not overlap; those of kinds that a rule does not keep are NULL. */
typedef struct elements {
    void *param, *state[FOPT_I_STATE_KINDS];
    const void *grad;                     /* of fopt_i_gradient() */
    const uint16_t *random;               /* bits for each element */
    uint32_t largest[FOPT_I_STATE_KINDS]; /* magnitudes of new moments, in bits, which are ordered as these are */
} elements;

/* A loop of a row of FOPT_I_LOOPS: a constant wherever a function with it is inlined. A general one has all options,
 * and takes any gradients; others take ordinary ones if they are squared. One of a quantized row notes its largest
 * moments, and a general one calls fopt_i_contain() there. */
typedef struct variant {
    fopt_i_arithmetic arithmetic;
    unsigned kinds;
    bool general, quantized;
} variant;

FOPT_FN fopt_i_coef coefficients(variant v, const fopt_i_coef *coef)
{
    fopt_i_coef own = *coef; /* a copy that no store can alias */
    if (!v.general)
        fopt_i_simplify(v.arithmetic, &own);
    return own;
}

FOPT_FN void note_largest(uint32_t *most, float x)
{
    const uint32_t bits = fopt_i_bits(x) & 0x7fffffffu;
    *most = bits > *most ? bits : *most;
}

/* Runs the rule over floats: the loop that everything else is around. */
FOPT_FN void step_floats(variant v, const fopt_i_coef *coef, size_t count, float *restrict param,
                         const float *restrict grad, float *restrict first, float *restrict second,
                         float *restrict max_second, float *restrict buffer, elements *all)
{
    const fopt_i_coef own = coefficients(v, coef);
    uint32_t most_first = 0, most_second = 0, most_max_second = 0, most_buffer = 0;
    count = count / LANES * LANES;
    for (size_t i = 0; i < count; i++) {
        fopt_i_element e = {.param = param[i]};
        if (v.kinds & FOPT_I_FIRST)
            e.first = first[i];
        if (v.kinds & FOPT_I_SECOND)
            e.second = second[i];
        if (v.kinds & FOPT_I_MAX_SECOND)
            e.max_second = max_second[i];
        if (v.kinds & FOPT_I_BUFFER)
            e.buffer = buffer[i];
        const fopt_i_element old = e;
        e = fopt_i_update_element(v.arithmetic, v.kinds, &own, e, grad[i]);
        if (v.quantized && v.general)
            e = fopt_i_contain(v.kinds, old, e);
        param[i] = e.param;
        if (v.kinds & FOPT_I_FIRST)
            first[i] = e.first;
        if (v.kinds & FOPT_I_SECOND)
            second[i] = e.second;
        if (v.kinds & FOPT_I_MAX_SECOND)
            max_second[i] = e.max_second;
        if (v.kinds & FOPT_I_BUFFER)
            buffer[i] = e.buffer;
        if (v.quantized) {
            note_largest(&most_first, e.first);
            note_largest(&most_second, e.second);
            note_largest(&most_max_second, e.max_second);
            note_largest(&most_buffer, e.buffer);
        }
    }
    if (v.quantized) {
        all->largest[FOPT_FIRST_MOMENT] = most_first;
        all->largest[FOPT_SECOND_MOMENT] = most_second;
        all->largest[FOPT_MAX_SECOND_MOMENT] = most_max_second;
        all->largest[FOPT_MOMENTUM_BUFFER] = most_buffer;
    }
}

/* The same over bf16, two neighbours at a time, whose new moments are finite. Such a step moves so few bytes that
 * passing floats through buffers would take longer than the memory does. */
FOPT_FN void step_pairs(variant v, const fopt_i_coef *coef, size_t count, fopt_i_bf16 *restrict param,
                        const fopt_i_bf16 *restrict grad, fopt_i_bf16 *restrict first, fopt_i_bf16 *restrict second,
                        fopt_i_bf16 *restrict max_second, fopt_i_bf16 *restrict buffer, const elements *all)
{
    const uint16_t *const random = all->random;
    const fopt_i_coef own = coefficients(v, coef);
    count = count / FOPT_I_TILE * FOPT_I_TILE;
    for (size_t i = 0; i < count; i += 2) {
        fopt_i_element low = {.param = 0}, high = {.param = 0};
        fopt_i_bf16_get(param + i, &low.param, &high.param);
        if (v.kinds & FOPT_I_FIRST)
            fopt_i_bf16_get(first + i, &low.first, &high.first);
        if (v.kinds & FOPT_I_SECOND)
            fopt_i_bf16_get(second + i, &low.second, &high.second);
        if (v.kinds & FOPT_I_MAX_SECOND)
            fopt_i_bf16_get(max_second + i, &low.max_second, &high.max_second);
        if (v.kinds & FOPT_I_BUFFER)
            fopt_i_bf16_get(buffer + i, &low.buffer, &high.buffer);
        float low_gradient, high_gradient;
        fopt_i_bf16_get(grad + i, &low_gradient, &high_gradient);
        low = fopt_i_update_element(v.arithmetic, v.kinds, &own, low, low_gradient);
        high = fopt_i_update_element(v.arithmetic, v.kinds, &own, high, high_gradient);
        fopt_i_bf16_put_params(param + i, low.param, high.param);
        uint32_t bits;
        memcpy(&bits, random + i, sizeof bits);
        if (v.kinds & FOPT_I_FIRST)
            fopt_i_bf16_put_moments(first + i, low.first, high.first, FOPT_FIRST_MOMENT, bits);
        if (v.kinds & FOPT_I_SECOND)
            fopt_i_bf16_put_moments(second + i, low.second, high.second, FOPT_SECOND_MOMENT, bits);
        if (v.kinds & FOPT_I_MAX_SECOND)
            fopt_i_bf16_put_moments(max_second + i, low.max_second, high.max_second, FOPT_MAX_SECOND_MOMENT, bits);
        if (v.kinds & FOPT_I_BUFFER)
            fopt_i_bf16_put_moments(buffer + i, low.buffer, high.buffer, FOPT_MOMENTUM_BUFFER, bits);
    }
}

typedef void loop(const fopt_i_coef *coef, size_t count, elements *all);

#define FOPT_I_LOOP(loop_name, step, arithmetic, kinds, general, quantized)                                            \
    FOPT_I_NOINLINE void loop_name(const fopt_i_coef *coef, size_t count, elements *all)                               \
    {                                                                                                                  \
        step((variant){fopt_i_arithmetic_##arithmetic, kinds, general, quantized}, coef, count, all->param, all->grad, \
             all->state[FOPT_FIRST_MOMENT], all->state[FOPT_SECOND_MOMENT], all->state[FOPT_MAX_SECOND_MOMENT],        \
             all->state[FOPT_MOMENTUM_BUFFER], all);                                                                   \
    }
#define FOPT_I_ROW(arithmetic, variant_name, kinds, quantized)                                                         \
    FOPT_I_LOOP(arithmetic##_##variant_name##_general, step_floats, arithmetic, kinds, true, quantized)                \
    FOPT_I_LOOP(arithmetic##_##variant_name##_floats, step_floats, arithmetic, kinds, false, quantized)                \
    FOPT_I_PAIRS_##quantized(arithmetic##_##variant_name##_pairs, arithmetic, kinds)
#define FOPT_I_PAIRS_false(loop_name, arithmetic, kinds)                                                               \
    FOPT_I_LOOP(loop_name, step_pairs, arithmetic, kinds, false, false)
#define FOPT_I_PAIRS_true(loop_name, arithmetic, kinds)
FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_PAIRS_true
#undef FOPT_I_PAIRS_false
#undef FOPT_I_ROW
#undef FOPT_I_LOOP

/* A row of FOPT_I_LOOPS. */
typedef struct row {
    fopt_i_arithmetic arithmetic;
    unsigned kinds;
    bool quantized;
    loop *general, *floats, *pairs; /* no pairs if quantized */
} row;

static const row rows[FOPT_I_LOOP_COUNT] = {
#define FOPT_I_ROW(arithmetic, variant_name, kinds, quantized)                                                         \
    {fopt_i_arithmetic_##arithmetic,                                                                                   \
     kinds,                                                                                                            \
     quantized,                                                                                                        \
     arithmetic##_##variant_name##_general,                                                                            \
     arithmetic##_##variant_name##_floats,                                                                             \
     FOPT_I_PAIRS_##quantized(arithmetic##_##variant_name##_pairs)},
#define FOPT_I_PAIRS_false(loop_name) loop_name
#define FOPT_I_PAIRS_true(loop_name)  NULL
    FOPT_I_LOOPS(FOPT_I_ROW)
#undef FOPT_I_PAIRS_true
#undef FOPT_I_PAIRS_false
#undef FOPT_I_ROW
};

/* ---- a tensor's part of a walk --------------------------------------------------------------------------------- */

/* A tensor, and what its elements are computed with. */
typedef struct work {
    const fopt_i_record *record;
    const fopt_format *state_format;
    const row *row;
    fopt_i_ends ends;
    bool has_options;     /* which the general loop alone has */
    bool squares;         /* gradients, so that other loops take ordinary ones */
    bool leaves_ordinary; /* gradients as they are; if it does not square them, all */
    bool rounds;          /* a moment, by random bits */
    bool all_f32, all_bf16;
    fopt_i_beginning beginning;
} work;

FOPT_FN bool keeps(const work *w, unsigned kind)
{
    return (w->row->kinds & 1u << kind) != 0;
}

static void begin_work(work *w, const fopt_i_record *r, const fopt_i_group *group)
{
    fopt_i_coef coef = w->beginning.coef;
    w->record = r;
    w->state_format = group->value.state_format;
    w->row = &rows[group->loop];
    w->ends = fopt_i_ends_of(w->row->arithmetic, &coef);
    w->has_options = fopt_i_simplify(w->row->arithmetic, &coef) != 0;
    w->squares = (w->row->kinds & FOPT_I_SECOND) != 0;
    w->leaves_ordinary = fopt_i_leaves_ordinary(w->ends);
    w->rounds = false;
    w->all_f32 = r->param_format == FOPT_F32 && r->grad_format == FOPT_F32;
    w->all_bf16 = r->param_format == FOPT_BF16 && r->grad_format == FOPT_BF16;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (keeps(w, k)) {
            w->rounds = w->rounds || w->state_format[k] != FOPT_F32;
            w->all_f32 = w->all_f32 && w->state_format[k] == FOPT_F32;
            w->all_bf16 = w->all_bf16 && w->state_format[k] == FOPT_BF16;
        }
}

/* Makes the random bits of moments from a tile on, for a multiple of LANES elements. */
FOPT_FN void make_random(const work *w, uint64_t tile, size_t count, uint16_t *restrict random)
{
    const uint64_t first = (w->record->tile_offset + tile) * (FOPT_I_TILE / 8);
    const uint32_t octets = (uint32_t)(count / LANES * (LANES / 8));
    uint32_t bits[DIRECT / 8];
    for (uint32_t i = 0; i < octets; i++)
        bits[i] = fopt_i_random(w->beginning.random_key, first + i);
    for (uint32_t i = 0; i < octets; i++)
        for (uint32_t pair = 0; pair < 4; pair++) {
            const uint32_t halves = fopt_i_random_pair(bits[i], pair); /* the lower one comes first */
            memcpy(random + (8 * i + 2 * pair), &halves, sizeof halves);
        }
}

/* ---- what loops expect ----------------------------------------------------------------------------------------- */

/* Tells whether gradients are ordinary. Twice a number's bits have no sign; one less, and zero is above all others. */
FOPT_FN bool are_ordinary(const float *grad, size_t count)
{
    uint32_t least = UINT32_MAX, most = 0;
    count = count / LANES * LANES;
    for (size_t i = 0; i < count; i++) {
        const uint32_t twice = 2 * fopt_i_bits(grad[i]), before = twice - 1;
        least = before < least ? before : least;
        most = twice > most ? twice : most;
    }
    return least >= 2 * fopt_i_bits(FOPT_I_LEAST_ORDINARY) - 1 && most <= 2 * fopt_i_bits(FOPT_I_MOST_SQUARED);
}

FOPT_FN bool are_ordinary_bf16(const fopt_i_bf16 *grad, size_t count)
{
    uint16_t least = UINT16_MAX, most = 0;
    count = count / LANES * LANES;
    for (size_t i = 0; i < count; i++) {
        const uint16_t twice = (uint16_t)(2 * grad[i]), before = (uint16_t)(twice - 1);
        least = before < least ? before : least;
        most = twice > most ? twice : most;
    }
    return least >= 2 * (fopt_i_bits(FOPT_I_LEAST_ORDINARY) >> 16) - 1 &&
           most <= 2 * (fopt_i_bits(FOPT_I_MOST_SQUARED) >> 16);
}

/* The largest moment that no step takes beyond FOPT_I_LARGEST_QUANTIZED, 2^126, if the gradient is at most
 * FOPT_I_MOST_SQUARED: an average is between the old one and the gradient or its square, at most 2^126; a sum is at
 * most the old one and 1e9 times the gradient; and what RMSprop's buffer gets is below
 * 2^23, unless eps is 0. */
#define FOPT_I_MOST_BOUNDED 0x1p125f

/* Tells whether no magnitude is above `most`, and all are numbers. */
FOPT_FN bool are_bounded(const float *numbers, size_t count, float most)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++)
        note_largest(&largest, numbers[i]);
    return largest <= fopt_i_bits(most);
}

FOPT_FN bool are_bounded_bf16(const fopt_i_bf16 *numbers, size_t count, float most)
{
    uint16_t largest = 0;
    count = count / LANES * LANES;
    for (size_t i = 0; i < count; i++) {
        const uint16_t magnitude = numbers[i] & 0x7fffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest <= fopt_i_bits(most) >> 16;
}

/* ---- a tile in floats ------------------------------------------------------------------------------------------ */

/* A tile, or the part of one that a tensor ends with. */
typedef struct part {
    uint64_t tile;
    size_t count, padded; /* to a multiple of LANES */
} part;

/* Its elements as floats, and what is needed to store them. */
typedef struct tile_buffers {
    _Alignas(64) float param[FOPT_I_TILE], stored_grad[FOPT_I_TILE], grad[FOPT_I_TILE];
    _Alignas(64) float state[FOPT_I_STATE_KINDS][FOPT_I_TILE];
    _Alignas(64) uint16_t random[FOPT_I_TILE];
    fopt_i_moments moments[FOPT_I_STATE_KINDS];
} tile_buffers;

FOPT_FN void fill_up(part p, float *buffer)
{
    memset(buffer + p.count, 0, (p.padded - p.count) * sizeof *buffer);
}

/* Returns parameters or gradients as floats: in place, or decoded into `buffer`. */
FOPT_FN float *load(void *array, unsigned format, part p, float *buffer)
{
    void *data = fopt_i_at_tile(array, format, p.tile);
    if (format == FOPT_F32 && p.count == FOPT_I_TILE)
        return data;
    fopt_i_load(format, data, p.count, buffer);
    fill_up(p, buffer);
    return buffer;
}

FOPT_I_NOINLINE void make_gradients(unsigned kinds, fopt_i_ends ends, size_t count, const float *restrict param,
                                    const float *restrict stored, float *restrict grad)
{
    count = count / LANES * LANES;
    for (size_t i = 0; i < count; i++)
        grad[i] = fopt_i_gradient(kinds, ends, param[i], stored[i]);
}

/* Returns gradients as fopt_i_gradient() makes them, and tells whether the general loop must take them. It leaves most
 * as they are, which takes less time to see than to do. */
FOPT_FN const float *load_gradients(const work *w, part p, tile_buffers *b, bool *general)
{
    const fopt_i_record *r = w->record;
    const float *grad = load(r->grad, r->grad_format, p, b->stored_grad);
    *general = w->has_options;
    if (!w->leaves_ordinary || (w->squares && !are_ordinary(grad, p.padded))) {
        const float *param = load(r->param, r->param_format, p, b->param);
        make_gradients(w->row->kinds, w->ends, p.padded, param, grad, b->grad);
        grad = b->grad;
        *general = *general || w->leaves_ordinary || (w->squares && !are_ordinary(grad, p.padded));
    }
    if (w->row->quantized && !w->squares)
        *general = *general || !are_bounded(grad, p.padded, FOPT_I_MOST_SQUARED);
    return grad;
}

/* Returns one kind of moments as floats: in place, or decoded into a buffer, as all of a quantized row are. Fields are
 * written one by one: a structure that is copied just after its parts were written makes a CPU wait. */
FOPT_FN float *load_moments(const work *w, unsigned kind, part p, tile_buffers *b)
{
    const unsigned format = w->state_format[kind];
    void *const data = fopt_i_at_tile(w->record->state[kind], format, p.tile);
    float *const absmax = w->record->absmax[kind];
    if (p.count == FOPT_I_TILE && !w->row->quantized && format == FOPT_F32)
        return data;
    fopt_i_moments *const moments = &b->moments[kind];
    moments->data = data;
    moments->absmax = absmax ? absmax + p.tile * fopt_i_absmax_count(format, FOPT_I_TILE) : NULL;
    moments->kind = (fopt_state_kind)kind;
    moments->random = b->random;
    fopt_i_load_moments(format, moments, p.count, b->state[kind]);
    fill_up(p, b->state[kind]);
    return b->state[kind];
}

/* Tells whether the moments of a quantized row are bounded. */
FOPT_FN bool has_bounded_moments(const work *w, part p, const tile_buffers *b)
{
    bool all = true;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++) {
        if (!keeps(w, k))
            continue;
        const size_t scales = (size_t)fopt_i_absmax_count(w->state_format[k], p.count);
        all = all && (scales > 0 ? are_bounded(b->moments[k].absmax, scales, FOPT_I_MOST_BOUNDED)
                                 : are_bounded(b->state[k], p.padded, FOPT_I_MOST_BOUNDED));
    }
    return all;
}

FOPT_FN void step_tile(const work *w, part p)
{
    tile_buffers b;
    const fopt_i_record *r = w->record;
    bool general;
    elements all = {.grad = load_gradients(w, p, &b, &general)};
    all.param = load(r->param, r->param_format, p, b.param);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (keeps(w, k))
            all.state[k] = load_moments(w, k, p, &b);
    if (w->row->quantized)
        general = general || !has_bounded_moments(w, p, &b);

    (general ? w->row->general : w->row->floats)(&w->beginning.coef, p.padded, &all);

    if (w->rounds)
        make_random(w, p.tile, p.padded, b.random);
    if (all.param == b.param)
        fopt_i_store(r->param_format, fopt_i_at_tile(r->param, r->param_format, p.tile), p.count, b.param);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (keeps(w, k) && all.state[k] == b.state[k]) {
            b.moments[k].largest = fopt_i_float(all.largest[k]);
            fopt_i_store_moments(w->state_format[k], &b.moments[k], p.count, b.state[k]);
        }
}

/* ---- tiles that are f32 or bf16 throughout --------------------------------------------------------------------- */

/* Returns how many elements are looked at together: whole tiles, or a part of one. */
static size_t count_together(const work *w, uint64_t rest)
{
    const size_t most = w->all_f32 && w->squares ? FOPT_I_TILE : DIRECT;
    const size_t count = rest < most ? (size_t)rest : most;
    return count < FOPT_I_TILE ? count : count / FOPT_I_TILE * FOPT_I_TILE;
}

/* Tells whether a loop may go over whole tiles directly. */
static bool may_step_directly(const work *w, uint64_t tile, size_t count)
{
    const fopt_i_record *r = w->record;
    if (w->has_options || !w->leaves_ordinary || count < FOPT_I_TILE)
        return false;
    if (w->all_f32)
        return !w->squares || are_ordinary(fopt_i_at_tile(r->grad, FOPT_F32, tile), count);
    if (!w->all_bf16)
        return false;
    const fopt_i_bf16 *grad = fopt_i_at_tile(r->grad, FOPT_BF16, tile);
    bool may = w->squares ? are_ordinary_bf16(grad, count)
                          : w->row->kinds == 0 || are_bounded_bf16(grad, count, FOPT_I_MOST_SQUARED);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (keeps(w, k))
            may = may && are_bounded_bf16(fopt_i_at_tile(r->state[k], FOPT_BF16, tile), count, FOPT_I_MOST_BOUNDED);
    return may;
}

static void step_directly(const work *w, uint64_t tile, size_t count)
{
    _Alignas(64) uint16_t random[DIRECT];
    const fopt_i_record *r = w->record;
    elements all = {.param = fopt_i_at_tile(r->param, r->param_format, tile),
                    .grad = fopt_i_at_tile(r->grad, r->grad_format, tile),
                    .random = random};
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (keeps(w, k))
            all.state[k] = fopt_i_at_tile(r->state[k], w->state_format[k], tile);
    if (w->rounds)
        make_random(w, tile, count, random);
    (w->all_f32 ? w->row->floats : w->row->pairs)(&w->beginning.coef, count, &all);
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

static void step_tiles(const work *w, uint64_t tile, uint64_t tile_count)
{
    const uint64_t begin = tile * FOPT_I_TILE, end = begin + tile_count * FOPT_I_TILE;
    uint64_t rest = (end < w->record->count ? end : w->record->count) - begin;
    while (rest > 0) {
        const size_t count = count_together(w, rest);
        if (may_step_directly(w, tile, count))
            step_directly(w, tile, count);
        else if (count < FOPT_I_TILE)
            step_tile(w, (part){tile, count, (count + LANES - 1) / LANES * LANES});
        else
            for (size_t i = 0; i < count / FOPT_I_TILE; i++)
                step_tile(w, (part){tile + i, FOPT_I_TILE, FOPT_I_TILE}); /* compiled for itself */
        tile += count / FOPT_I_TILE;
        rest -= count;
    }
}

static void step(const fopt_i_cpu_job *job, uint64_t first, uint64_t count)
{
    const uint64_t end = first + count;
    work w = {.record = NULL}; /* no step has begun */

    for (const fopt_i_record *r = fopt_i_find_record(job->records, job->record_count, first); first < end; r++) {
        const uint64_t here = fopt_i_tiles_until(r, end) - first;
        const fopt_i_group *group = &job->groups[r->group];
        if (here > 0 && fopt_i_begin_step(r, group, job->seed, &w.beginning)) {
            begin_work(&w, r, group);
            step_tiles(&w, first - r->first_tile, here);
        }
        first += here;
    }
}

fopt_i_cpu_step *const FOPT_I_STEP = step;
