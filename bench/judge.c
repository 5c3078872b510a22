#include "judge.h"

#include "../tests/oracle.h"
#include "../tests/q8.h"
#include "numbers.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { TILE = 256 };

const char *judge_array_name(fopt_rule rule, size_t array)
{
    return array == JUDGE_PARAM ? "param" : fopt_state_kind_name(rule, (fopt_state_kind)(array - JUDGE_STATES));
}

static unsigned count_ones(uint32_t bits)
{
    unsigned count = 0;
    for (; bits != 0; bits &= bits - 1)
        count++;
    return count;
}

uint64_t judge_bits(fopt_format format, const void *got, const void *want, size_t count, size_t *first)
{
    uint64_t differing = 0;
    if (memcmp(got, want, count * numbers_bytes(format)) == 0)
        return 0;
    for (size_t i = count; i-- > 0;) {
        const uint32_t g = numbers_get(format, got, i), w = numbers_get(format, want, i);
        if (g == w || (format == FOPT_F32 && isnan(numbers_value(format, g)) && isnan(numbers_value(format, w))))
            continue;
        differing += count_ones(g ^ w);
        *first = i;
    }
    return differing;
}

/* The error that the format does not explain. Infinity and NaN count as one: an infinite gradient leaves either,
 * depending on how an average is written. */
static double unexplained_ulps(fopt_format format, bool stochastic, double got, double want, double magnitude)
{
    const double rounding = numbers_spacing(format, want) * (stochastic ? 1 : 0.5);
    if (!isfinite(want))
        return isfinite(got) ? (double)INFINITY : 0;
    if (fabs(got - want) <= rounding)
        return 0;
    return oracle_ulps(got, want + copysign(rounding, got - want), magnitude,
                       format == FOPT_F16 ? 65504 : (double)FLT_MAX);
}

static bool is_second(size_t array)
{
    return array == JUDGE_STATES + FOPT_SECOND_MOMENT || array == JUDGE_STATES + FOPT_MAX_SECOND_MOMENT;
}

static bool has_sign(size_t array)
{
    return q8_has_sign((fopt_state_kind)(array - JUDGE_STATES));
}

/* The absmax of the tile of element i, of a tensor that begins at `begin`. */
static double absmax_of(const judge_arrays *arrays, size_t array, size_t begin, size_t i)
{
    return (double)arrays->absmax[array][(begin + (i - begin) / TILE * TILE) / 64];
}

static double value_of(const judge_arrays *arrays, size_t array, size_t begin, size_t i)
{
    const fopt_format format = arrays->formats[array];
    const uint32_t bits = numbers_get(format, arrays->data[array], i);
    return format == FOPT_Q8 ? q8_value(has_sign(array), bits) * absmax_of(arrays, array, begin, i)
                             : numbers_value(format, bits);
}

/* What is computed in single precision is then stored as the nearest value of the map, in place of which the next may
 * be where the error of the one decides. */
static double quantized_ulps(size_t array, double got, double want, double magnitude, double absmax)
{
    const double rounding = q8_half_gap(has_sign(array), want, absmax) + 2 * (double)FLT_EPSILON * absmax;
    if (!isfinite(absmax) || (is_second(array) && want >= 2 * (double)FLT_MIN && got == 0))
        return (double)INFINITY;
    if (fabs(got - want) <= rounding)
        return 0;
    return oracle_ulps(got, want + copysign(rounding, got - want), fmax(magnitude, absmax), (double)FLT_MAX);
}

static void judge_one(const judge_arrays *after, size_t array, size_t begin, size_t element, double want,
                      double magnitude, judge_error *worst)
{
    const fopt_format format = after->formats[array];
    const double got = value_of(after, array, begin, element);
    double ulps;
    /* "A second moment that would overflow stays at the largest finite value of its format." */
    if (array != JUDGE_PARAM && is_second(array) && isfinite(want))
        want = fmin(want, numbers_largest(format == FOPT_Q8 ? FOPT_F32 : format));
    if (format == FOPT_Q8)
        ulps = quantized_ulps(array, got, want, magnitude, absmax_of(after, array, begin, element));
    else
        ulps = unexplained_ulps(format, array == JUDGE_STATES + FOPT_SECOND_MOMENT, got, want, magnitude);
    /* "A moment whose magnitude is below FLT_MIN is stored as zero." */
    if (array != JUDGE_PARAM && format != FOPT_Q8 && fpclassify((float)got) == FP_SUBNORMAL)
        ulps = (double)INFINITY;
    if (ulps > worst->ulps)
        *worst = (judge_error){ulps, element, got, want};
}

