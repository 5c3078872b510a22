/*
 * The formulas of fusedopt.h in double precision.
 *
 * Each intermediate result carries its magnitude: the m for which an arithmetic that rounds to single precision may be
 * off by a few m * ULP. For a number just read, m is its absolute value. A sum takes the largest m of its terms and
 * itself, so that what cancels leaves its magnitude behind; products, quotients and roots pass an error on as their
 * derivatives say. Constant factors (2 for a square, 1/2 for a root) are left to the "few".
 */
#include "oracle.h"
#include "numbers.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define ULP ((double)FLT_EPSILON)

/* ---- arithmetic with magnitudes ------------------------------------------------------------------------------ */

typedef struct quantity {
    double value, magnitude;
} quantity;

static quantity exact(double value)
{
    return (quantity){value, fabs(value)};
}

/* Below FLT_MIN the steps of single precision no longer become smaller; beyond FLT_MAX there is only infinity. */
static quantity rounded(double value, double magnitude)
{
    return (quantity){value, magnitude > (double)FLT_MAX ? INFINITY : fmax(magnitude, (double)FLT_MIN)};
}

static quantity scaled(double factor, quantity x)
{
    return rounded(factor * x.value, fabs(factor) * x.magnitude);
}

static quantity sum(quantity x, quantity y)
{
    double value = x.value + y.value;
    return rounded(value, fmax(fabs(value), fmax(x.magnitude, y.magnitude)));
}

/* Close to zero the derivative is too small: an error e leaves e^2. */
static quantity square(quantity x)
{
    return rounded(x.value * x.value, fmax(fabs(x.value), x.magnitude * ULP) * x.magnitude);
}

static quantity quotient(quantity x, quantity y)
{
    double value = x.value / y.value;
    return rounded(value, fmax(x.magnitude, fabs(value) * y.magnitude) / fabs(y.value));
}

/* Close to zero the derivative is too large: an error e leaves at most sqrt(e). */
static quantity root(quantity x)
{
    return rounded(sqrt(x.value), fmin(x.magnitude / sqrt(x.value), sqrt(x.magnitude / ULP)));
}

/* Returns max(x, 0), but NaN stays NaN. An error of x can lift it above 0 only as far as x is not below. */
static quantity not_negative(quantity x)
{
    return x.value < 0 ? rounded(0, x.magnitude + x.value / ULP) : x;
}

/* ---- what fusedopt.h says of moments ------------------------------------------------------------------------- */

/* "What is too small counts as zero". The magnitude says so too, and a little beyond: it makes an ULP of the number. */
static quantity counted(quantity x, double least)
{
    const double magnitude = fabs(x.value) < 1.001 * least ? fmax(x.magnitude, fabs(x.value) / ULP) : x.magnitude;
    return (quantity){fabs(x.value) < least ? 0 : x.value, magnitude};
}

/* "S is 2^-78". */
#define S 0x1p-78

/* "Whose product is below FLT_MIN": a product with this factor. */
static double least_for(double factor)
{
    return factor < 1 && factor != 0 ? (double)FLT_MIN / factor : (double)FLT_MIN;
}

/* "A factor below 2^-100 counts as zero". */
static double factor(double x)
{
    return x < 0x1p-100 ? 0 : x;
}

/* "A momentum, beta or alpha below 2^-44 counts as zero, and its distance from 1 as no less." */
static double weight(double x)
{
    return x < 0x1p-44 ? 0 : fmin(x, 1 - 0x1p-44);
}

/* "An eps below FLT_MIN that is not zero counts as FLT_MIN." */
static quantity epsilon(double eps)
{
    return exact(eps > 0 ? fmax(eps, (double)FLT_MIN) : 0);
}

/* Returns keep * old + (1 - keep) * new. */
static quantity average(double keep, double old, quantity new)
{
    return sum(scaled(weight(keep), exact(old)), scaled(1 - weight(keep), new));
}

/* "s and v below 2 FLT_MIN, and a change of these by less than FLT_MIN" count as zero. */
static quantity average_square(double keep, double old, quantity gradient)
{
    const quantity new = average(keep, old, square(gradient));
    return counted((quantity){new.value, fmax(new.magnitude, (double)FLT_MIN / ULP)}, 2 * (double)FLT_MIN);
}

