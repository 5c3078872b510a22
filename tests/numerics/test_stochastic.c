/*
 * The stochastic rounding of moments in bf16: it is unbiased, independent over elements, octets, steps, tensors
 * and seeds, and the same for the same of them; and it does what it is for.
 *
 * With alpha 0 the second moment of RMSprop is the square of the gradient: one step rounds any number.
 */
#include "buffers.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT 65536

/* How many standard deviations chance is allowed. One try in a million goes further. */
#define DEVIATIONS 5

/* What the random bits depend on. */
typedef struct key {
    uint64_t seed, id;
    int64_t step;
    size_t first_element;
} key;

static float param[COUNT + 512], grad[COUNT + 512];

/* Rounds the square of `gradient` in every element. */
static void round_square(key k, float gradient, uint16_t *square, size_t count)
{
    const fopt_config config = {.size = sizeof config, .seed = k.seed};
    const fopt_group group = {
        .size = sizeof group, .rule = FOPT_RMSPROP, .eps = 1, .state_format[FOPT_SECOND_MOMENT] = FOPT_BF16};
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = param,
                                .grad = grad,
                                .count = count,
                                .global_id = k.id,
                                .first_element = k.first_element};
    for (size_t i = 0; i < count; i++)
        grad[i] = gradient;
    update_tensor(&config, &group, &tensor, square, 0, k.step); /* its one moment */
}

/* ---- one rounding -------------------------------------------------------------------------------------------- */

#define ONE  0x3f80 /* 1 in bf16; the next is 1 + 2^-7 */
#define UNIT 0x1p-7

/* Between 1 and the next, a number rounds up as often as it is closer to the next. */
Test(stochastic, is_unbiased)
{
    static const double fractions[] = {0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999};
    static uint16_t square[COUNT];
    for (size_t f = 0; f < sizeof fractions / sizeof *fractions; f++) {
        const float g = (float)sqrt(1 + fractions[f] * UNIT), exact = g * g;
        const double probability = ((double)exact - 1) / UNIT;
        double up = 0, count = 0;
        for (uint64_t id = 1; id <= 16; id++) {
            round_square((key){1, id, 1, 0}, g, square, COUNT);
            for (size_t i = 0; i < COUNT; i++) {
                cr_assert(square[i] == ONE || square[i] == ONE + 1, "%a became 0x%04x", (double)exact, square[i]);
                up += square[i] - ONE;
            }
            count += COUNT;
        }
        /* The 16 bits that are cut off are compared with 16 random ones: so the probability is exact. */
        const double deviation = sqrt(count * probability * (1 - probability));
        cr_expect(fabs(up - count * probability) <= DEVIATIONS * deviation,
                  "%a: %g of %g were rounded up, expected %g with a deviation of %g", (double)exact, up, count,
                  count * probability, deviation);
    }
}

/* ---- independence -------------------------------------------------------------------------------------------- */

/* Tosses coins by rounding half-way: up and down, as 1 and -1, are equally likely. */
static void toss(key k, signed char *tosses, size_t count)
{
    static uint16_t square[COUNT + 512];
    round_square(k, (float)sqrt(1 + 0.5 * UNIT), square, count);
    for (size_t i = 0; i < count; i++)
        tosses[i] = square[i] == ONE ? -1 : 1;
}

static void expect_uncorrelated(const char *what, const signed char *a, const signed char *b)
{
    double sum = 0;
    for (size_t i = 0; i < COUNT; i++)
        sum += a[i] * b[i];
    cr_expect(fabs(sum) <= DEVIATIONS * sqrt(COUNT), "%s: the correlation is %g, with a deviation of %g", what,
              sum / COUNT, 1 / sqrt(COUNT));
}

static const key one = {1, 1, 1, 0};

Test(stochastic, is_independent_over_elements)
{
    static signed char tosses[COUNT + 512];
    static const size_t distances[] = {1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 128, 255, 256, 257, 512};
    toss(one, tosses, COUNT + 512);
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        char what[40];
        snprintf(what, sizeof what, "elements %zu apart", distances[i]);
        expect_uncorrelated(what, tosses, tosses + distances[i]);
    }
}

Test(stochastic, is_independent_over_keys)
{
    static const struct {
        const char *what;
        key a, b;
    } pairs[] = {
        {"seeds 0 and 1", {0, 1, 1, 0}, {1, 1, 1, 0}},
        {"seeds 1 and 2", {1, 1, 1, 0}, {2, 1, 1, 0}},
        {"seeds 1 and 2^32 + 1", {1, 1, 1, 0}, {((uint64_t)1 << 32) + 1, 1, 1, 0}},
        {"seeds 1 and 2^63 + 1", {1, 1, 1, 0}, {((uint64_t)1 << 63) + 1, 1, 1, 0}},
        {"tensors 1 and 2", {1, 1, 1, 0}, {1, 2, 1, 0}},
        {"tensors 1 and 2^32 + 1", {1, 1, 1, 0}, {1, ((uint64_t)1 << 32) + 1, 1, 0}},
        {"steps 1 and 2", {1, 1, 1, 0}, {1, 1, 2, 0}},
        {"steps 1 and 2^32 + 1", {1, 1, 1, 0}, {1, 1, ((int64_t)1 << 32) + 1, 0}},
        {"tiles 0 and 2^32", {1, 1, 1, 0}, {1, 1, 1, (size_t)TILE << 32}},
        {"seed and tensor exchanged", {1, 2, 1, 0}, {2, 1, 1, 0}},
        {"tensor and step exchanged", {1, 1, 2, 0}, {1, 2, 1, 0}},
        {"step and tile exchanged", {1, 1, 2, TILE}, {1, 1, 1, (size_t)2 * TILE}},
    };
    static signed char a[COUNT], b[COUNT];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        toss(pairs[i].a, a, COUNT);
        toss(pairs[i].b, b, COUNT);
        expect_uncorrelated(pairs[i].what, a, b);
    }
}

