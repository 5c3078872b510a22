/* THE list of formats. Everything that must know all of them is generated from it. */
#ifndef FOPT_I_FORMATS_H
#define FOPT_I_FORMATS_H

#include "bf16.h"
#include "f16.h"
#include "f32.h"

/* enumerator, name, whether it may store moments */
#define FOPT_I_FORMATS(X)                                                                                              \
    X(FOPT_F32, f32, true)                                                                                             \
    X(FOPT_BF16, bf16, true)                                                                                           \
    X(FOPT_F16, f16, false)

#endif
