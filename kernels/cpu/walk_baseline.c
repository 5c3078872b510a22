/* The tile walk in portable C, as the target's baseline allows. Baseline x86-64 has no FMA: there fmaf is a call into
 * libm, and ten times slower. */
#define FOPT_I_STEP fopt_i_step_baseline
#define FOPT_I_SUM  fopt_i_sum_baseline
#include "sums.h"
#include "walk.h"
