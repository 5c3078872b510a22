/*
 * Refuses a compiler that was told to compute otherwise than arithmetic.h expects, as far as its macros tell. They do
 * not tell of
 *  - clang's -fassociative-math, -freciprocal-math, -fno-signed-zeros, and -ffp-contract=fast;
 *  - nvcc's --use_fast_math, -ftz=true, -prec-div=false, -prec-sqrt=false, and -fmad=true, which is its default.
 */
#ifndef FOPT_I_IEEE_H
#define FOPT_I_IEEE_H

#include <float.h>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) ||                               \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "fusedopt needs IEEE arithmetic: compile it without -ffast-math and its parts, or with -fno-fast-math behind it"
#endif

/* 16 is as 0, except that _Float16 is a type with operations of its own. */
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "fusedopt needs float and double operations in their own precision: on x86 compile with -msse2 -mfpmath=sse"
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fusedopt needs a little-endian machine: its formats take numbers apart as bytes"
#endif

/* Contraction is the one deviation left of which this macro of gcc's tells, in C's ISO modes; walk.h refuses the GNU
 * modes. clang obeys the pragma. */
#if defined(__GCC_IEC_559) && __GCC_IEC_559 == 0
#error "fusedopt must not have a * b + c fused: compile it with -ffp-contract=off"
#endif
#if defined(__clang__) && !defined(__CUDACC__)
#pragma STDC FP_CONTRACT OFF
#endif

#endif
