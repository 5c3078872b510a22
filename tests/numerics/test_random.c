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

Test(random, known_answers)
{
    static const struct {
        uint64_t seed, tensor;
        int64_t step;
        uint64_t tile;
        uint32_t element;
        uint64_t step_key, tile_key;
        uint32_t bits;
    } answers[] = {
        {0, 1, 1, 0, 0, 0xac1a201f5ae37988, 0x3839455cb9c39765, 0xd238},
        {0, 1, 1, 0, 255, 0xac1a201f5ae37988, 0x3839455cb9c39765, 0x5451},
        {42, 3, 1000, 12345, 17, 0xa651bf4cf84411b4, 0xb5abfee2d6aad511, 0xa9a4},
        {UINT64_MAX, UINT64_MAX, (int64_t)1 << 53, (uint64_t)1 << 40, 128, 0x8522c9ec21005d97, 0x49b6e88b2c2dc3d0,
         0x0e23},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const uint64_t step_key = fopt_i_step_key(answers[i].seed, answers[i].tensor, answers[i].step);
        const uint64_t tile_key = fopt_i_tile_key(step_key, answers[i].tile);
        const uint32_t bits = fopt_i_random_half(fopt_i_random(tile_key, answers[i].element / 2), answers[i].element);
        cr_expect(step_key == answers[i].step_key && tile_key == answers[i].tile_key && bits == answers[i].bits,
                  "answer %zu is 0x%016llx, 0x%016llx, 0x%04x", i, (unsigned long long)step_key,
                  (unsigned long long)tile_key, bits);
    }
}

/* ---- uniform ------------------------------------------------------------------------------------------------- */

/* How many standard deviations chance is allowed. */
#define DEVIATIONS 5

#define BUCKETS 65536
#define TILES   65536
#define PAIRS   128 /* in a tile: as many numbers a bucket */
_Static_assert(2 * PAIRS == FOPT_I_TILE, "two elements a word");

/* Expects chi-square over the buckets near its mean, which is one less than their number; its variance is twice
 * that. */
static void expect_uniform(const char *what, const uint32_t *buckets)
{
    const double expected = (double)TILES * PAIRS / BUCKETS, freedom = BUCKETS - 1;
    double sum = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        sum += (buckets[i] - expected) * (buckets[i] - expected) / expected;
    cr_expect(fabs(sum - freedom) <= DEVIATIONS * sqrt(2 * freedom), "%s: chi-square is %g with %g degrees of freedom",
              what, sum, freedom);
}

/* What is added before bf16 cuts 16 bits off, of each element; and the 8 highest bits of it, of two elements: in a
 * pair, in successive pairs, tiles and steps. */
Test(random, is_uniform)
{
    static const char *const names[] = {"even elements", "odd elements",       "pairs",
                                        "next pairs",    "neighbouring tiles", "successive steps"};
    enum { STATISTICS = sizeof names / sizeof *names };
    static uint32_t buckets[STATISTICS][BUCKETS];
    const uint64_t key = fopt_i_step_key(1, 1, 1), next = fopt_i_step_key(1, 1, 2);
    for (uint64_t tile = 0; tile < TILES; tile++)
        for (uint32_t pair = 0; pair < PAIRS; pair++) {
            const uint32_t bits = fopt_i_random(fopt_i_tile_key(key, tile), pair);
            const uint32_t beside = fopt_i_random(fopt_i_tile_key(key, tile), pair + 1);
            const uint32_t below = fopt_i_random(fopt_i_tile_key(key, tile + 1), pair);
            const uint32_t later = fopt_i_random(fopt_i_tile_key(next, tile), pair);
            buckets[0][bits & 0xffff]++;
            buckets[1][bits >> 16]++;
            buckets[2][bits >> 24 << 8 | (bits >> 8 & 0xff)]++;
            buckets[3][bits >> 24 << 8 | (beside >> 8 & 0xff)]++;
            buckets[4][bits >> 24 << 8 | below >> 24]++;
            buckets[5][bits >> 24 << 8 | later >> 24]++;
        }
    for (size_t i = 0; i < STATISTICS; i++)
        expect_uniform(names[i], buckets[i]);
}

/* ---- avalanche ----------------------------------------------------------------------------------------------- */

/* All that the bits of a pair depend on. */
typedef struct input {
    uint64_t seed, tensor, step, tile, pair;
} input;

static uint32_t bits_of(input x)
{
    const uint64_t key = fopt_i_step_key(x.seed, x.tensor, (int64_t)x.step);
    return fopt_i_random(fopt_i_tile_key(key, x.tile), (uint32_t)x.pair);
}

#define TRIALS 16384

/* Flips one bit of a field in many inputs: every bit of the output must flip in half of them. */
static void expect_avalanche(const char *name, size_t offset, unsigned bit)
{
    unsigned flips[32] = {0};
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        /* Small numbers, as they come, and all different. */
        input x = {trial % 4, trial % 64 / 4, trial / 64, trial * 7 % 1000, trial * 11 % PAIRS};
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
        expect_avalanche("tile", offsetof(input, tile), bit);
        if (bit < 53)
            expect_avalanche("step", offsetof(input, step), bit);
        if (bit < 7)
            expect_avalanche("pair", offsetof(input, pair), bit);
    }
}
