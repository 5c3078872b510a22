/*
 * Random numbers of tests and program: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
 * 2014). Integer arithmetic and exact conversions only, so a seed gives the same numbers on every machine.
 */
#ifndef FUSEDOPT_TESTS_SPLITMIX_H
#define FUSEDOPT_TESTS_SPLITMIX_H

#include <stddef.h>
#include <stdint.h>

typedef struct splitmix {
    uint64_t state; /* the seed at first */
} splitmix;

static inline uint64_t splitmix_next(splitmix *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Draws a number, uniform in [-1, 1). */
static inline float splitmix_symmetric(splitmix *random)
{
    return (float)(splitmix_next(random) >> 40) * 0x1p-23f - 1.0f;
}

/* Shuffles as Fisher and Yates do. The remainder's bias, below count / 2^64, is of no concern here. */
static inline void splitmix_shuffle(splitmix *random, size_t *items, size_t count)
{
    for (size_t left = count; left > 1; --left) {
        size_t chosen = (size_t)(splitmix_next(random) % left);
        size_t item = items[left - 1];
        items[left - 1] = items[chosen];
        items[chosen] = item;
    }
}

#endif