/* Whether sums of such numbers may overflow. */
static bool is_huge(double value)
{
    return isfinite(value) && fabs(value) > (double)FLT_MAX / 4;
}

/* Reads an element. Returns whether anything is promised of it: nothing is where sums overflow, except that second
 * moments do not. */
static bool read_element(const judge_arrays *before, size_t begin, size_t i, oracle_element *element)
{
    double values[JUDGE_ARRAYS] = {0};
    bool promised = true;
    for (size_t array = 0; array < JUDGE_ARRAYS; ++array) {
        if (!before->data[array])
            continue;
        values[array] = value_of(before, array, begin, i);
        promised = promised && ((array != JUDGE_PARAM && is_second(array)) || !is_huge(values[array]));
    }
    element->param = values[JUDGE_PARAM];
    memcpy(element->state, values + JUDGE_STATES, sizeof element->state);
    return promised;
}

/* "In a group with such a moment, an element whose gradient or new moment is NaN or infinite stays as it was." */
static void contain(const judge_arrays *before, const oracle_element *old, double gradient, oracle_result *want)
{
    bool quantized = false, finite = isfinite(gradient);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; ++kind) {
        if (!before->data[JUDGE_STATES + kind])
            continue;
        quantized |= before->formats[JUDGE_STATES + kind] == FOPT_Q8;
        finite = finite && isfinite(want->after.state[kind]);
    }
    if (quantized && !finite)
        *want = (oracle_result){*old, *old};
}

/* The largest new moment of a tile so far, and what its computation met. */
typedef struct judge_tile {
    double most, magnitude;
} judge_tile;

static void judge_tiles(const judge_arrays *after, size_t begin, size_t i, bool last, const oracle_result *want,
                        judge_tile tiles[FOPT_STATE_KINDS], judge_error worst[JUDGE_ARRAYS])
{
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; ++kind) {
        const size_t array = JUDGE_STATES + kind;
        judge_tile *tile = &tiles[kind];
        if (!after->data[array] || after->formats[array] != FOPT_Q8)
            continue;
        tile->most = fmax(tile->most, fmin(fabs(want->after.state[kind]), (double)FLT_MAX));
        tile->magnitude = fmax(tile->magnitude, fabs(want->magnitude.state[kind]));
        if (!last)
            continue;
        const double got = absmax_of(after, array, begin, i);
        const double ulps = oracle_ulps(got, tile->most, tile->magnitude, (double)FLT_MAX);
        if (ulps > worst[array].ulps)
            worst[array] = (judge_error){ulps, i, got, tile->most};
        *tile = (judge_tile){0, 0};
    }
}

void judge_step(const fopt_group *group, int64_t step, const judge_arrays *before, fopt_format grad_format,
                const void *grad, const judge_arrays *after, size_t begin, size_t end, judge_error worst[JUDGE_ARRAYS])
{
    judge_tile tiles[FOPT_STATE_KINDS] = {{0, 0}};
    bool promised = true; /* something of all elements of the tile */
    for (size_t i = begin; i < end; ++i) {
        oracle_element element;
        const double gradient = numbers_value(grad_format, numbers_get(grad_format, grad, i));
        const bool last = i + 1 == end || (i + 1 - begin) % TILE == 0;
        const bool good = read_element(before, begin, i, &element) && !is_huge(gradient);
        oracle_result want = oracle_step(group, step, element, gradient);
        contain(before, &element, gradient, &want);
        promised = promised && good;
        judge_tiles(after, begin, i, last && promised, &want, tiles, worst);
        if (last) {
            memset(tiles, 0, sizeof tiles);
            promised = true;
        }
        if (!good)
            continue;
        judge_one(after, JUDGE_PARAM, begin, i, want.after.param, want.magnitude.param, &worst[JUDGE_PARAM]);
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; ++kind)
            if (after->data[JUDGE_STATES + kind])
                judge_one(after, JUDGE_STATES + kind, begin, i, want.after.state[kind], want.magnitude.state[kind],
                          &worst[JUDGE_STATES + kind]);
    }
}
