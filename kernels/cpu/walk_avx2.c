/* The tile walk for x86-64 with AVX2 and FMA. */
#define FOPT_I_STEP fopt_i_step_avx2
#include "walk.h"
