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

/* Clears an option's mask; returns nonzero if it was set. */
FOPT_FN uint32_t fopt_i_turn_off(uint32_t *mask)
{
    uint32_t was = *mask;
    *mask = 0;
    return was;
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
 * An exponential moving average, a * (1 - w) + x * w.
 *
 * Computed as a step from the nearer end: a + w (x - a) if w < 1/2, else x - (1 - w)(x - a), with w and 1 - w each
 * rounded once from double. The textbook form in float drifts by hundreds of ULP at beta 0.999, because the float
 * weights do not add up to 1; the first form alone loses x entirely at beta 0 when a is large.
 */
typedef struct fopt_i_ema {
    float weight;      /* w, or -(1 - w) */
    uint32_t from_new; /* mask */
} fopt_i_ema;

/* `keep` is 1 - w: the beta or alpha of the rule. */
FOPT_FN fopt_i_ema fopt_i_ema_coefficients(double keep)
{
    fopt_i_ema c;
    c.from_new = fopt_i_mask(keep <= 0.5);
    c.weight = (float)(keep <= 0.5 ? -keep : 1.0 - keep);
    return c;
}

/* Makes zero of a subnormal, which no stored moment is: a first moment whose gradient stays zero decays right into that
 * range, where CPUs are ten times slower. By mask: of conditions one after the other gcc 12 makes a path for each
 * outcome, and computes all that follows in each. */
FOPT_FN float fopt_i_moment(float x)
{
    return fopt_i_float(fopt_i_bits(x) & ~fopt_i_mask(fabsf(x) < FLT_MIN));
}

FOPT_FN float fopt_i_average(fopt_i_ema c, float x, float a)
{
    return fmaf(c.weight, x - a, fopt_i_select(c.from_new, x, a));
}

/* The same of a square, of a gradient that fopt_i_bounded() has seen. */
FOPT_FN float fopt_i_average_square(fopt_i_ema c, float g, float a)
{
    return fopt_i_moment(fopt_i_average(c, g * g, a));
}

/* Moves a finite `x` beyond +-most to that, and makes a NaN of what is not finite, so that it is seen. In bits, which are
 * ordered as magnitudes are: of two comparisons of floats gcc 12 makes eight operations. */
FOPT_FN float fopt_i_clamp(float x, float most)
{
    const uint32_t sign = fopt_i_bits(x) & 0x80000000u, magnitude = fopt_i_bits(x) & 0x7fffffffu;
    const uint32_t clamped = magnitude < fopt_i_bits(most) ? magnitude : fopt_i_bits(most);
    return fmaf(x, 0.0f, fopt_i_float(clamped | sign));
}

/* Clamps what is averaged, where fopt_i_bounded() does not: the difference of two such is finite. */
FOPT_FN float fopt_i_averageable(float x)
{
    return fopt_i_clamp(x, 0x1p126f);
}

/* Clamps the gradient of a rule that divides by the root of an average of squares, so that its square is finite. If only
 * the square were cut off, the quotient would grow with the gradient; so the step has the bound of exact arithmetic, and
 * no average of g or g^2 overflows. */
FOPT_FN float fopt_i_bounded(float g)
{
    return fopt_i_clamp(g, 0x1p63f);
}

#endif
