/* The tile walk for x86-64 with AVX-512 F, BW, DQ, VL, and FMA. */
#define FOPT_I_STEP fopt_i_step_avx512
#include "walk.h"
