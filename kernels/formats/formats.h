/* THE list of formats. Everything that must know all of them is generated from it. */
#ifndef FOPT_I_FORMATS_H
#define FOPT_I_FORMATS_H

#include "bf16.h"
#include "f16.h"
#include "f32.h"

/* enumerator, name */
#define FOPT_I_FORMATS(X)                                                                                              \
    X(FOPT_F32, f32)                                                                                                   \
    X(FOPT_BF16, bf16)                                                                                                 \
    X(FOPT_F16, f16)

/* Those that may store moments. */
#define FOPT_I_STATE_FORMATS(X)                                                                                        \
    X(FOPT_F32, f32)                                                                                                   \
    X(FOPT_BF16, bf16)

#endif
