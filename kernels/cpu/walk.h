/*
 * The CPU's tile walk, as a template: walk_baseline.c and walk_avx*.c include it, each compiled for its instruction
 * set, and name what it defines, FOPT_I_STEP. The compiler vectorises the loops; but for FOPT_Q8
 * (q8_loops.h) there are no intrinsics, so that the sets cannot differ in what they compute.
 *
 * A tile's arrays are loaded (used in place or decoded into a buffer), the rule's loop runs over float arrays, and what
 * is in a buffer is encoded again. Whole tiles that are bf16 throughout have a loop that does without buffers.
 */
#if defined(__FP_FAST_FMAF) && defined(__GNUC__) && !defined(__clang__) && !defined(__STRICT_ANSI__)
#error "gcc fuses a * b + c in its GNU modes, and does not tell: compile fusedopt with -std=c11"
#endif

#include "../begin.h"
#include "codec.h"
#include "isa.h"

/* Which of a rule's options a loop has: choosing between their outcomes by masks takes a fifth of the time of a loop that
 * arithmetic bounds, and computing what is rarely asked for as much again. */
typedef enum options { ALL_OPTIONS, USUAL_OPTIONS, NO_OPTIONS } options;

/* A row of FOPT_I_LOOPS, with some options, and whether it calls fopt_i_contain(), which a quantized loop goes without
 * until a tile needs it. It is a constant wherever a function with it is inlined. */
typedef struct variant {
    fopt_i_arithmetic arithmetic;
    options options;
    unsigned kinds;
    bool quantized, contains;
} variant;

/* One tensor's part of a walk: what its elements are computed with. */
typedef struct work {
    const fopt_i_record *record;
    unsigned loop; /* of FOPT_I_LOOPS */
    const fopt_format *state_format;
    fopt_i_beginning beginning;
} work;

FOPT_FN fopt_i_element update(variant v, const fopt_i_coef *coef, fopt_i_element e, float gradient)
{
    fopt_i_coef own = *coef;
    if (v.options != ALL_OPTIONS)
        fopt_i_simplify(v.arithmetic, &own, v.options == NO_OPTIONS);
    return fopt_i_update_element(v.arithmetic, v.kinds, &own, e, gradient);
}

/* ---- elements that are floats -------------------------------------------------------------------------------- */

/* A part of a tile. The arrays do not overlap; those of kinds that a rule does not keep are NULL. A quantized loop
 * leaves in `old_param` what the parameters were; for others it is not there. */
typedef struct elements {
    float *param, *grad, *state[FOPT_I_STATE_KINDS], *old_param;
} elements;

/* The largest magnitudes of moments, in bits, which are ordered as these are: what is not finite is larger. */
typedef struct largest {
    uint32_t of[FOPT_I_STATE_KINDS];
} largest;

FOPT_FN void note_largest(uint32_t *most, float x)
{
    const uint32_t bits = fopt_i_bits(x) & 0x7fffffffu;
    *most = bits > *most ? bits : *most;
}

/* Runs the rule over float arrays: the loop that everything else is around. If it is quantized, returns the largest
 * moments, else zeros. */
FOPT_FN largest step_elements(variant v, const fopt_i_coef *coef, size_t count, const elements *all)
{
    uint32_t most_first = 0, most_second = 0, most_max_second = 0, most_buffer = 0;
    float *restrict old_param = all->old_param;
    float *restrict param = all->param;
    const float *restrict grad = all->grad;
    float *restrict first = all->state[FOPT_FIRST_MOMENT];
    float *restrict second = all->state[FOPT_SECOND_MOMENT];
    float *restrict max_second = all->state[FOPT_MAX_SECOND_MOMENT];
    float *restrict buffer = all->state[FOPT_MOMENTUM_BUFFER];

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
        if (v.quantized)
            old_param[i] = e.param;
        e = update(v, coef, e, grad[i]);
        if (v.contains)
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
    return (largest){{most_first, most_second, most_max_second, most_buffer}};
}

/* The most elements that a vector register holds. */
#define LANES 16

/* Octets of a tile: each has random bits for eight elements. */
#define OCTETS (FOPT_I_TILE / 8)

