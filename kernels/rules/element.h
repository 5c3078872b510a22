/*
 * What all rules share: the element that a rule maps to its successor, and the parts of the formulas that are the same
 * in each (fusedopt.h has the formulas).
 *
 * A rule NAME is a header with
 *   fopt_i_NAME_coef                                    what is constant during a step, in float
 *   fopt_i_NAME_coefficients(inputs)                    computes it, in double
 *   fopt_i_NAME_element(kinds, coef, element, gradient) the update of one element, by what fopt_i_gradient() made of
 *   its
 *                                                       gradient; no operation meets a subnormal number (arithmetic.h).
 *                                                       It may leave out what an ordinary tile has no need of
 *   fopt_i_NAME_simplify(coef)                          turns off the options that most often are off; returns 0 if
 *                                                       none was on
 *   fopt_i_NAME_is_ordinary(coef)                       tells whether they are ordinary, but for these options
 * and, for the host, its description:
 *   FOPT_I_NAME_FLAGS, FOPT_I_NAME_HYPERPARAMETERS      what it accepts
 *   FOPT_I_NAME_STATE_NAMES                             PyTorch's name of each fopt_state_kind, NULL if never kept
 *   fopt_i_NAME_defaults(group)                         PyTorch's defaults
 *   fopt_i_NAME_kinds(group)                            which state arrays it keeps
 *   fopt_i_NAME_check(group)                            NULL, or what is wrong with a combination
 */
#ifndef FOPT_I_ELEMENT_H
#define FOPT_I_ELEMENT_H

#include "../roots.h"
#include "fusedopt.h"

/* Sets of state arrays. */
#define FOPT_I_FIRST      (1u << FOPT_FIRST_MOMENT)
#define FOPT_I_SECOND     (1u << FOPT_SECOND_MOMENT)
#define FOPT_I_MAX_SECOND (1u << FOPT_MAX_SECOND_MOMENT)
#define FOPT_I_BUFFER     (1u << FOPT_MOMENTUM_BUFFER)

/* With such a set: the tile is ordinary (arithmetic.h), and so are the coefficients, whose options are off. */
#define FOPT_I_ORDINARY (1u << 31)

/* Sets of hyperparameters; every rule has lr and weight_decay. */
#define FOPT_I_BETAS     (1u << 0)
#define FOPT_I_EPS       (1u << 1)
#define FOPT_I_MOMENTUM  (1u << 2)
#define FOPT_I_DAMPENING (1u << 3)
#define FOPT_I_ALPHA     (1u << 4)

/* The input of a tensor's step, besides its elements (begin.h). */
typedef struct fopt_i_inputs {
    const fopt_group *group;
    int64_t step; /* its number, from 1 */
    double lr;    /* in this step: rules do not look at the group's */
} fopt_i_inputs;

/* One element: its parameter and moments. Moments that are not in the rule's set of kinds are zero and stay unused. */
typedef struct fopt_i_element {
    float param, first, second, max_second, buffer;
} fopt_i_element;

/* The beginning and the end of every rule: what becomes of the gradient, and the subtraction with decoupled decay. */
typedef struct fopt_i_ends {
    uint32_t sign;           /* flips the gradient's sign bit with FOPT_MAXIMIZE */
    float decay;             /* weight_decay; decoupled, times lr */
    uint32_t most_uncoupled; /* largest parameter without coupled decay, in bits; or FOPT_I_NONE_DECAYS */
    uint32_t most_apart;     /* the same of decoupled decay */
    float least_squared;     /* gradient that counts where it is squared */
} fopt_i_ends;

/* The largest magnitude of all, NaNs' too: a decay of 0 would make NaN of infinity. */
#define FOPT_I_NONE_DECAYS 0x7fffffffu

FOPT_FN fopt_i_ends fopt_i_ends_coefficients(const fopt_i_inputs *in)
{
    const fopt_group *group = in->group;
    const bool decoupled = (group->flags & FOPT_DECOUPLED_DECAY) != 0;
    fopt_i_ends c;
    c.sign = group->flags & FOPT_MAXIMIZE ? 0x80000000u : 0u;
    c.decay = fopt_i_factor(decoupled ? in->lr * group->weight_decay : group->weight_decay);
    const uint32_t most =
        c.decay != 0.0f ? fopt_i_bits(fopt_i_least((double)FOPT_I_SMALL, c.decay)) - 1 : FOPT_I_NONE_DECAYS;
    c.most_uncoupled = decoupled ? FOPT_I_NONE_DECAYS : most;
    c.most_apart = decoupled ? most : FOPT_I_NONE_DECAYS;
    c.least_squared = 0.0f;
    return c;
}

