/* FOPT_F16: IEEE half precision, for parameters and gradients. Written without branches, so that it vectorises. */
#ifndef FOPT_I_F16_H
#define FOPT_I_F16_H

#include "format.h"

typedef uint16_t fopt_i_f16;

FOPT_FN float fopt_i_f16_decode(fopt_i_f16 stored)
{
    uint32_t magnitude = (uint32_t)(stored & 0x7fffu) << 13;
    uint32_t sign = (uint32_t)(stored & 0x8000u) << 16;
    uint32_t normal = magnitude + ((127u - 15u) << 23);
    uint32_t special = magnitude + ((255u - 31u) << 23); /* inf and NaN */
    /* A subnormal is its mantissa times 2^-24: put it under the leading one of 2^-14, and subtract that. */
    uint32_t subnormal = fopt_i_bits(fopt_i_float(magnitude + (113u << 23)) - fopt_i_float(113u << 23));
    uint32_t bits = magnitude >= (31u << 23) ? special : normal;
    bits = magnitude < (1u << 23) ? subnormal : bits;
    return fopt_i_float(bits | sign);
}

FOPT_FN fopt_i_f16 fopt_i_f16_encode(float x)
{
    uint32_t sign = fopt_i_bits(x) & 0x80000000u;
    uint32_t magnitude = fopt_i_bits(x) ^ sign;
    /* Nearest even at the 13 bits that are cut off; a carry is the next exponent. */
    uint32_t normal = (magnitude - ((127u - 15u) << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    /* Below 2^-14 the unit is 2^-24, which is float's unit in [1/2, 1): adding 1/2 rounds there. */
    uint32_t subnormal = fopt_i_bits(fopt_i_float(magnitude) + 0.5f) - fopt_i_bits(0.5f);
    uint32_t bits = magnitude < (113u << 23) ? subnormal : normal;
    bits = magnitude >= 0x477ff000u ? 0x7c00u : bits; /* 65520 and more: inf */
    bits = magnitude > 0x7f800000u ? 0x7e00u : bits | sign >> 16;
    return (fopt_i_f16)bits;
}

#endif
