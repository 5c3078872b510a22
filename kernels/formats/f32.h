/* FOPT_F32: the arithmetic's own precision. The CPU uses such arrays in place: copying them through buffers would halve
 * the speed. */
#ifndef FOPT_I_F32_H
#define FOPT_I_F32_H

#include "format.h"

typedef float fopt_i_f32;

static const fopt_i_format_loops fopt_i_f32_loops = {NULL, NULL, NULL};

#endif
