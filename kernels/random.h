/*
 * Random bits for stochastic rounding, from a counter and never from a thread: the bits of an element depend on (seed,
 * tensor, step, element) alone. The moments of one element share them.
 */
#ifndef FOPT_I_RANDOM_H
#define FOPT_I_RANDOM_H

#include "arithmetic.h"

/* Mixes by the finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64 bits in which every input bit
 * reaches every output bit. */
FOPT_FN uint64_t fopt_i_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Returns the key of one tensor in one step; `tensor` is its global_id. */
FOPT_FN uint64_t fopt_i_step_key(uint64_t seed, uint64_t tensor, int64_t step)
{
    return fopt_i_mix(fopt_i_mix(fopt_i_mix(seed) + tensor) + (uint64_t)step);
}

/* Returns the key of one tile, counted from the start of the whole tensor. */
FOPT_FN uint64_t fopt_i_tile_key(uint64_t step_key, uint64_t tile)
{
    return fopt_i_mix(step_key + tile);
}

/* Returns 32 bits for two neighbours in a tile, elements 2 * pair and 2 * pair + 1, which take the lower and the upper
 * half: by the 32-bit finalizer with the least bias known for two multiplications (hash prospector, Wellons), here
 * keyed twice. 32-bit operations only, so that it vectorises. */
FOPT_FN uint32_t fopt_i_random(uint64_t tile_key, uint32_t pair)
{
    uint32_t x = pair + (uint32_t)tile_key;
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x ^= (uint32_t)(tile_key >> 32);
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    return x ^ (x >> 15);
}

/* Returns the 16 bits of one element, out of its pair's 32. */
FOPT_FN uint32_t fopt_i_random_half(uint32_t random, uint32_t element)
{
    return element % 2 ? random >> 16 : random & 0xffffu;
}

#endif
