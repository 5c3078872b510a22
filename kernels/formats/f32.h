/* FOPT_F32: the arithmetic's own precision. The CPU uses such arrays in place: copying them through buffers would halve
 * the speed. */
#ifndef FOPT_I_F32_H
#define FOPT_I_F32_H

#include "format.h"

typedef float fopt_i_f32;

FOPT_FN float fopt_i_f32_decode(fopt_i_f32 stored)
{
    return stored;
}

FOPT_FN fopt_i_f32 fopt_i_f32_encode(float x)
{
    return x;
}

FOPT_FN fopt_i_f32 fopt_i_f32_encode_moment(float x, fopt_state_kind kind, uint32_t random)
{
    (void)kind;
    (void)random;
    return x;
}

#endif
