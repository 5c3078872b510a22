/*
 * Random bits for stochastic rounding, from a counter and never from a thread: the bits of an element depend on (seed,
 * tensor, step, element) alone. The moments of one element share them.
 *
 * An octet, eight neighbours, has one hash. Multiples of it by odd numbers make bits for its four pairs, each of which
 * is uniform; two pairs of an octet, looked at together, lie on a lattice of 2^16 points. Rounding asks no more: what
 * one element becomes has no part in another.
 *
 * Steps are independent. A sequence that is spread more evenly over the steps of an element makes less noise, but was
 * seen to bias averages: what is stored depends on the bits of the steps before.
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

/* What the bits of a tensor's step are made from. */
typedef struct fopt_i_random_key {
    uint32_t low, high;
} fopt_i_random_key;

/* `tensor` is its global_id. */
FOPT_FN fopt_i_random_key fopt_i_random_key_of(uint64_t seed, uint64_t tensor, int64_t step)
{
    const uint64_t mixed = fopt_i_mix(fopt_i_mix(fopt_i_mix(seed) + tensor) + (uint64_t)step);
    return (fopt_i_random_key){(uint32_t)mixed, (uint32_t)(mixed >> 32)};
}

/* Returns 32 bits for an octet, counted from the start of the whole tensor: by the 32-bit finalizer with the least bias
 * known for two multiplications (hash prospector, Wellons), here keyed twice. 32-bit operations only, so that it
 * vectorises. */
FOPT_FN uint32_t fopt_i_random(fopt_i_random_key key, uint64_t octet)
{
    uint32_t x = (uint32_t)octet + key.low;
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x ^= key.high + (uint32_t)(octet >> 32) * 0x9e3779b1u;
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    return x ^ (x >> 15);
}

/* Returns the 32 bits of pair `pair % 4` of an octet: each a bijection of the octet's. */
FOPT_FN uint32_t fopt_i_random_pair(uint32_t random, uint32_t pair)
{
    return random * (pair % 4 == 0 ? 1u : pair % 4 == 1 ? 0x5c13b99fu : pair % 4 == 2 ? 0xa7935c89u : 0x586787afu);
}

/* Returns the 16 bits of one element, out of its pair's 32: the lower half for the first of the two. */
FOPT_FN uint32_t fopt_i_random_half(uint32_t pair_random, uint32_t element)
{
    return element % 2 ? pair_random >> 16 : pair_random & 0xffffu;
}

/* Returns the 16 bits of element `element % 8` of an octet. */
FOPT_FN uint32_t fopt_i_random_of(uint32_t random, uint32_t element)
{
    return fopt_i_random_half(fopt_i_random_pair(random, element / 2), element);
}

#endif