/* Steps the last elements of a tensor, fewer than LANES, through buffers of a full register. Left to the loop they
 * would be computed one at a time, and for a model of many small tensors take longer than all the rest. */
FOPT_FN largest step_rest(variant v, const fopt_i_coef *coef, size_t first, size_t count, const elements *all)
{
    _Alignas(64) float lanes[3 + FOPT_I_STATE_KINDS][LANES] = {{0}}; /* of zeros a rule makes moments of zero */
    const size_t bytes = count * sizeof(float);
    const elements own = {lanes[0], lanes[1], {lanes[2], lanes[3], lanes[4], lanes[5]}, lanes[6]};
    memcpy(own.param, all->param + first, bytes);
    memcpy(own.grad, all->grad + first, bytes);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (v.kinds & 1u << k)
            memcpy(own.state[k], all->state[k] + first, bytes);
    const largest most = step_elements(v, coef, LANES, &own);
    memcpy(all->param + first, own.param, bytes);
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (v.kinds & 1u << k)
            memcpy(all->state[k] + first, own.state[k], bytes);
    if (v.quantized)
        memcpy(all->old_param + first, own.old_param, bytes);
    return most;
}

FOPT_FN largest step_all(variant v, const fopt_i_coef *coef, size_t count, const elements *all)
{
    const size_t whole = count / LANES * LANES;
    largest most = step_elements(v, coef, whole, all);
    if (whole < count) {
        const largest rest = step_rest(v, coef, whole, count - whole, all);
        for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
            note_largest(&most.of[k], fopt_i_float(rest.of[k]));
    }
    return most;
}

/* ---- ordinary gradients -------------------------------------------------------------------------------------- */

/* Tells whether a rule may leave something out where a tile's gradients are ordinary. */
FOPT_FN bool asks_for_ordinary(variant v)
{
    return v.options == NO_OPTIONS && v.kinds & FOPT_I_SECOND;
}

FOPT_FN variant ordinary(variant v)
{
    v.kinds |= FOPT_I_ORDINARY;
    return v;
}

/* Twice a number's bits have no sign; one less, and zero is above all others. */
FOPT_FN bool are_ordinary(const float *grad, size_t count)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t twice = 2 * fopt_i_bits(grad[i]);
        least = twice - 1 < least ? twice - 1 : least;
        most = twice > most ? twice : most;
    }
    return least >= 2 * fopt_i_bits(FOPT_I_LEAST_ORDINARY) - 1 && most <= 2 * fopt_i_bits(FOPT_I_MOST_ORDINARY);
}

FOPT_FN bool are_ordinary_bf16(const fopt_i_bf16 *grad)
{
    uint16_t least = UINT16_MAX, most = 0;
    for (size_t i = 0; i < FOPT_I_TILE; i++) {
        const uint16_t twice = (uint16_t)(2 * grad[i]), before = (uint16_t)(twice - 1);
        least = before < least ? before : least;
        most = twice > most ? twice : most;
    }
    return least >= 2 * (fopt_i_bits(FOPT_I_LEAST_ORDINARY) >> 16) - 1 &&
           most <= 2 * (fopt_i_bits(FOPT_I_MOST_ORDINARY) >> 16);
}

/* ---- a tile of any formats ----------------------------------------------------------------------------------- */

/* Returns a tile of parameters or gradients as floats: in place, or decoded into `buffer`. */
FOPT_FN float *load(void *array, unsigned format, uint64_t tile, size_t count, float *buffer)
{
    void *data = fopt_i_at_tile(array, format, tile);
    if (format == FOPT_F32)
        return data;
    fopt_i_load(format, data, count, buffer);
    return buffer;
}

/* Makes the random bits of a tile's moments: a word for each pair of elements. */
FOPT_FN void make_random(const work *w, uint64_t tile, uint32_t *restrict random)
{
    const uint64_t first = (w->record->tile_offset + tile) * OCTETS;
    uint32_t octets[OCTETS];
    for (uint32_t i = 0; i < OCTETS; i++)
        octets[i] = fopt_i_random(w->beginning.random_key, first + i);
    for (uint32_t i = 0; i < OCTETS; i++)
        for (uint32_t pair = 0; pair < 4; pair++)
            random[4 * i + pair] = fopt_i_random_pair(octets[i], pair);
}

