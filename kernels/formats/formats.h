/* THE list of formats. Everything that must know all of them is generated from it. */
#ifndef FOPT_I_FORMATS_H
#define FOPT_I_FORMATS_H

#include "bf16.h"
#include "f16.h"
#include "f32.h"
#include "q8.h"

/* Enumerator and name, given to one of three macros by what a format may store: any array; parameters and gradients; or
 * moments, quantized, by blocks whose elements share a scale. Such a format is two: FORMAT has blocks of a tile,
 * FORMAT_64 of 64 elements. A group with a quantized moment has a loop of its own: see fopt_i_contain() in
 * rules/element.h. */
#define FOPT_I_FORMAT_LIST(ANY, PARAMS, QUANTIZED)                                                                     \
    ANY(FOPT_F32, f32)                                                                                                 \
    ANY(FOPT_BF16, bf16)                                                                                               \
    PARAMS(FOPT_F16, f16)                                                                                              \
    QUANTIZED(FOPT_Q8, q8)

#define FOPT_I_NOTHING(format, name)
#define FOPT_I_ARRAY_FORMATS(X)     FOPT_I_FORMAT_LIST(X, X, FOPT_I_NOTHING)              /* parameters and gradients */
#define FOPT_I_MOMENT_FORMATS(X)    FOPT_I_FORMAT_LIST(X, FOPT_I_NOTHING, FOPT_I_NOTHING) /* moments, one by one */
#define FOPT_I_QUANTIZED_FORMATS(X) FOPT_I_FORMAT_LIST(FOPT_I_NOTHING, FOPT_I_NOTHING, X)

/* Formats of parameters, gradients and all moments that the CUDA kernels have code of their own for: for speed
 * alone. */
#define FOPT_I_USUAL_FORMATS(X)                                                                                        \
    X(FOPT_F32, FOPT_F32, FOPT_F32)                                                                                    \
    X(FOPT_BF16, FOPT_BF16, FOPT_F32)                                                                                  \
    X(FOPT_BF16, FOPT_BF16, FOPT_BF16)                                                                                 \
    X(FOPT_BF16, FOPT_BF16, FOPT_Q8)                                                                                   \
    X(FOPT_BF16, FOPT_BF16, FOPT_Q8_64)                                                                                \
    X(FOPT_F32, FOPT_F32, FOPT_Q8)                                                                                     \
    X(FOPT_F32, FOPT_F32, FOPT_Q8_64)

/* Returns the bytes of an element of a format in the list. */
FOPT_FN size_t fopt_i_element_bytes(unsigned format)
{
    switch (format) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        return sizeof(fopt_i_##name);
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        return sizeof(fopt_i_##name);
        FOPT_I_FORMAT_LIST(FOPT_I_CASE, FOPT_I_CASE, FOPT_I_CASES)
#undef FOPT_I_CASE
#undef FOPT_I_CASES
    }
    return 1;
}

/* Returns the elements of a block, or 0 if the format is not quantized. */
FOPT_FN uint32_t fopt_i_block(unsigned format)
{
    switch (format) {
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
        return FOPT_I_TILE;                                                                                            \
    case format##_64:                                                                                                  \
        return FOPT_I_SMALL_BLOCK;
        FOPT_I_QUANTIZED_FORMATS(FOPT_I_CASES)
#undef FOPT_I_CASES
    }
    return 0;
}

FOPT_FN bool fopt_i_is_quantized(unsigned format)
{
    return fopt_i_block(format) != 0;
}

/* Returns how many scales `count` elements have. */
FOPT_FN uint64_t fopt_i_absmax_count(unsigned format, uint64_t count)
{
    const uint32_t block = fopt_i_block(format);
    return block == 0 ? 0 : count / block + (count % block != 0);
}

#endif
