/*
 * Roots and quotients, rounded to nearest.
 *
 * What nvcc makes of sqrtf() and `/` asks of each number whether it is in the middle of float's range, and branches. A
 * caller who knows that it is says `ordinary`. Then a GPU's approximation of 1 / sqrt(x) or 1 / x, the seed, is
 * corrected by the fused operations that nvcc itself emits.
 *
 * If the seed is the float nearest to the exact value, all results are rounded right: tests/numerics/test_roots.c tries
 * every root and reciprocal, and every quotient that could be wrong. Seeds that are 1 ULP off spoil a few results, so
 * that this is no proof for GPUs, whose seeds are within 2 ULP; `fusedopt_exact` (bench/gpu) tries on one all roots,
 * all reciprocals, and those quotients. It is what nvcc relies on, too.
 */
#ifndef FOPT_I_ROOTS_H
#define FOPT_I_ROOTS_H

#include "arithmetic.h"

/* Returns the root of x from a seed of 1 / sqrt(x). No residual is inexact from 2^-101 on. */
FOPT_FN float fopt_i_corrected_root(float x, float seed)
{
    const float root = x * seed;
    return fmaf(fmaf(-root, root, x), 0.5f * seed, root);
}

/* Returns 1 / b from a seed of it. */
FOPT_FN float fopt_i_corrected_reciprocal(float b, float seed)
{
    return fmaf(seed, fmaf(-b, seed, 1.0f), seed);
}

/* Returns a / b from 1 / b, rounded right. Its error before the last rounding is less than 1.75 * 2^-23 units, if a is
 * no smaller than 2^-102 and neither the quotient nor 1 / b is subnormal. */
FOPT_FN float fopt_i_corrected_quotient(float a, float b, float reciprocal)
{
    const float quotient = a * reciprocal;
    return fmaf(reciprocal, fmaf(-b, quotient, a), quotient);
}

/* Returns the root of x; ordinary: 0, or from 2^-101 to 2^126. What is added for the seed changes 0 alone. */
FOPT_FN float fopt_i_root(bool ordinary, float x)
{
#ifdef __CUDA_ARCH__
    if (ordinary) {
        float seed;
        asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(seed) : "f"(x + FLT_MIN));
        return fopt_i_corrected_root(x, seed);
    }
#endif
    (void)ordinary;
    return sqrtf(x);
}

/* Returns 1 / b, of a number from 2^-126 to 2^126. */
FOPT_FN float fopt_i_reciprocal(float b)
{
#ifdef __CUDA_ARCH__
    float seed;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(seed) : "f"(b));
    return fopt_i_corrected_reciprocal(b, seed);
#else
    return 1.0f / b;
#endif
}

/* Returns a / b; ordinary: b is from 2^-60 to 2^126; a is 0, and -0 gives +0, or from 2^-102 to 2^64; and the quotient
 * is 0 or normal. */
FOPT_FN float fopt_i_quotient(bool ordinary, float a, float b)
{
#ifdef __CUDA_ARCH__
    if (ordinary)
        return fopt_i_corrected_quotient(a, b, fopt_i_reciprocal(b));
#endif
    return ordinary ? a / b + 0.0f : a / b;
}

#endif
