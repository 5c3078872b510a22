/*
 * Root, reciprocal and quotient in the middle of float's range, where no residual is inexact and no result subnormal:
 * the same bits as sqrtf and `/`, of which these are the fast paths, without a branch. What nvcc emits for sqrt.rn and
 * div.rn asks for each number whether it is in such a range; here the caller has asked once, for a whole tile.
 *
 * No proof of them is independent of the seeds' last bits. fusedopt_exact judges them on a GPU: all roots, all
 * reciprocals, and those quotients that could be wrong.
 */
#ifndef FUSEDOPT_GPU_MIDDLE_CUH
#define FUSEDOPT_GPU_MIDDLE_CUH

#include "intrinsics.cuh"

/* The least and the largest first moment besides 0, and the largest second moment, in bits: so that no denominator is
 * too large. The least second moment is the first's. */
#define MIDDLE_LEAST      0x1p-99f
#define MIDDLE_LEAST_BITS ((127u - 99u) << 23)
#define MIDDLE_LARGEST    0x1p60f
#define MIDDLE_V_BITS     ((127u + 20u) << 23)

/* The range of eps, and the largest root_scale. */
#define MIDDLE_LEAST_EPS    0x1p-40f
#define MIDDLE_LARGEST_COEF 0x1p10f

/* The seed of 0 is that of this number. It must be less than half a unit of MIDDLE_LEAST, so as to change no other:
 * with 2^-100 all roots below 2^-90 would be wrong. */
#define ALMOST_ZERO 0x1p-126f

/* Returns the root of 0, or of a number from MIDDLE_LEAST. */
__device__ __forceinline__ float mid_root(float x)
{
    const float r = seed_rsqrt(x + ALMOST_ZERO);
    const float s = x * r, h = r * 0.5f;
    return fmaf(fmaf(-s, s, x), h, s);
}

/* Returns the reciprocal of a number from 2^-126 to 2^75. */
__device__ __forceinline__ float mid_reciprocal(float b)
{
    const float r = seed_reciprocal(b);
    return fmaf(r, fmaf(-b, r, 1.0f), r);
}

/* Returns a quotient; it is +0 where a is -0. */
__device__ __forceinline__ float mid_quotient(float a, float b)
{
    const float r = mid_reciprocal(b);
    const float q = fmaf(a, r, 0.0f);
    return fmaf(r, fmaf(-b, q, a), q);
}

#endif
