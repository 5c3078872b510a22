/*
 * What all rules share: the element that a rule maps to its successor, and the parts of the formulas that are the same
 * in each (fusedopt.h has the formulas).
 *
 * A rule NAME is a header with
 *   fopt_i_NAME_coef                                    what is constant during a step, in float
 *   fopt_i_NAME_coefficients(inputs)                    computes it, in double
 *   fopt_i_NAME_element(kinds, coef, element, gradient) the update of one element; what it averages has gone through
 *                                                       fopt_i_bounded() or fopt_i_averageable(), and no operation
 *                                                       meets a subnormal number (arithmetic.h). It may leave out what
 *                                                       an ordinary tile has no need of
 *   fopt_i_NAME_simplify(coef, entirely)                turns off the options that almost always are off, or all that
 *                                                       most often are; returns 0 if none was on, and, entirely, the
 *                                                       coefficients are ordinary
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

/* With such a set: options are simplified, and gradients are ordinary (arithmetic.h), or new moments too. */
#define FOPT_I_ORDINARY         (1u << 31)
#define FOPT_I_ORDINARY_MOMENTS (1u << 30)

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

/* The beginning and the end of every rule: direction, coupled decay, and the subtraction with decoupled decay. */
typedef struct fopt_i_ends {
    uint32_t sign;    /* flips the gradient's sign bit with FOPT_MAXIMIZE */
    float decay;      /* weight_decay; decoupled, times lr */
    uint32_t least;   /* parameter that decays, in bits; without decay beyond all, infinity too: 0 * inf is NaN */
    uint32_t coupled; /* mask */
} fopt_i_ends;

FOPT_FN fopt_i_ends fopt_i_ends_coefficients(const fopt_i_inputs *in)
{
    const fopt_group *group = in->group;
    bool decoupled = (group->flags & FOPT_DECOUPLED_DECAY) != 0;
    fopt_i_ends c;
    c.sign = group->flags & FOPT_MAXIMIZE ? 0x80000000u : 0u;
    c.decay = fopt_i_factor(decoupled ? in->lr * group->weight_decay : group->weight_decay);
    c.least = c.decay != 0.0f ? fopt_i_bits(fopt_i_least((double)FOPT_I_SMALL, c.decay)) : 0x7fffffffu;
    c.coupled = fopt_i_mask(!decoupled && c.decay != 0.0f);
    return c;
}

FOPT_FN uint32_t fopt_i_ends_simplify(fopt_i_ends *c)
{
    return fopt_i_turn_off(&c->sign) | fopt_i_turn_off(&c->coupled);
}

/* Returns the bits of a parameter, or 0 if it does not decay. */
FOPT_FN uint32_t fopt_i_decaying(fopt_i_ends c, float param)
{
    const uint32_t bits = fopt_i_bits(param);
    return bits & ~fopt_i_mask((int32_t)(bits & 0x7fffffffu) < (int32_t)c.least);
}

/* Returns the gradient with its sign and coupled decay; it may be subnormal. */
FOPT_FN float fopt_i_gradient(fopt_i_ends c, float param, float gradient)
{
    gradient = fopt_i_float(fopt_i_bits(gradient) ^ c.sign);
    const float decayed = fmaf(c.decay, fopt_i_float(fopt_i_decaying(c, param)), fopt_i_flush(gradient, FLT_MIN));
    return fopt_i_select(c.coupled, decayed, gradient);
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

/* Subtracts the update, which is not subnormal, nor -0 if it is `ordinary`. Decay joins it before it meets the parameter:
 * one rounding at the parameter's magnitude. The usual p * (1 - lr * weight_decay) rounds the factor to float, which at
 * lr 1e-6 and weight_decay 0.01 leaves no decay. */
FOPT_FN float fopt_i_apply(bool ordinary, fopt_i_ends c, float param, float update)
{
#ifdef __CUDA_ARCH__ /* by floats: nothing is above NaN, which may be `least`, and a parameter that is NaN stays so */
    const bool decays = fabsf(param) >= fopt_i_float(c.least);
    if (ordinary && !decays)
        return param - update;
    const uint32_t decaying = decays ? fopt_i_bits(param) : 0;
#else
    const uint32_t decaying = fopt_i_decaying(c, param);
    (void)ordinary;
#endif
    return param - fmaf(c.decay, fopt_i_float(decaying & ~c.coupled), update);
}

#endif
