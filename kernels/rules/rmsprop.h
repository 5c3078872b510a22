/* RMSprop (Hinton, lecture 6e of "Neural Networks for Machine Learning", 2012), with PyTorch's options. */
#ifndef FOPT_I_RMSPROP_H
#define FOPT_I_RMSPROP_H

#include "element.h"

#define FOPT_I_RMSPROP_FLAGS           (FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | FOPT_CENTERED | FOPT_EPS_INSIDE_SQRT)
#define FOPT_I_RMSPROP_HYPERPARAMETERS (FOPT_I_ALPHA | FOPT_I_EPS | FOPT_I_MOMENTUM)
#define FOPT_I_RMSPROP_STATE_NAMES                                                                                     \
    {                                                                                                                  \
        "grad_avg", "square_avg", NULL, "momentum_buffer"                                                              \
    }

typedef struct fopt_i_rmsprop_coef {
    fopt_i_ends ends;
    fopt_i_ema average;
    float eps_inside, eps_outside; /* of the square root; one of them is 0 */
    float momentum, step_size;
    float least_quotient, least_buffer; /* that count; without and with momentum */
} fopt_i_rmsprop_coef;

FOPT_FN fopt_i_rmsprop_coef fopt_i_rmsprop_coefficients(const fopt_i_inputs *in)
{
    const fopt_group *group = in->group;
    bool inside = (group->flags & FOPT_EPS_INSIDE_SQRT) != 0;
    fopt_i_rmsprop_coef c;
    c.average = fopt_i_ema_coefficients(group->alpha);
    c.ends = fopt_i_ends_coefficients(in);
    c.ends.least_squared = c.average.least_root;
    c.eps_inside = inside ? fopt_i_eps(group->eps) : 0.0f;
    c.eps_outside = inside ? 0.0f : fopt_i_eps(group->eps);
    c.momentum = group->momentum < FOPT_I_LEAST_WEIGHT ? 0.0f : (float)group->momentum;
    c.step_size = fopt_i_factor(in->lr);
    c.least_quotient = fopt_i_least((double)FLT_MIN * FOPT_I_MARGIN, c.step_size);
    c.least_buffer = fopt_i_least_buffer(c.momentum, c.least_quotient);
    return c;
}

FOPT_FN uint32_t fopt_i_rmsprop_simplify(fopt_i_rmsprop_coef *c)
{
    return fopt_i_ema_simplify(&c->average) | fopt_i_mask(c->eps_inside + c->eps_outside == 0.0f); /* 0 / 0 */
}

FOPT_FN bool fopt_i_rmsprop_is_ordinary(fopt_i_rmsprop_coef c)
{
    const float eps = c.eps_inside + c.eps_outside; /* one is 0 */
    return fopt_i_are_ordinary(eps, c.average, c.step_size, c.least_quotient) &&
           c.least_buffer <= FOPT_I_LEAST_ORDINARY_MOMENT;
}

/* Returns the difference of an average of squares and the square of an average, or 0 if rounding makes it negative, of
 * which the root would be NaN. What is subtracted from a small one is rounded by itself: fmaf() would yield
 * subnormals. */
FOPT_FN float fopt_i_variance(float first, float second)
{
    const uint32_t small = fopt_i_mask(second < FOPT_I_SMALL);
    const float part = fopt_i_flush(fopt_i_float(fopt_i_bits(first) & small), 0x1p-63f);
    const float rest = fopt_i_float(fopt_i_bits(first) & ~small);
    const float variance = fopt_i_flush(fmaf(-rest, rest, second) - part * part, FLT_MIN);
    return variance < 0.0f ? 0.0f : variance;
}

FOPT_FN fopt_i_element fopt_i_rmsprop_element(unsigned kinds, fopt_i_rmsprop_coef c, fopt_i_element e, float g)
{
    const bool moments = (kinds & FOPT_I_ORDINARY) != 0;
    const bool ordinary = moments && !(kinds & FOPT_I_FIRST); /* a variance may be as small as it likes */
    e.second = fopt_i_average_square(moments, c.average, g, e.second);
    float variance = e.second;
    if (kinds & FOPT_I_FIRST) {
        e.first = fopt_i_moment(fopt_i_average(c.average, g, e.first));
        variance = fopt_i_variance(e.first, e.second);
    }
    const float denominator = fopt_i_root(ordinary, variance + c.eps_inside) + c.eps_outside;
    float direction;
    if (kinds & FOPT_I_BUFFER) {
        const float sum = fmaf(c.momentum, e.buffer, fopt_i_quotient(ordinary, g, denominator));
        e.buffer = ordinary ? sum : fopt_i_flush(sum, c.least_buffer);
        direction = e.buffer;
    } else {
        const float numerator = ordinary ? g : fopt_i_numerator(g, denominator, c.least_quotient, FLT_MIN);
        direction = fopt_i_quotient(ordinary, numerator, denominator);
    }
    e.param = fopt_i_apply(ordinary, c.ends, e.param, c.step_size * direction);
    return e;
}

static inline void fopt_i_rmsprop_defaults(fopt_group *group)
{
    group->lr = 1e-2;
    group->alpha = 0.99;
    group->eps = 1e-8;
}

static inline unsigned fopt_i_rmsprop_kinds(const fopt_group *group)
{
    unsigned kinds = FOPT_I_SECOND;
    if (group->flags & FOPT_CENTERED)
        kinds |= FOPT_I_FIRST;
    if (group->momentum > 0)
        kinds |= FOPT_I_BUFFER;
    return kinds;
}

/* Refuses both at 0: every gradient of zero would then be 0 / 0, which nobody means. */
static inline const char *fopt_i_rmsprop_check(const fopt_group *group)
{
    return group->alpha == 0 && group->eps == 0 ? "alpha and eps are both 0: fopt_group_init() sets them" : NULL;
}

#endif