/* A tile's elements as floats, and what is needed to store them. */
typedef struct tile_buffers {
    _Alignas(64) float param[FOPT_I_TILE], grad[FOPT_I_TILE], state[FOPT_I_STATE_KINDS][FOPT_I_TILE];
    _Alignas(64) float old_param[FOPT_I_TILE];
    _Alignas(64) uint32_t random[FOPT_I_TILE / 2];
    fopt_i_moments moments[FOPT_I_STATE_KINDS];
} tile_buffers;

/* Returns a tile of one kind of moments as floats: in place, or decoded into a buffer. A quantized loop, which may be
 * run again, has all of them in buffers. Fields are written one by one: a structure that is copied just after its parts
 * were written makes a CPU wait. */
FOPT_FN float *load_moments(variant v, const work *w, unsigned kind, uint64_t tile, size_t count, tile_buffers *buffers)
{
    if (!(v.kinds & 1u << kind))
        return NULL;
    const unsigned format = w->state_format[kind];
    void *const data = fopt_i_at_tile(w->record->state[kind], format, tile);
    float *const absmax = w->record->absmax[kind];
    if (!v.quantized && format == FOPT_F32)
        return data;
    fopt_i_moments *const moments = &buffers->moments[kind];
    moments->data = data;
    moments->absmax = absmax ? absmax + tile * fopt_i_absmax_count(format, FOPT_I_TILE) : NULL;
    moments->kind = (fopt_state_kind)kind;
    moments->random = buffers->random;
    fopt_i_load_moments(format, moments, count, buffers->state[kind]);
    return buffers->state[kind];
}

FOPT_FN void load_state(variant v, const work *w, uint64_t tile, size_t count, tile_buffers *buffers, elements *all)
{
    float **state = all->state;
    state[FOPT_FIRST_MOMENT] = load_moments(v, w, FOPT_FIRST_MOMENT, tile, count, buffers);
    state[FOPT_SECOND_MOMENT] = load_moments(v, w, FOPT_SECOND_MOMENT, tile, count, buffers);
    state[FOPT_MAX_SECOND_MOMENT] = load_moments(v, w, FOPT_MAX_SECOND_MOMENT, tile, count, buffers);
    state[FOPT_MOMENTUM_BUFFER] = load_moments(v, w, FOPT_MOMENTUM_BUFFER, tile, count, buffers);
}

FOPT_FN void store_moments(variant v, const work *w, unsigned kind, size_t count, tile_buffers *buffers, largest most)
{
    if (!(v.kinds & 1u << kind) || (!v.quantized && w->state_format[kind] == FOPT_F32))
        return;
    fopt_i_moments *const moments = &buffers->moments[kind];
    moments->largest = fopt_i_float(most.of[kind]);
    fopt_i_store_moments(w->state_format[kind], moments, count, buffers->state[kind]);
}

FOPT_FN bool may_be_quantized(largest most)
{
    bool good = true;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        good = good && most.of[k] <= fopt_i_bits(FOPT_I_LARGEST_QUANTIZED);
    return good;
}

