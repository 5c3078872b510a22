/*
 * The floating-point environment of the arithmetic: round to nearest, subnormals kept, no traps. A program linked with
 * -ffast-math runs with flush-to-zero on, and may have changed the rounding; what it had is restored.
 */
#ifndef FOPT_I_ENVIRONMENT_H
#define FOPT_I_ENVIRONMENT_H

#include <stdint.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
typedef unsigned fopt_i_environment;

static inline fopt_i_environment fopt_i_environment_enter(void)
{
    fopt_i_environment old = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return old;
}

static inline void fopt_i_environment_leave(fopt_i_environment old)
{
    _mm_setcsr(old);
}

#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t fopt_i_environment;

static inline void fopt_i_environment_leave(fopt_i_environment old)
{
    __asm__ volatile("msr fpcr, %0" ::"r"(old) : "memory");
}

static inline fopt_i_environment fopt_i_environment_enter(void)
{
    fopt_i_environment old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old)::"memory");
    fopt_i_environment_leave(0);
    return old;
}

#else
#include <fenv.h>
typedef fenv_t fopt_i_environment;

static inline fopt_i_environment fopt_i_environment_enter(void)
{
    fenv_t old;
    fegetenv(&old);
    fesetenv(FE_DFL_ENV);
    return old;
}

static inline void fopt_i_environment_leave(fopt_i_environment old)
{
    fesetenv(&old);
}
#endif

#endif
