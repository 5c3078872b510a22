/* The tile walk for x86-64 with AVX2 and FMA. Without the flags for these there is none, rather than a slower one. */
#define FOPT_I_STEP fopt_i_step_avx2
#define FOPT_I_SUM  fopt_i_sum_avx2
#if defined(__AVX2__) && defined(__FMA__)
#include "sums.h"
#include "walk.h"
#else
#include "isa.h"
fopt_i_cpu_step *const FOPT_I_STEP = NULL;
fopt_i_cpu_sum *const FOPT_I_SUM = NULL;
#endif
