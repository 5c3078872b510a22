/*
 * The random bits of kernels/random.h: frozen, so that saved trainings continue as they would have; uniform; and
 * without a trace of what they are keyed by.
 */
#include "kernels/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* ---- frozen -------------------------------------------------------------------------------------------------- */

/* The generator of which fopt_i_mix() is a step is published with these: its first numbers from the seed 0. */
Test(random, mix_is_splitmix64)
{
    static const uint64_t published[] = {0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f,
                                         0xf88bb8a8724c81ec};
    for (uint64_t i = 0; i < sizeof published / sizeof *published; i++)
        cr_expect_eq(fopt_i_mix(i * 0x9e3779b97f4a7c15u), published[i]);
}

/* By an implementation in Python. */
Test(random, known_answers)
{
    static const struct {
        uint64_t seed, tensor;
        int64_t step;
        uint64_t element;
        uint32_t bits;
    } answers[] = {
        {0, 1, 1, 0, 0xe31c},
        {0, 1, 1, 255, 0xfac9},
        {42, 3, 1000, 3160337, 0x8106},
        {UINT64_MAX, UINT64_MAX, (int64_t)1 << 53, ((uint64_t)1 << 48) + 128, 0xf8b6},
        {7, 7, 7, ((uint64_t)1 << 40) + 5, 0xf513},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const fopt_i_random_key key = fopt_i_random_key_of(answers[i].seed, answers[i].tensor, answers[i].step);
        const uint32_t bits =
            fopt_i_random_of(fopt_i_random(key, answers[i].element / 8), (uint32_t)(answers[i].element % 8));
        cr_expect_eq(bits, answers[i].bits, "answer %zu is 0x%04x", i, bits);
    }
}

/* ---- uniform ------------------------------------------------------------------------------------------------- */

/* How many standard deviations chance is allowed. */
#define DEVIATIONS 5

#define BUCKETS 65536
#define OCTETS  (1 << 20)
#define PAIRS   4 /* of an octet */

/* Expects chi-square over the buckets near its mean, which is one less than their number; its variance is twice
 * that. */
static void expect_uniform(const char *what, const uint32_t *buckets)
{
    const double expected = (double)OCTETS * PAIRS / BUCKETS, freedom = BUCKETS - 1;
    double sum = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        sum += (buckets[i] - expected) * (buckets[i] - expected) / expected;
    cr_expect(fabs(sum - freedom) <= DEVIATIONS * sqrt(2 * freedom), "%s: chi-square is %g with %g degrees of freedom",
              what, sum, freedom);
}

/* What is added to be rounded, of each element; and the 8 highest bits of it, of two elements: in a pair, in successive
 * octets, far away and in successive steps. */
Test(random, is_uniform)
{
    static const char *const names[] = {"even elements", "odd elements",           "pairs",
                                        "next octets",   "octets 2^32 further on", "successive steps"};
    enum { STATISTICS = sizeof names / sizeof *names };
    static uint32_t buckets[STATISTICS][BUCKETS];
    const fopt_i_random_key key = fopt_i_random_key_of(1, 1, 1), next = fopt_i_random_key_of(1, 1, 2);
    for (uint64_t octet = 0; octet < OCTETS; octet++)
        for (uint32_t pair = 0; pair < PAIRS; pair++) {
            const uint32_t bits = fopt_i_random_pair(fopt_i_random(key, octet), pair);
            const uint32_t beside = fopt_i_random_pair(fopt_i_random(key, octet + 1), pair);
            const uint32_t far = fopt_i_random_pair(fopt_i_random(key, octet + ((uint64_t)1 << 32)), pair);
            const uint32_t later = fopt_i_random_pair(fopt_i_random(next, octet), pair);
            buckets[0][bits & 0xffff]++;
            buckets[1][bits >> 16]++;
            buckets[2][bits >> 24 << 8 | (bits >> 8 & 0xff)]++;
            buckets[3][bits >> 24 << 8 | (beside >> 8 & 0xff)]++;
            buckets[4][bits >> 24 << 8 | far >> 24]++;
            buckets[5][bits >> 24 << 8 | later >> 24]++;
        }
    for (size_t i = 0; i < STATISTICS; i++)
        expect_uniform(names[i], buckets[i]);
}

/* Two elements of an octet lie on a lattice: what the highest four bits of both are, is even to 1.5 %, besides
 * chance. */
Test(random, is_even_within_an_octet)
{
    enum { SIDE = 16 };
    static uint32_t cells[28][SIDE * SIDE];
    const fopt_i_random_key key = fopt_i_random_key_of(2, 3, 4);
    for (uint64_t octet = 0; octet < OCTETS; octet++) {
        const uint32_t random = fopt_i_random(key, octet);
        uint32_t top[8];
        for (uint32_t i = 0; i < 8; i++)
            top[i] = fopt_i_random_of(random, i) >> 12;
        for (uint32_t a = 0, n = 0; a < 8; a++)
            for (uint32_t b = a + 1; b < 8; b++)
                cells[n++][top[a] * SIDE + top[b]]++;
    }
    const double expected = (double)OCTETS / (SIDE * SIDE), bound = 0.015 * expected + DEVIATIONS * sqrt(expected);
    for (uint32_t n = 0; n < 28; n++)
        for (uint32_t i = 0; i < SIDE * SIDE; i++)
            cr_assert(fabs(cells[n][i] - expected) <= bound, "two elements, number %u: cell %u has %u, not %g", n, i,
                      cells[n][i], expected);
}

/* ---- avalanche ----------------------------------------------------------------------------------------------- */

/* All that the bits of an octet depend on. */
typedef struct input {
    uint64_t seed, tensor, step, octet;
} input;

static uint32_t bits_of(input x)
{
    return fopt_i_random(fopt_i_random_key_of(x.seed, x.tensor, (int64_t)x.step), x.octet);
}

#define TRIALS 16384

/* Flips one bit of a field in many inputs: every bit of the output must flip in half of them. */
static void expect_avalanche(const char *name, size_t offset, unsigned bit)
{
    unsigned flips[32] = {0};
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        /* Small numbers, as they come, and all different. */
        input x = {trial % 4, trial % 64 / 4, trial / 64, trial * 7 % 1000};
        const uint32_t before = bits_of(x);
        *(uint64_t *)((char *)&x + offset) ^= (uint64_t)1 << bit;
        const uint32_t changed = before ^ bits_of(x);
        for (unsigned out = 0; out < 32; out++)
            flips[out] += changed >> out & 1;
    }
    for (unsigned out = 0; out < 32; out++)
        cr_expect(fabs(flips[out] - TRIALS / 2.0) <= DEVIATIONS * sqrt(TRIALS) / 2,
                  "bit %u of the %s flips bit %u in %u of %d", bit, name, out, flips[out], TRIALS);
}

Test(random, avalanche)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        expect_avalanche("seed", offsetof(input, seed), bit);
        expect_avalanche("tensor", offsetof(input, tensor), bit);
        if (bit < 53)
            expect_avalanche("step", offsetof(input, step), bit);
        if (bit < 32) /* further away it is mixed less: see above */
            expect_avalanche("octet", offsetof(input, octet), bit);
    }
}