/* What a saved training continues with: the first tosses, frozen. */
Test(stochastic, is_the_same_for_the_same_keys)
{
    static const key keys[] = {{1, 1, 1, 0}, {7, 5, 3, 512}};
    static const uint64_t frozen[] = {0x803733f67b0d6abf, 0x4fcf3f80d10ecae0};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        signed char tosses[64];
        uint64_t bits = 0;
        toss(keys[k], tosses, 64);
        for (size_t i = 0; i < 64; i++)
            bits |= (uint64_t)(tosses[i] > 0) << i;
        cr_expect_eq(bits, frozen[k], "key %zu: got 0x%016llx want 0x%016llx", k, (unsigned long long)bits,
                     (unsigned long long)frozen[k]);
    }
}

/* ---- averages ------------------------------------------------------------------------------------------------ */

#define ELEMENTS 2048

typedef struct adam {
    fopt_group group;
    _Alignas(64) float param[ELEMENTS], grad[ELEMENTS];
    uint16_t state[FOPT_STATE_KINDS][ELEMENTS];
} adam;

static void start(adam *a, unsigned flags)
{
    memset(a, 0, sizeof *a);
    expect_ok(fopt_group_init(&a->group, sizeof a->group, FOPT_ADAM));
    a->group.flags = flags;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        a->group.state_format[kind] = FOPT_BF16;
}

static void update(adam *a, uint64_t seed, int64_t step)
{
    const fopt_config config = {.size = sizeof config, .seed = seed, .threads = 1};
    const fopt_tensor tensor = {.size = sizeof tensor, .param = a->param, .grad = a->grad, .count = ELEMENTS};
    update_tensor(&config, &a->group, &tensor, a->state, sizeof *a->state, step);
}

static double mean_second_moment(const adam *a)
{
    double sum = 0;
    for (size_t i = 0; i < ELEMENTS; i++)
        sum += get_value(FOPT_BF16, a->state[FOPT_SECOND_MOMENT], i);
    return sum / ELEMENTS;
}

static void expect_mean(const adam *a, int64_t step, double want)
{
    const double got = mean_second_moment(a);
    cr_expect(fabs(got - want) <= 0.01 * want, "step=%d: the mean is %g, should be %g", (int)step, got, want);
}

/* A constant gradient of 1 leads to 1 at beta2 0.999. Rounded to the nearest, the average stops at 0.25. */
Test(stochastic, average_arrives)
{
    static adam a;
    start(&a, 0);
    for (size_t i = 0; i < ELEMENTS; i++)
        a.grad[i] = 1;
    for (int64_t step = 1; step <= 10000; step++) {
        update(&a, 1, step);
        if (step % 1000 == 0)
            expect_mean(&a, step, 1 - pow(0.999, (double)step));
    }
}

/* A moment of 1 decays without gradients. Rounded to the nearest, it stays. */
Test(stochastic, average_decays)
{
    static adam a;
    start(&a, 0);
    for (size_t i = 0; i < ELEMENTS; i++)
        a.state[FOPT_SECOND_MOMENT][i] = ONE;
    for (int64_t step = 1; step <= 2000; step++) {
        update(&a, 1, step);
        if (step % 500 == 0)
            expect_mean(&a, step, pow(0.999, (double)step));
    }
}

/* A first moment without gradients decays as well, at a beta1 where the nearest would be the old one for ever. */
Test(stochastic, first_moment_decays)
{
    static adam a;
    start(&a, 0);
    a.group.beta1 = 0.999;
    for (size_t i = 0; i < ELEMENTS; i++)
        a.state[FOPT_FIRST_MOMENT][i] = a.state[FOPT_SECOND_MOMENT][i] = ONE;
    for (int64_t step = 1; step <= 2000; step++)
        update(&a, 1, step);
    double sum = 0;
    for (size_t i = 0; i < ELEMENTS; i++)
        sum += get_value(FOPT_BF16, a.state[FOPT_FIRST_MOMENT], i);
    cr_expect(fabs(sum / ELEMENTS - pow(0.999, 2000)) <= 0.01, "the mean is %g", sum / ELEMENTS);
}

/* AMSGrad's maximum is rounded to the nearest, whatever the seed; so is what moments do to parameters. */
Test(stochastic, is_of_what_adds_up)
{
    static adam a, b;
    start(&a, FOPT_AMSGRAD);
    for (size_t i = 0; i < ELEMENTS; i++)
        a.grad[i] = (float)i / 100;
    b = a;
    update(&a, 1, 1);
    update(&b, 2, 1);
    expect_same("param", FOPT_F32, a.param, b.param, ELEMENTS);
    expect_same("max_exp_avg_sq", FOPT_BF16, a.state[FOPT_MAX_SECOND_MOMENT], b.state[FOPT_MAX_SECOND_MOMENT],
                ELEMENTS);
    for (fopt_state_kind kind = FOPT_FIRST_MOMENT; kind <= FOPT_SECOND_MOMENT; kind++)
        cr_expect_neq(memcmp(a.state[kind], b.state[kind], sizeof a.state[0]), 0, "%s: two seeds have rounded alike",
                      fopt_state_kind_name(FOPT_ADAM, kind));
}
