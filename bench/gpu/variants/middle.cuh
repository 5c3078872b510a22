/* The middle of float's range, where the roots and quotients of kernels/roots.h are exact and no result is
 * subnormal. */
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

#endif