/* A finite gradient beyond `most` counts as that. */
static quantity clamped(quantity g, double most)
{
    return isfinite(g.value) && fabs(g.value) > most ? exact(copysign(most, g.value)) : g;
}

/* "A finite g counts as no more than 2^63", and as zero "below 4.4e-19, or
 * if (1 - alpha) * g^2 is below FLT_MIN". */
static quantity bounded(quantity g, double keep)
{
    return clamped(counted(g, fmax(0x1p-61, sqrt((double)FLT_MIN / (1 - weight(keep))))), 0x1p63);
}

/* "b below S / momentum", and whose update is below FLT_MIN. */
static double least_buffer(const fopt_group *h, double rate)
{
    return fmax(S / (weight(h->momentum) > 0 ? h->momentum : 1), least_for(factor(rate)));
}

/* ---- the rules ----------------------------------------------------------------------------------------------- */

/* Each takes the gradient with its sign and coupled decay, replaces the moments that it keeps, and returns the update
 * u. */
typedef quantity rule_function(const fopt_group *h, int64_t step, quantity g, quantity state[FOPT_STATE_KINDS]);

static quantity sgd(const fopt_group *h, int64_t step, quantity g, quantity state[FOPT_STATE_KINDS])
{
    const double rate = factor(h->lr);
    if (h->momentum == 0)
        return scaled(rate, counted(g, least_for(rate)));

    const bool classic = (h->flags & FOPT_CLASSIC_MOMENTUM) != 0;
    const double share = factor(classic ? h->lr : step == 1 ? 1 : 1 - h->dampening), momentum = weight(h->momentum);
    quantity *b = &state[FOPT_MOMENTUM_BUFFER];
    const quantity old = *b;
    g = counted(g, least_for(share));
    if (h->flags & FOPT_EMA_MOMENTUM)
        *b = sum(scaled(momentum, counted(old, S)), scaled(1 - momentum, counted(g, S)));
    else if (classic || step > 1)
        *b = sum(scaled(momentum, old), scaled(share, g));
    else
        *b = g;
    *b = counted(*b, least_buffer(h, classic ? 1 : rate));

    if (classic)
        return *b;
    if (h->flags & FOPT_NESTEROV)
        return scaled(rate, counted(sum(g, scaled(momentum, *b)), least_buffer(h, rate)));
    return scaled(rate, *b);
}

static quantity rmsprop(const fopt_group *h, int64_t step, quantity g, quantity state[FOPT_STATE_KINDS])
{
    (void)step;
    g = bounded(g, h->alpha);
    quantity *s = &state[FOPT_SECOND_MOMENT];
    *s = average_square(h->alpha, s->value, g);
    quantity variance = *s;
    if (h->flags & FOPT_CENTERED) {
        quantity *a = &state[FOPT_FIRST_MOMENT];
        *a = counted(average(h->alpha, a->value, g), S);
        variance = not_negative(sum(*s, scaled(-1, square(*a))));
    }

    quantity d = h->flags & FOPT_EPS_INSIDE_SQRT ? quotient(g, root(sum(variance, epsilon(h->eps))))
                                                 : quotient(g, sum(root(variance), epsilon(h->eps)));
    const double rate = factor(h->lr);
    if (h->momentum == 0)
        return scaled(rate, counted(d, least_for(rate)));
    quantity *b = &state[FOPT_MOMENTUM_BUFFER];
    *b = counted(sum(scaled(weight(h->momentum), *b), d), least_buffer(h, rate));
    return scaled(rate, *b);
}

static quantity adam(const fopt_group *h, int64_t step, quantity g, quantity state[FOPT_STATE_KINDS])
{
    quantity *m = &state[FOPT_FIRST_MOMENT], *v = &state[FOPT_SECOND_MOMENT], *x = &state[FOPT_MAX_SECOND_MOMENT];
    g = bounded(g, h->beta2);
    *v = average_square(h->beta2, v->value, g);
    quantity second = *v;
    if (h->flags & FOPT_AMSGRAD)
        second = *x = (quantity){x->value > v->value ? x->value : v->value, fmax(x->magnitude, v->magnitude)};

    bool corrected = !(h->flags & FOPT_NO_BIAS_CORRECTION);
    double correction1 = corrected ? 1 - pow(h->beta1, (double)step) : 1;
    double correction2 = corrected ? 1 - pow(h->beta2, (double)step) : 1;
    const double rate = factor(h->lr / correction1);
    const quantity denominator = sum(scaled(1 / sqrt(correction2), root(second)), epsilon(h->eps));
    *m = counted(average(h->beta1, m->value, g), S + least_for(rate) * denominator.value);
    return scaled(rate, quotient(*m, denominator));
}

