/*
 * The arithmetic that every backend shares: plain functions that a C compiler and nvcc both compile.
 *
 * Results must be equal to the bit everywhere, so these rules hold for all code under kernels/ that touches elements:
 *  - IEEE operations only: + - * / sqrtf fmaf. No pow, exp or rsqrt, which differ between libm and a GPU; no fmaxf or
 *    fminf, which differ for NaN and signed zeros: write `a > b ? a : b`.
 *  - Fused only where fmaf is written. The build forbids contraction: -ffp-contract=off, nvcc -fmad=false.
 *  - What is constant during a step is computed in double, once, and rounded once to float.
 */
#ifndef FOPT_I_ARITHMETIC_H
#define FOPT_I_ARITHMETIC_H

#include "ieee.h"
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__)
#define FOPT_FN static __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define FOPT_FN static inline __attribute__((always_inline))
#else
#define FOPT_FN static inline
#endif

/* Tables of numbers, in memory of whoever reads them. */
#ifdef __CUDACC__
#define FOPT_I_LITERALS static __device__ const
#else
#define FOPT_I_LITERALS static const
#endif

/* Elements per tile: the unit of the walk, of quantization and of sharding. */
#define FOPT_I_TILE 256

/* Kinds of state arrays that there are; FOPT_STATE_KINDS has room for more. */
#define FOPT_I_STATE_KINDS 4

FOPT_FN uint32_t fopt_i_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FOPT_FN float fopt_i_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* `yes` if the mask is all ones, `no` if it is zero: a choice that is the same for all elements of a loop. Written in
 * bits because gcc 12 does not vectorise a loop that chooses by a constant bool, and because multiplying the term that
 * is not wanted by 0 would make NaN of an infinity. */
FOPT_FN float fopt_i_select(uint32_t mask, float yes, float no)
{
    return fopt_i_float((fopt_i_bits(yes) & mask) | (fopt_i_bits(no) & ~mask));
}

FOPT_FN uint32_t fopt_i_mask(bool condition)
{
    return condition ? 0xffffffffu : 0u;
}

/* base^exponent by squaring, for exponent >= 0: multiplications alone, so the same on every machine. */
FOPT_FN double fopt_i_power(double base, int64_t exponent)
{
    double result = 1.0;
    for (uint64_t rest = (uint64_t)exponent; rest != 0; rest >>= 1) {
        if (rest & 1)
            result *= base;
        base *= base;
    }
    return result;
}

/*
 * No slow values. CPUs take ten times as long to multiply, divide or take a root where an operand or the result is
 * subnormal, and flush-to-zero is not the same on all machines. So here no finite input leads to such an operation:
 * what is smaller than some least magnitude counts as zero before it is multiplied. A least magnitude is computed once
 * a step; it is so small that what is left out is below FLT_MIN, or FOPT_I_SMALL where two terms may cancel.
 */

/* The sum that fmaf() rounds is zero or normal, however its two terms cancel, if the larger of them is no smaller than
 * this and the smaller one, unless zero, is of normal numbers: the product of two floats has 48 bits. */
#define FOPT_I_SMALL 0x1p-78f

/* What a least magnitude is multiplied by where roundings stand between it and the product. */
#define FOPT_I_MARGIN (1.0 + 0x1p-20)

/* Returns the least normal magnitude whose product with a factor is not below `product`. */
FOPT_FN float fopt_i_least(double product, float factor)
{
    const double exact = factor > 0.0f ? product / (double)factor : 0.0;
    const float least = (float)(exact > (double)FLT_MIN ? exact : (double)FLT_MIN);
    const bool rounded_down = (double)least * (double)factor < product && factor > 0.0f;
    return fopt_i_float(fopt_i_bits(least) + (rounded_down ? 1 : 0));
}

/* Rounds a factor that is constant during a step; what is so small that `least` magnitudes would matter counts as 0. */
FOPT_FN float fopt_i_factor(double factor)
{
    return (float)(factor < 0x1p-100 ? 0.0 : factor);
}

/* Returns the least momentum buffer that counts: its part in a sum, and its step. */
FOPT_FN float fopt_i_least_buffer(float momentum, float least_step)
{
    const float least = momentum > 0.0f ? fopt_i_least((double)FOPT_I_SMALL, momentum) : FOPT_I_SMALL;
    return least > least_step ? least : least_step;
}

