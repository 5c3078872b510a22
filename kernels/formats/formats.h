/* THE lists of formats. Everything that must know all of them is generated from these. */
#ifndef FOPT_I_FORMATS_H
#define FOPT_I_FORMATS_H

#include "bf16.h"
#include "f16.h"
#include "f32.h"
#include "q8.h"

/* All: enumerator, name, and the bytes that a tile takes besides its elements. */
#define FOPT_I_FORMATS(X)                                                                                              \
    X(FOPT_F32, f32, 0)                                                                                                \
    X(FOPT_BF16, bf16, 0)                                                                                              \
    X(FOPT_F16, f16, 0)                                                                                                \
    X(FOPT_Q8, q8, sizeof(float))

/* Formats that may store parameters and gradients. */
#define FOPT_I_ARRAY_FORMATS(X)                                                                                        \
    X(FOPT_F32, f32)                                                                                                   \
    X(FOPT_BF16, bf16)                                                                                                 \
    X(FOPT_F16, f16)

/* Formats that may store moments, element by element. */
#define FOPT_I_MOMENT_FORMATS(X)                                                                                       \
    X(FOPT_F32, f32)                                                                                                   \
    X(FOPT_BF16, bf16)

/* Formats that quantize moments: by whole tiles, whose elements share a scale. A group with such a moment has a loop of
 * its own: see fopt_i_contain() in rules/element.h. */
#define FOPT_I_QUANTIZED_FORMATS(X) X(FOPT_Q8, q8)

#endif
