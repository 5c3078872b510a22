#include "isa.h"

/* __builtin_cpu_supports asks the processor and the operating system, which must save the wide registers. */
fopt_i_isa fopt_i_describe_isa(fopt_isa isa)
{
    switch (isa) {
    case FOPT_ISA_AUTO:
        break;
    case FOPT_ISA_BASELINE:
        return (fopt_i_isa){"baseline", fopt_i_step_baseline, true};
#ifdef FOPT_I_X86
    case FOPT_ISA_AVX2:
        return (fopt_i_isa){"avx2", fopt_i_step_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")};
    case FOPT_ISA_AVX512:
        return (fopt_i_isa){"avx512", fopt_i_step_avx512,
                            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                                __builtin_cpu_supports("fma")};
#else
    case FOPT_ISA_AVX2:
        return (fopt_i_isa){"avx2", NULL, false};
    case FOPT_ISA_AVX512:
        return (fopt_i_isa){"avx512", NULL, false};
#endif
    }
    return (fopt_i_isa){NULL, NULL, false};
}