/* Rounds an eps: one that is not zero stays so. */
FOPT_FN float fopt_i_eps(double eps)
{
    return (float)(eps > 0.0 && eps < (double)FLT_MIN ? (double)FLT_MIN : eps);
}

/* Tells whether a magnitude is below `least`, which a NaN is not. On CPUs in bits: comparing floats is an operation on
 * a subnormal too. */
FOPT_FN bool fopt_i_is_below(float x, float least)
{
#ifdef __CUDA_ARCH__
    return fabsf(x) < least;
#else
    return (int32_t)(fopt_i_bits(x) & 0x7fffffffu) < (int32_t)fopt_i_bits(least);
#endif
}

/* Makes zero of what is below `least`. By mask: of conditions one after the other gcc 12 makes a path for each outcome,
 * and computes all that follows in each. */
FOPT_FN float fopt_i_flush(float x, float least)
{
    return fopt_i_float(fopt_i_bits(x) & ~fopt_i_mask(fopt_i_is_below(x, least)));
}

/* Makes zero of a numerator that is below `least`, or whose quotient is below `least_quotient`. Compares floats, of
 * which none is subnormal: in bits, a NaN in the denominator would make zero of one in x. */
FOPT_FN float fopt_i_numerator(float x, float denominator, float least_quotient, float least)
{
    const bool small = fabsf(x) < fmaf(denominator, least_quotient, least);
    return fopt_i_float(fopt_i_bits(x) & ~fopt_i_mask(small));
}

/*
 * An exponential moving average, a * (1 - w) + x * w.
 *
 * Computed as a step from the nearer end: a + w (x - a) if w < 1/2, else x - (1 - w)(x - a), with w and 1 - w each
 * rounded once from double. The textbook form in float drifts by hundreds of ULP at beta 0.999, because the float
 * weights do not add up to 1; the first form alone loses x entirely at beta 0 when a is large.
 */
typedef struct fopt_i_ema {
    float weight;      /* w, or -(1 - w) */
    float least;       /* difference of squares that counts */
    float least_root;  /* number whose square counts */
    uint32_t from_new; /* mask */
} fopt_i_ema;

/* The least weight besides 0: times FOPT_I_SMALL it is normal, and it bounds what counts as small by 2^-40. */
#define FOPT_I_LEAST_WEIGHT 0x1p-44

/* `keep` is 1 - w: the beta or alpha of the rule. */
FOPT_FN fopt_i_ema fopt_i_ema_coefficients(double keep)
{
    const bool from_new = keep <= 0.5;
    const double nearer = from_new ? keep : 1.0 - keep;
    const double weight = nearer >= FOPT_I_LEAST_WEIGHT ? nearer : from_new ? 0.0 : FOPT_I_LEAST_WEIGHT;
    fopt_i_ema c;
    c.from_new = fopt_i_mask(from_new);
    c.weight = (float)(from_new ? -weight : weight);
    c.least = from_new ? fopt_i_least((double)FLT_MIN, (float)weight) : FLT_MIN;
    c.least_root = fopt_i_least(0x1p-63 * FOPT_I_MARGIN, (float)sqrt(from_new ? 1.0 : weight));
    c.least_root = c.least_root > 0x1p-61f ? c.least_root : 0x1p-61f;
    return c;
}

/* Averages what is zero or no smaller than FOPT_I_SMALL: so is the difference, but for a factor of 2^-24. What is
 * stored of it must have gone through fopt_i_moment() or fopt_i_numerator(). */
FOPT_FN float fopt_i_average(fopt_i_ema c, float x, float a)
{
    return fmaf(c.weight, x - a, fopt_i_select(c.from_new, x, a));
}

/* The same of numbers that may be as large as floats are: half their difference is finite. */
FOPT_FN float fopt_i_average_any(fopt_i_ema c, float x, float a)
{
    const float half = fmaf(-0.5f, a, 0.5f * x);
    return fmaf(2.0f * c.weight, half, fopt_i_select(c.from_new, x, a));
}

/* Makes zero of a moment with a sign that is too small to be averaged again. */
FOPT_FN float fopt_i_moment(float x)
{
    return fopt_i_flush(x, FOPT_I_SMALL);
}