oracle_result oracle_step(const fopt_group *group, int64_t step, oracle_element before, double gradient)
{
    static rule_function *const rules[] = {
        [FOPT_SGD] = sgd, [FOPT_RMSPROP] = rmsprop, [FOPT_ADAM] = adam, [FOPT_ADAMW] = adam};
    bool decoupled = group->rule == FOPT_ADAMW || (group->flags & FOPT_DECOUPLED_DECAY);

    quantity p = exact(before.param), state[FOPT_STATE_KINDS];
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        state[kind] = exact(before.state[kind]);

    quantity g = exact(group->flags & FOPT_MAXIMIZE ? -gradient : gradient);
    if (!decoupled && group->weight_decay != 0) /* 0 * inf is NaN: without decay there is no such term */
        g = sum(counted(g, (double)FLT_MIN), counted(scaled(factor(group->weight_decay), p), S));

    quantity u = rules[group->rule](group, step, g, state);
    if (decoupled && group->lr * group->weight_decay != 0)
        u = sum(u, counted(scaled(factor(group->lr * group->weight_decay), p), S));
    p = sum(p, scaled(-1, u));

    oracle_result result = {.after.param = p.value, .magnitude.param = p.magnitude};
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        result.after.state[kind] = state[kind].value;
        result.magnitude.state[kind] = state[kind].magnitude;
    }
    return result;
}

bool oracle_keeps(const fopt_group *group, fopt_state_kind kind)
{
    bool adam = group->rule == FOPT_ADAM || group->rule == FOPT_ADAMW;
    switch (kind) {
    case FOPT_FIRST_MOMENT:
        return adam || (group->flags & FOPT_CENTERED);
    case FOPT_SECOND_MOMENT:
        return adam || group->rule == FOPT_RMSPROP;
    case FOPT_MAX_SECOND_MOMENT:
        return adam && (group->flags & FOPT_AMSGRAD);
    case FOPT_MOMENTUM_BUFFER:
        return !adam && group->momentum > 0;
    }
    return false;
}

/* ---- to compare and to name ---------------------------------------------------------------------------------- */

double oracle_ulps(double got, double want, double magnitude, double largest)
{
    if ((isnan(got) && isnan(want)) || got == want)
        return 0;
    if (isnan(got) || !isfinite(want))
        return INFINITY;
    if (isinf(got))
        got = copysign(fmax(got * want > 0 ? fabs(want) : 0, largest), got);
    return fabs(got - want) / (fmax(magnitude, (double)FLT_MIN) * ULP); /* FLT_MIN * ULP: the least positive float */
}

double oracle_error(fopt_format format, bool stochastic, double got, double want, double magnitude)
{
    const double rounding = numbers_spacing(format, want) * (stochastic ? 1 : 0.5);
    if (!isfinite(want))
        return isfinite(got) ? (double)INFINITY : 0;
    if (fabs(got - want) <= rounding)
        return 0;
    return oracle_ulps(got, want + copysign(rounding, got - want), magnitude,
                       format == FOPT_F16 ? numbers_largest(FOPT_F16) : (double)FLT_MAX);
}

void oracle_name(const fopt_group *group, char name[ORACLE_NAME_SIZE])
{
    static const char *const flags[] = {"maximize", "decoupled",  "nesterov", "ema",        "classic",
                                        "centered", "eps_inside", "amsgrad",  "uncorrected"};
    int length =
        snprintf(name, ORACLE_NAME_SIZE, "%s%s", fopt_rule_name(group->rule), group->momentum > 0 ? " momentum" : "");
    for (size_t bit = 0; bit < sizeof flags / sizeof *flags; bit++)
        if (group->flags & (1u << bit))
            length += snprintf(name + length, ORACLE_NAME_SIZE - (size_t)length, " %s", flags[bit]);
}
