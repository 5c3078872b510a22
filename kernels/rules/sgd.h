/* Stochastic gradient descent with momentum in three spellings. */
#ifndef FOPT_I_SGD_H
#define FOPT_I_SGD_H

#include "element.h"

#define FOPT_I_SGD_FLAGS                                                                                               \
    (FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | FOPT_NESTEROV | FOPT_EMA_MOMENTUM | FOPT_CLASSIC_MOMENTUM)
#define FOPT_I_SGD_HYPERPARAMETERS (FOPT_I_MOMENTUM | FOPT_I_DAMPENING)
#define FOPT_I_SGD_STATE_NAMES                                                                                         \
    {                                                                                                                  \
        NULL, NULL, NULL, "momentum_buffer"                                                                            \
    }

typedef struct fopt_i_sgd_coef {
    fopt_i_ends ends;
    fopt_i_ema average;   /* FOPT_EMA_MOMENTUM */
    float momentum;       /* of the buffer; 0 at a tensor's first step in PyTorch's spelling */
    float gradient_scale; /* of the gradient that joins the buffer */
    float lookahead;      /* of the buffer in what is subtracted, with FOPT_NESTEROV */
    float step_size;
    float least_gradient, least_buffer; /* that count */
    uint32_t averages, nesterov;        /* masks */
} fopt_i_sgd_coef;

FOPT_FN fopt_i_sgd_coef fopt_i_sgd_coefficients(const fopt_i_inputs *in)
{
    const fopt_group *group = in->group;
    bool classic = (group->flags & FOPT_CLASSIC_MOMENTUM) != 0;
    bool first = in->step == 1 && !classic;
    fopt_i_sgd_coef c;
    c.ends = fopt_i_ends_coefficients(in);
    c.average = fopt_i_ema_coefficients(group->momentum);
    const float momentum = fopt_i_factor(group->momentum < FOPT_I_LEAST_WEIGHT ? 0.0 : group->momentum);
    c.momentum = first ? 0.0f : momentum;
    c.gradient_scale = fopt_i_factor(classic ? in->lr : first ? 1.0 : 1.0 - group->dampening);
    c.lookahead = momentum;
    c.step_size = classic ? 1.0f : fopt_i_factor(in->lr);
    const float least_step = fopt_i_least((double)FLT_MIN, c.step_size);
    c.averages = fopt_i_mask((group->flags & FOPT_EMA_MOMENTUM) != 0);
    c.least_gradient = c.averages            ? FOPT_I_SMALL
                       : group->momentum > 0 ? fopt_i_least((double)FLT_MIN, c.gradient_scale)
                                             : least_step;
    c.least_buffer = fopt_i_least_buffer(momentum, least_step);
    c.nesterov = fopt_i_mask((group->flags & FOPT_NESTEROV) != 0);
    return c;
}

FOPT_FN uint32_t fopt_i_sgd_simplify(fopt_i_sgd_coef *c)
{
    const uint32_t options = c->averages | c->nesterov;
    c->averages = c->nesterov = 0;
    return options;
}

FOPT_FN bool fopt_i_sgd_is_ordinary(fopt_i_sgd_coef c)
{
    return c.step_size > 0.0f && c.least_gradient <= FOPT_I_LEAST_ORDINARY &&
           c.least_buffer <= FOPT_I_LEAST_ORDINARY_MOMENT;
}

FOPT_FN fopt_i_element fopt_i_sgd_element(unsigned kinds, fopt_i_sgd_coef c, fopt_i_element e, float gradient)
{
    const bool ordinary = (kinds & FOPT_I_ORDINARY) != 0;
    float direction = ordinary ? gradient : fopt_i_flush(gradient, c.least_gradient);
    if (kinds & FOPT_I_BUFFER) {
        const float g = direction;
        const float added = ordinary ? fmaf(c.gradient_scale, g, 0.0f) : c.gradient_scale * g; /* not -0, for -0 */
        const float sum = fmaf(c.momentum, e.buffer, added);
        /* The buffer may have been a sum. What is not averaged may be too small for it. */
        const float ema = fopt_i_average_any(c.average, fopt_i_select(c.averages, g, 0.0f),
                                             fopt_i_select(c.averages, e.buffer, 0.0f));
        const float buffer = fopt_i_select(c.averages, ema, sum);
        e.buffer = ordinary ? buffer : fopt_i_flush(buffer, c.least_buffer);
        const float ahead = fopt_i_flush(fmaf(c.lookahead, e.buffer, g), c.least_buffer);
        direction = fopt_i_select(c.nesterov, ahead, e.buffer);
    }
    e.param = fopt_i_apply(ordinary, c.ends, e.param, c.step_size * direction);
    return e;
}

static inline void fopt_i_sgd_defaults(fopt_group *group)
{
    group->lr = 1e-3;
}

static inline unsigned fopt_i_sgd_kinds(const fopt_group *group)
{
    return group->momentum > 0 ? FOPT_I_BUFFER : 0;
}

static inline const char *fopt_i_sgd_check(const fopt_group *group)
{
    const unsigned spellings = FOPT_NESTEROV | FOPT_EMA_MOMENTUM | FOPT_CLASSIC_MOMENTUM;
    const unsigned chosen = group->flags & spellings;
    if (group->dampening != 0 && group->momentum == 0)
        return "dampening needs a momentum above 0";
    if (chosen != 0 && group->momentum == 0)
        return "FOPT_NESTEROV, FOPT_EMA_MOMENTUM and FOPT_CLASSIC_MOMENTUM need a momentum above 0";
    if ((chosen & (chosen - 1)) != 0)
        return "FOPT_NESTEROV, FOPT_EMA_MOMENTUM and FOPT_CLASSIC_MOMENTUM exclude each other";
    if (chosen != 0 && group->dampening != 0)
        return "FOPT_NESTEROV, FOPT_EMA_MOMENTUM and FOPT_CLASSIC_MOMENTUM need dampening 0";
    return NULL;
}

#endif
