/* Judges arrays: to the bit, and against the oracle by the promises of fusedopt.h. */
#include "verify/judge.h"
#include "reference/numbers.h"
#include "reference/oracle.h"
#include "reference/quantized.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { KINDS = JUDGE_ARRAYS - JUDGE_STATES };

void judge_prepare(void)
{
    quantized_prepare();
}

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

/* Returns the error of a code, in the ULPs by which moments that stand for themselves are judged: half of how much
 * nearer the values are that it may become. "A positive moment of those without sign" is never zero. */
static double code_ulps(fopt_format format, fopt_state_kind kind, uint32_t code, double want, double magnitude,
                        double absmax)
{
    const bool has_sign = moment_has_sign(kind);
    const double got = quantized_value(format, has_sign, code) * absmax;
    if (!has_sign && got == 0)
        return want < (double)FLT_MIN ? 0 : (double)INFINITY;
    const double excess = fabs(want - got) - quantized_distance(format, kind, want, absmax);
    return excess <= 0 ? 0 : oracle_ulps(excess / 2, 0, fmax(magnitude, absmax), (double)FLT_MAX);
}

static bool is_square(size_t array)
{
    return array == JUDGE_STATES + FOPT_SECOND_MOMENT || array == JUDGE_STATES + FOPT_MAX_SECOND_MOMENT;
}

/* What is rounded stochastically: a moment that adds up. */
static bool is_average(size_t array)
{
    return array != JUDGE_PARAM && array != JUDGE_STATES + FOPT_MAX_SECOND_MOMENT;
}

static void note_worst(double ulps, size_t element, double got, double want, judge_error *worst)
{
    if (ulps > worst->ulps)
        *worst = (judge_error){ulps, element, got, want};
}

/* Returns what an element of an array stands for. `begin` is the tensor's first. */
static double value_of(const judge_arrays *arrays, size_t array, size_t begin, size_t element)
{
    const fopt_format format = arrays->formats[array];
    const uint32_t bits = numbers_get(format, arrays->data[array], element);
    if (!is_quantized(format))
        return numbers_value(format, bits);
    const double value = quantized_value(format, moment_has_sign((fopt_state_kind)(array - JUDGE_STATES)), bits);
    return (double)(float)(value * (double)arrays->absmax[array][(element - begin) / quantized_block(format)]);
}

static void judge_one(const judge_arrays *after, size_t array, size_t begin, size_t element, double want,
                      double magnitude, judge_error *worst)
{
    const fopt_format format = after->formats[array];
    const double got = value_of(after, array, begin, element);
    double ulps;
    if (is_quantized(format))
        ulps =
            code_ulps(format, (fopt_state_kind)(array - JUDGE_STATES), numbers_get(format, after->data[array], element),
                      want, magnitude, (double)after->absmax[array][(element - begin) / quantized_block(format)]);
    else
        ulps = oracle_error(format, is_average(array), got, want, magnitude);
    /* "Moments are stored as they count: none is subnormal." */
    if (array != JUDGE_PARAM && !is_quantized(format) && fpclassify((float)got) == FP_SUBNORMAL)
        ulps = (double)INFINITY;
    note_worst(ulps, element, got, want, worst);
}

/* Tells whether sums of such numbers may overflow. */
static bool is_huge(double value)
{
    return isfinite(value) && fabs(value) > (double)FLT_MAX / 4;
}

/* Reads an element. Returns whether anything is promised of it: nothing is where sums overflow, except that second
 * moments do not. */
static bool read_element(const judge_arrays *before, size_t begin, size_t i, double values[JUDGE_ARRAYS])
{
    bool promised = true;
    for (size_t array = 0; array < JUDGE_ARRAYS; array++) {
        values[array] = before->data[array] ? value_of(before, array, begin, i) : 0;
        promised = promised && (is_square(array) || !is_huge(values[array]));
    }
    return promised;
}

/* The oracle's answer for an element, by array. */
typedef struct expectation {
    double want[JUDGE_ARRAYS], magnitude[JUDGE_ARRAYS];
} expectation;

/* Tells whether an element stays: "In a group with such a moment, an element stays as it was if its gradient is NaN or
 * infinite, or a new moment, or that is above 2^126." */
static bool stays(const judge_arrays *after, const expectation *e, double gradient)
{
    bool quantized = false, finite = isfinite(gradient);
    for (size_t array = JUDGE_STATES; array < JUDGE_ARRAYS; array++)
        if (after->data[array]) {
            quantized = quantized || is_quantized(after->formats[array]);
            finite = finite && fabs(e->want[array]) <= 0x1p126;
        }
    return quantized && !finite;
}

static expectation ask(const fopt_group *group, int64_t step, const double before[JUDGE_ARRAYS], double gradient,
                       const judge_arrays *after)
{
    oracle_element element = {.param = before[JUDGE_PARAM]};
    memcpy(element.state, before + JUDGE_STATES, KINDS * sizeof *element.state);
    const oracle_result result = oracle_step(group, step, element, gradient);
    expectation e = {.want = {result.after.param}, .magnitude = {result.magnitude.param}};
    memcpy(e.want + JUDGE_STATES, result.after.state, KINDS * sizeof *element.state);
    memcpy(e.magnitude + JUDGE_STATES, result.magnitude.state, KINDS * sizeof *element.state);
    if (stays(after, &e, gradient))
        for (size_t array = 0; array < JUDGE_ARRAYS; array++) {
            e.want[array] = before[array];
            e.magnitude[array] = fabs(before[array]);
        }
    return e;
}

/* The largest moments of a block that is gone through. */
typedef struct block {
    double most, magnitude;
    bool torn; /* of some of its elements nothing is promised */
} block;

static void judge_absmax(const judge_arrays *after, size_t array, const block *b, size_t number, size_t element,
                         judge_error *worst)
{
    const bool has_sign = moment_has_sign((fopt_state_kind)(array - JUDGE_STATES));
    const double got = (double)after->absmax[array][number];
    const double want = quantized_absmax(after->formats[array], has_sign, b->most);
    if (!b->torn || !(got >= want))
        note_worst(oracle_ulps(got, want, fmax(b->magnitude, want), (double)FLT_MAX), element, got, want, worst);
}

void judge_step(const fopt_group *group, int64_t step, const judge_arrays *before, fopt_format grad_format,
                const void *grad, const judge_arrays *after, size_t begin, size_t end, judge_error worst[JUDGE_ARRAYS])
{
    block blocks[JUDGE_ARRAYS] = {{0}};
    for (size_t i = begin; i < end; i++) {
        double values[JUDGE_ARRAYS];
        const double gradient = numbers_value(grad_format, numbers_get(grad_format, grad, i));
        const bool promised = read_element(before, begin, i, values) && !is_huge(gradient);
        expectation e = {.want = {0}, .magnitude = {0}};
        if (promised)
            e = ask(group, step, values, gradient, after);
        for (size_t array = 0; array < JUDGE_ARRAYS; array++) {
            if (!after->data[array])
                continue;
            block *b = &blocks[array];
            if (promised)
                judge_one(after, array, begin, i, e.want[array], e.magnitude[array], &worst[array]);
            b->most = fmax(b->most, fabs(e.want[array]));
            b->magnitude = fmax(b->magnitude, e.magnitude[array]);
            b->torn = b->torn || !promised;
            if (!is_quantized(after->formats[array]))
                continue;
            const size_t size = quantized_block(after->formats[array]);
            if ((i + 1 - begin) % size == 0 || i + 1 == end) {
                judge_absmax(after, array, b, (i - begin) / size, i, &worst[array]);
                *b = (block){0};
            }
        }
    }
}
