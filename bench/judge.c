#include "judge.h"

#include "../tests/oracle.h"
#include "numbers.h"

#include <float.h>
#include <math.h>
#include <string.h>

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

static void judge_one(const judge_arrays *after, size_t array, size_t element, double want, double magnitude,
                      judge_error *worst)
{
    const fopt_format format = after->formats[array];
    const double got = numbers_value(format, numbers_get(format, after->data[array], element));
    const bool second = array == JUDGE_STATES + FOPT_SECOND_MOMENT;
    /* "A second moment that would overflow stays at the largest finite value of its format." */
    if ((second || array == JUDGE_STATES + FOPT_MAX_SECOND_MOMENT) && isfinite(want))
        want = fmin(want, numbers_largest(format));
    double ulps = unexplained_ulps(format, second, got, want, magnitude);
    /* "A moment whose magnitude is below FLT_MIN is stored as zero." */
    if (array != JUDGE_PARAM && fpclassify((float)got) == FP_SUBNORMAL)
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
static bool read_element(const judge_arrays *before, size_t i, oracle_element *element)
{
    double values[JUDGE_ARRAYS] = {0};
    bool promised = true;
    for (size_t array = 0; array < JUDGE_ARRAYS; ++array) {
        if (!before->data[array])
            continue;
        values[array] =
            numbers_value(before->formats[array], numbers_get(before->formats[array], before->data[array], i));
        if (array != JUDGE_STATES + FOPT_SECOND_MOMENT && array != JUDGE_STATES + FOPT_MAX_SECOND_MOMENT)
            promised = promised && !is_huge(values[array]);
    }
    element->param = values[JUDGE_PARAM];
    memcpy(element->state, values + JUDGE_STATES, sizeof element->state);
    return promised;
}

void judge_step(const fopt_group *group, int64_t step, const judge_arrays *before, fopt_format grad_format,
                const void *grad, const judge_arrays *after, size_t begin, size_t end, judge_error worst[JUDGE_ARRAYS])
{
    for (size_t i = begin; i < end; ++i) {
        oracle_element element;
        const double gradient = numbers_value(grad_format, numbers_get(grad_format, grad, i));
        if (!read_element(before, i, &element) || is_huge(gradient))
            continue;
        const oracle_result want = oracle_step(group, step, element, gradient);
        judge_one(after, JUDGE_PARAM, i, want.after.param, want.magnitude.param, &worst[JUDGE_PARAM]);
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; ++kind)
            if (after->data[JUDGE_STATES + kind])
                judge_one(after, JUDGE_STATES + kind, i, want.after.state[kind], want.magnitude.state[kind],
                          &worst[JUDGE_STATES + kind]);
    }
}
