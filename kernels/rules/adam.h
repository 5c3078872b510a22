/* Adam (Kingma and Ba, 2015) with AMSGrad (Reddi, Kale and Kumar, 2018); the arithmetic of AdamW too. */
#ifndef FOPT_I_ADAM_H
#define FOPT_I_ADAM_H

#include "element.h"

#define FOPT_I_ADAM_FLAGS           (FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY | FOPT_AMSGRAD | FOPT_NO_BIAS_CORRECTION)
#define FOPT_I_ADAM_HYPERPARAMETERS (FOPT_I_BETAS | FOPT_I_EPS)
#define FOPT_I_ADAM_STATE_NAMES                                                                                        \
    {                                                                                                                  \
        "exp_avg", "exp_avg_sq", "max_exp_avg_sq", NULL                                                                \
    }

typedef struct fopt_i_adam_coef {
    fopt_i_ends ends;
    fopt_i_ema first, second;
    float root_scale; /* 1 / sqrt(1 - beta2^t) */
    float eps;
    float step_size;      /* lr / (1 - beta1^t) */
    float least_quotient; /* that counts: its step is normal */
} fopt_i_adam_coef;

FOPT_FN fopt_i_adam_coef fopt_i_adam_coefficients(const fopt_i_inputs *in)
{
    const fopt_group *group = in->group;
    bool corrects = (group->flags & FOPT_NO_BIAS_CORRECTION) == 0;
    double correction1 = corrects ? 1.0 - fopt_i_power(group->beta1, in->step) : 1.0;
    double correction2 = corrects ? 1.0 - fopt_i_power(group->beta2, in->step) : 1.0;
    fopt_i_adam_coef c;
    c.first = fopt_i_ema_coefficients(group->beta1);
    c.second = fopt_i_ema_coefficients(group->beta2);
    c.ends = fopt_i_ends_coefficients(in);
    c.ends.least_squared = c.second.least_root;
    c.root_scale = (float)(1.0 / sqrt(correction2));
    c.eps = fopt_i_eps(group->eps);
    c.step_size = fopt_i_factor(in->lr / correction1);
    c.least_quotient = fopt_i_least((double)FLT_MIN * FOPT_I_MARGIN, c.step_size);
    return c;
}

FOPT_FN uint32_t fopt_i_adam_simplify(fopt_i_adam_coef *c)
{
    return fopt_i_ema_simplify(&c->first) | fopt_i_ema_simplify(&c->second);
}

FOPT_FN bool fopt_i_adam_is_ordinary(fopt_i_adam_coef c)
{
    return fopt_i_are_ordinary(c.eps, c.second, c.step_size, c.least_quotient);
}

FOPT_FN fopt_i_element fopt_i_adam_element(unsigned kinds, fopt_i_adam_coef c, fopt_i_element e, float g)
{
    const bool ordinary = (kinds & FOPT_I_ORDINARY) != 0;
    e.second = fopt_i_average_square(ordinary, c.second, g, e.second);
    float second = e.second;
    if (kinds & FOPT_I_MAX_SECOND) {
        e.max_second = e.max_second > second ? e.max_second : second; /* so that a NaN in `second` stays seen */
        second = e.max_second;
    }
    float denominator = fmaf(fopt_i_root(ordinary, second), c.root_scale, c.eps);
    float first = fopt_i_average(c.first, g, e.first);
    e.first =
        ordinary ? first : fopt_i_numerator(first, denominator, c.least_quotient, FOPT_I_SMALL); /* as is stored */
    e.param = fopt_i_apply(ordinary, c.ends, e.param, c.step_size * fopt_i_quotient(ordinary, e.first, denominator));
    return e;
}

static inline void fopt_i_adam_defaults(fopt_group *group)
{
    group->lr = 1e-3;
    group->beta1 = 0.9;
    group->beta2 = 0.999;
    group->eps = 1e-8;
}

static inline unsigned fopt_i_adam_kinds(const fopt_group *group)
{
    return FOPT_I_FIRST | FOPT_I_SECOND | (group->flags & FOPT_AMSGRAD ? FOPT_I_MAX_SECOND : 0);
}

/* Refuses all three at 0: every gradient of zero would then be 0 / 0, which nobody means. */
static inline const char *fopt_i_adam_check(const fopt_group *group)
{
    return group->beta1 == 0 && group->beta2 == 0 && group->eps == 0
               ? "beta1, beta2 and eps are all 0: fopt_group_init() sets them"
               : NULL;
}

#endif