/* Returns a parameter, or 0 if it does not decay. */
FOPT_FN float fopt_i_decaying(uint32_t most, float param)
{
    const uint32_t bits = fopt_i_bits(param);
    return fopt_i_float(bits & ~fopt_i_mask((int32_t)(bits & 0x7fffffffu) <= (int32_t)most));
}

/* Returns what a rule that keeps a set of kinds takes for the gradient: with its sign and coupled decay, not subnormal,
 * and, if it is squared, within bounds. If only the square of a larger one were cut off, the quotient would grow with
 * the gradient; so the step has the bound of exact arithmetic, and no average overflows. For the same reason one whose
 * square leaves nothing in the average counts as zero; divided by any root, what is left is normal. The sign of zero is
 * not kept: no rule shows it. */
FOPT_FN float fopt_i_gradient(unsigned kinds, fopt_i_ends c, float param, float gradient)
{
    const float directed = fopt_i_flush(fopt_i_float(fopt_i_bits(gradient) ^ c.sign), FLT_MIN);
    const float decayed = fmaf(c.decay, fopt_i_decaying(c.most_uncoupled, param), directed);
    return kinds & FOPT_I_SECOND ? fopt_i_clamp(decayed, c.least_squared, FOPT_I_MOST_SQUARED) : decayed;
}

/* Tells whether fopt_i_gradient() leaves ordinary gradients as they are, but for the sign of zero. */
FOPT_FN bool fopt_i_leaves_ordinary(fopt_i_ends c)
{
    return c.sign == 0 && c.most_uncoupled == FOPT_I_NONE_DECAYS && c.least_squared <= FOPT_I_LEAST_ORDINARY;
}

/* The largest moment that is quantized: the inverses of larger ones are subnormal. */
#define FOPT_I_LARGEST_QUANTIZED 0x1p126f

/* Keeps what is not finite, or too large to be quantized, out of a block that has a scale, which it would become: an
 * element with such a new moment keeps its old parameter and moments. */
FOPT_FN fopt_i_element fopt_i_contain(unsigned kinds, fopt_i_element old, fopt_i_element e)
{
    uint32_t good = 0xffffffffu;
    if (kinds & FOPT_I_SECOND)
        good &= fopt_i_mask(e.second <= FOPT_I_LARGEST_QUANTIZED);
    if (kinds & FOPT_I_MAX_SECOND)
        good &= fopt_i_mask(e.max_second <= FOPT_I_LARGEST_QUANTIZED);
    if (kinds & FOPT_I_BUFFER)
        good &= fopt_i_mask(fabsf(e.buffer) <= FOPT_I_LARGEST_QUANTIZED);
    if (kinds & FOPT_I_FIRST)
        good &= fopt_i_mask(fabsf(e.first) <= FOPT_I_LARGEST_QUANTIZED);
    e.param = fopt_i_select(good, e.param, old.param);
    e.first = fopt_i_select(good, e.first, old.first);
    e.second = fopt_i_select(good, e.second, old.second);
    e.max_second = fopt_i_select(good, e.max_second, old.max_second);
    e.buffer = fopt_i_select(good, e.buffer, old.buffer);
    return e;
}

/* Subtracts the update, which is not subnormal, nor -0 if it is `ordinary`. Decay joins it before it meets the
 * parameter: one rounding at the parameter's magnitude. The usual p * (1 - lr * weight_decay) rounds the factor to
 * float, which at lr 1e-6 and weight_decay 0.01 leaves no decay. */
FOPT_FN float fopt_i_apply(bool ordinary, fopt_i_ends c, float param, float update)
{
#ifdef __CUDA_ARCH__ /* by floats: nothing is above NaN, which `most_apart` may be, and a NaN of a parameter stays so */
    const bool decays = fabsf(param) > fopt_i_float(c.most_apart);
    if (ordinary && !decays)
        return param - update;
    const float decaying = decays ? param : 0.0f;
#else
    const float decaying = fopt_i_decaying(c.most_apart, param);
    (void)ordinary;
#endif
    return param - fmaf(c.decay, decaying, update);
}

#endif
