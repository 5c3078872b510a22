/* Which of the CPU's instruction sets can be used here. */
#include "isa.h"

/* Asks the processor and the operating system, which must save the wide registers. */
#if defined(__x86_64__)
#define SUPPORTS(set) __builtin_cpu_supports(set)
#else
#define SUPPORTS(set) false
#endif

static bool supports_avx2(void)
{
    return SUPPORTS("avx2") && SUPPORTS("fma");
}

static bool supports_avx512(void)
{
    return supports_avx2() && SUPPORTS("avx512f") && SUPPORTS("avx512bw") && SUPPORTS("avx512dq") &&
           SUPPORTS("avx512vl");
}

fopt_i_isa fopt_i_describe_isa(fopt_isa isa)
{
    switch (isa) {
    case FOPT_ISA_AUTO:
        break;
    case FOPT_ISA_BASELINE:
        return (fopt_i_isa){"baseline", fopt_i_step_baseline, fopt_i_sum_baseline, true};
    case FOPT_ISA_AVX2:
        return (fopt_i_isa){"avx2", fopt_i_step_avx2, fopt_i_sum_avx2, fopt_i_step_avx2 && supports_avx2()};
    case FOPT_ISA_AVX512:
        return (fopt_i_isa){"avx512", fopt_i_step_avx512, fopt_i_sum_avx512, fopt_i_step_avx512 && supports_avx512()};
    case FOPT_ISA_AVX512_VBMI:
        return (fopt_i_isa){"avx512vbmi", fopt_i_step_avx512vbmi, fopt_i_sum_avx512vbmi,
                            fopt_i_step_avx512vbmi && supports_avx512() && SUPPORTS("avx512vbmi")};
    }
    return (fopt_i_isa){NULL, NULL, NULL, false};
}