/* The largest gradient that is squared. */
#define FOPT_I_MOST_SQUARED 0x1p63f

/*
 * Ordinary tiles. Where all numbers of a tile are far from the ends of float's range, much of the above cannot happen.
 * Whoever has found that may leave it out, unless a coefficient is extraordinary (fopt_i_NAME_simplify()).
 *  - A gradient is ordinary if it is zero or from 2^-50 to FOPT_I_MOST_SQUARED: where it is squared nothing has to be
 *    clamped.
 *  - A new second moment, or maximum of these, is ordinary if it is zero or from 2^-100 to 2^40. (The latter bounds the
 *    gradients by 2^30.)
 *  - A new moment with a sign is ordinary if it is zero or from 2^-60 to 2^63.
 * With ordinary coefficients, all divisors are then from 2^-60 to 2^31, and what is divided and multiplied by the step
 * size is zero or normal.
 */
#define FOPT_I_LEAST_ORDINARY        0x1p-50f
#define FOPT_I_LEAST_ORDINARY_SQUARE 0x1p-100f
#define FOPT_I_MOST_ORDINARY_SQUARE  0x1p40f
#define FOPT_I_LEAST_ORDINARY_MOMENT 0x1p-60f
#define FOPT_I_MOST_ORDINARY_MOMENT  0x1p63f

/* Tells whether these are ordinary: what is added to a root, the weight of squares, the step size, and the least
 * quotient that counts. A numerator that is 2^35 times as large as that counts; a step size of 0 would make updates of
 * -0. */
FOPT_FN bool fopt_i_are_ordinary(float eps, fopt_i_ema squares, float step_size, float least_quotient)
{
    return eps >= 0x1p-60f && eps <= 0x1p20f && squares.weight >= 0x1p-20f && step_size > 0.0f &&
           least_quotient <= 0x1p-96f;
}

/* Leaves out beginning at the new value, and what an average of squares does for gradients that are not ordinary,
 * returns whether the average did begin there. Of ordinary gradients the bits are
 * the same: with x zero or at least 2^-100 and a zero or at least 2 FLT_MIN, x - a is not subnormal. For if one of them
 * is zero or more than twice the other, the difference is at least half the larger; else both are at least 2^-101, so
 * multiples of 2^-124, and so is their difference. */
FOPT_FN uint32_t fopt_i_ema_simplify(fopt_i_ema *c)
{
    const uint32_t from_new = c->from_new;
    c->from_new = 0;
    c->least = 0.0f;
    return from_new;
}

/* Averages the square of a gradient from c.least_root to FOPT_I_MOST_SQUARED. Neither has a sign: nothing cancels but
 * in the difference, which counts as none if it is subnormal. An average that a step may halve is no smaller than 2
 * FLT_MIN: an `ordinary` one is not. */
FOPT_FN float fopt_i_average_square(bool ordinary, fopt_i_ema c, float g, float a)
{
    const float x = g * g;
    const float difference = ordinary ? x - a : fopt_i_flush(x - a, c.least);
    const uint32_t bits = fopt_i_bits(fmaf(c.weight, difference, fopt_i_select(c.from_new, x, a)));
    const bool vanishes = !ordinary && bits < fopt_i_bits(2 * FLT_MIN);
    return fopt_i_float(bits & ~fopt_i_mask(vanishes));
}

/* Makes zero of what is below `least`, moves a finite `x` beyond +-most to that, and makes a NaN of what is not finite,
 * so that it is seen. In bits, which are ordered as magnitudes are: of two comparisons of floats gcc 12 makes eight
 * operations. */
FOPT_FN float fopt_i_clamp(float x, float least, float most)
{
    const uint32_t sign = fopt_i_bits(x) & 0x80000000u, all = fopt_i_bits(x) & 0x7fffffffu;
    const uint32_t magnitude = all & ~fopt_i_mask((int32_t)all < (int32_t)fopt_i_bits(least));
    const uint32_t clamped = magnitude < fopt_i_bits(most) ? magnitude : fopt_i_bits(most);
    return fmaf(fopt_i_float(magnitude), 0.0f, fopt_i_float(clamped | sign));
}

#endif