/* Steps a part of a tile with fopt_i_contain(): rarely, so that there is one such loop for all options. */
FOPT_I_NOINLINE largest step_contained(const work *w, const fopt_i_coef *coef, size_t count, const elements *all)
{
    switch (w->loop) {
#define FOPT_I_CASE(name, variant_name, kinds, quantized)                                                              \
    case fopt_i_loop_##name##_##variant_name:                                                                          \
        if (quantized)                                                                                                 \
            return step_all((variant){fopt_i_arithmetic_##name, ALL_OPTIONS, kinds, true, true}, coef, count, all);    \
        break;
        FOPT_I_LOOPS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return (largest){{0}};
}

FOPT_FN void step_tile(variant v, const work *w, const fopt_i_coef *coef, uint64_t tile, size_t count)
{
    tile_buffers buffers;
    const fopt_i_record *r = w->record;
    elements all = {.param = load(r->param, r->param_format, tile, count, buffers.param),
                    .grad = load(r->grad, r->grad_format, tile, count, buffers.grad),
                    .old_param = buffers.old_param};
    load_state(v, w, tile, count, &buffers, &all);

    largest most;
    if (asks_for_ordinary(v) && are_ordinary(all.grad, count))
        most = step_all(ordinary(v), coef, count, &all);
    else
        most = step_all(v, coef, count, &all);
    if (v.quantized && !may_be_quantized(most)) {
        fopt_i_load(FOPT_F32, buffers.old_param, count, all.param);
        load_state(v, w, tile, count, &buffers, &all);
        most = step_contained(w, coef, count, &all);
    }

    bool rounds = false;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        rounds = rounds || (v.kinds & 1u << k && w->state_format[k] != FOPT_F32);
    if (rounds)
        make_random(w, tile, buffers.random);
    if (r->param_format != FOPT_F32)
        fopt_i_store(r->param_format, fopt_i_at_tile(r->param, r->param_format, tile), count, all.param);
    store_moments(v, w, FOPT_FIRST_MOMENT, count, &buffers, most);
    store_moments(v, w, FOPT_SECOND_MOMENT, count, &buffers, most);
    store_moments(v, w, FOPT_MAX_SECOND_MOMENT, count, &buffers, most);
    store_moments(v, w, FOPT_MOMENTUM_BUFFER, count, &buffers, most);
}

/* ---- a whole tile that is bf16 throughout -------------------------------------------------------------------- */

/* Tells whether all of a tensor's arrays are bf16. Such a step moves so few bytes that passing floats through buffers
 * would take longer than the memory does. So a tile is decoded, computed and encoded in registers, two neighbours at a
 * time. */
FOPT_FN bool all_bf16(variant v, const work *w)
{
    bool all = w->record->param_format == FOPT_BF16 && w->record->grad_format == FOPT_BF16;
    for (unsigned k = 0; k < FOPT_I_STATE_KINDS; k++)
        if (v.kinds & 1u << k)
            all = all && w->state_format[k] == FOPT_BF16;
    return all;
}

FOPT_FN fopt_i_bf16 *bf16_moments(variant v, const fopt_i_record *r, unsigned kind, uint64_t tile)
{
    return v.kinds & 1u << kind ? fopt_i_at_tile(r->state[kind], FOPT_BF16, tile) : NULL;
}

FOPT_FN void step_bf16_tile(variant v, const work *w, const fopt_i_coef *coef, uint64_t tile)
{
    const fopt_i_record *r = w->record;
    fopt_i_bf16 *restrict param = fopt_i_at_tile(r->param, FOPT_BF16, tile);
    const fopt_i_bf16 *restrict grad = fopt_i_at_tile(r->grad, FOPT_BF16, tile);
    fopt_i_bf16 *restrict first = bf16_moments(v, r, FOPT_FIRST_MOMENT, tile);
    fopt_i_bf16 *restrict second = bf16_moments(v, r, FOPT_SECOND_MOMENT, tile);
    fopt_i_bf16 *restrict max_second = bf16_moments(v, r, FOPT_MAX_SECOND_MOMENT, tile);
    fopt_i_bf16 *restrict buffer = bf16_moments(v, r, FOPT_MOMENTUM_BUFFER, tile);
    _Alignas(64) uint32_t random_of[FOPT_I_TILE / 2];
    make_random(w, tile, random_of);

    for (uint32_t pair = 0; pair < FOPT_I_TILE / 2; pair++) {
        const size_t i = 2 * (size_t)pair;
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
        low = update(v, coef, low, low_gradient);
        high = update(v, coef, high, high_gradient);
        fopt_i_bf16_put_params(param + i, low.param, high.param);
        const uint32_t random = random_of[pair];
        if (v.kinds & FOPT_I_FIRST)
            fopt_i_bf16_put_moments(first + i, low.first, high.first, fopt_i_bf16_is_random(FOPT_FIRST_MOMENT), random);
        if (v.kinds & FOPT_I_SECOND)
            fopt_i_bf16_put_moments(second + i, low.second, high.second, fopt_i_bf16_is_random(FOPT_SECOND_MOMENT),
                                    random);
        if (v.kinds & FOPT_I_MAX_SECOND)
            fopt_i_bf16_put_moments(max_second + i, low.max_second, high.max_second,
                                    fopt_i_bf16_is_random(FOPT_MAX_SECOND_MOMENT), random);
        if (v.kinds & FOPT_I_BUFFER)
            fopt_i_bf16_put_moments(buffer + i, low.buffer, high.buffer, fopt_i_bf16_is_random(FOPT_MOMENTUM_BUFFER),
                                    random);
    }
}

/* ---- the walk ------------------------------------------------------------------------------------------------ */

FOPT_FN void walk_tiles(variant v, const work *w, uint64_t first_tile, uint64_t tile_count)
{
    const fopt_i_coef coef = w->beginning.coef; /* a copy that no store can alias */
    const bool in_registers = !v.quantized && all_bf16(v, w);
    for (uint64_t tile = first_tile; tile < first_tile + tile_count; tile++) {
        const uint64_t rest = w->record->count - tile * FOPT_I_TILE;
        const size_t count = rest < FOPT_I_TILE ? (size_t)rest : FOPT_I_TILE;
        if (in_registers && count == FOPT_I_TILE && asks_for_ordinary(v) &&
            are_ordinary_bf16(fopt_i_at_tile(w->record->grad, FOPT_BF16, tile)))
            step_bf16_tile(ordinary(v), w, &coef, tile);
        else if (in_registers && count == FOPT_I_TILE)
            step_bf16_tile(v, w, &coef, tile);
        else
            step_tile(v, w, &coef, tile, count);
    }
}

/* Each loop is a function of its own for each set of options: in one for all of them no constant would stay in a
 * register. */
#define FOPT_I_WALK(name, variant_name, kinds, quantized)                                                              \
    FOPT_I_WALK_WITH(ALL_OPTIONS, name, variant_name, kinds, quantized)                                                \
    FOPT_I_WALK_WITH(USUAL_OPTIONS, name, variant_name, kinds, quantized)                                              \
    FOPT_I_WALK_WITH(NO_OPTIONS, name, variant_name, kinds, quantized)
#define FOPT_I_WALK_WITH(options, name, variant_name, kinds, quantized)                                                \
    FOPT_I_NOINLINE void walk_##name##_##variant_name##_##options(const work *w, uint64_t first, uint64_t count)       \
    {                                                                                                                  \
        walk_tiles((variant){fopt_i_arithmetic_##name, options, kinds, quantized, false}, w, first, count);            \
    }
FOPT_I_LOOPS(FOPT_I_WALK)
#undef FOPT_I_WALK_WITH
#undef FOPT_I_WALK

static void walk_record(const work *w, uint64_t first_tile, uint64_t tile_count)
{
    fopt_i_coef coef = w->beginning.coef;
    switch (w->loop) {
#define FOPT_I_CASE(name, variant_name, kinds, quantized)                                                              \
    case fopt_i_loop_##name##_##variant_name:                                                                          \
        if (fopt_i_simplify(fopt_i_arithmetic_##name, &coef, false))                                                   \
            walk_##name##_##variant_name##_ALL_OPTIONS(w, first_tile, tile_count);                                     \
        else if (fopt_i_simplify(fopt_i_arithmetic_##name, &coef, true))                                               \
            walk_##name##_##variant_name##_USUAL_OPTIONS(w, first_tile, tile_count);                                   \
        else                                                                                                           \
            walk_##name##_##variant_name##_NO_OPTIONS(w, first_tile, tile_count);                                      \
        break;
        FOPT_I_LOOPS(FOPT_I_CASE)
#undef FOPT_I_CASE
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
            w.record = r;
            w.loop = group->loop;
            w.state_format = group->value.state_format;
            walk_record(&w, first - r->first_tile, here);
        }
        first += here;
    }
}

fopt_i_cpu_step *const FOPT_I_STEP = step;
