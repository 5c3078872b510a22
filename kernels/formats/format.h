/*
 * A format is how the elements of one array are stored. Format NAME is a header of conversions and a line of
 * formats.h; from these both backends make what they need.
 *
 *   fopt_i_NAME                the type of a stored element, of 1, 2 or 4 bytes
 *
 * If an element stands for itself (any array, or parameters and gradients alone):
 *   fopt_i_NAME_decode         the float that a stored element stands for
 *   fopt_i_NAME_encode         a parameter, to the nearest, ties to even
 *   fopt_i_NAME_encode_moment  for any array: a moment of some kind; `random` has 16 bits
 *
 * If the elements of a block share a scale (moments alone), which is stored as absmax:
 *   fopt_i_NAME_maps           what the conversions look up, of a multiple of 4 bytes, and not of none: on CUDA it is
 *                              in shared memory
 *   fopt_i_NAME_literals       its one value
 *   fopt_i_NAME_absmax         what is stored as absmax, from the largest magnitude of the block
 *   fopt_i_NAME_scale          what elements are multiplied by to be encoded, from the same
 *   fopt_i_NAME_encode_scaled  x, of which no magnitude is above the largest: as fopt_i_NAME_encode_moment, with maps
 *   and
 *                              scale before its arguments, and before the kind what was stored for the element
 *   fopt_i_NAME_decode_scaled  the float that a stored element of a kind stands for, beside its absmax
 * Such a format owes that a positive second moment, or maximum of these, never becomes zero, where the step would
 * divide by eps; that a block of zeros has an absmax of 0 and comes back as zeros; that no magnitude comes back larger
 * than absmax, and each is zero or a moment that counts (arithmetic.h); that what should decay does not stay what it is
 * for ever; and that values reach far below absmax, which
 * linear ones do not: a coordinate must move as it should beside one with gradients 10^4 times as large. What is not
 * finite does not reach it: see fopt_i_contain() in rules/element.h.
 */
#ifndef FOPT_I_FORMAT_H
#define FOPT_I_FORMAT_H

#include "../random.h"
#include "../roots.h"
#include "fusedopt.h"

/* Elements of the smaller blocks. */
#define FOPT_I_SMALL_BLOCK 64

/* Tells whether moments of a kind may be negative. */
FOPT_FN bool fopt_i_has_sign(fopt_state_kind kind)
{
    return kind == FOPT_FIRST_MOMENT || kind == FOPT_MOMENTUM_BUFFER;
}

#endif
