/*
 * Norms of gradients: against sums of squares in exact integers, and the same to the bit however they are computed.
 */
#include "../../kernels/norm.h"
#include "../api/books.h"
#include "../api/callers_threads.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

static const fopt_format formats[] = {FOPT_F32, FOPT_BF16, FOPT_F16};

/* ---- exactly ------------------------------------------------------------------------------------------------- */

/* A number of 1024 bits, of which the lowest stands for 2^-300: digits of 16 bits, which may have grown. */
typedef struct wide {
    uint64_t digit[64];
} wide;

/* Adds x^2. A float is an integer of 24 bits times a power of two. */
static void add_square(wide *sum, double x)
{
    int exponent;
    const double fraction = frexp(fabs(x), &exponent);
    const uint64_t integer = (uint64_t)ldexp(fraction, 24);
    uint64_t square = integer * integer;
    const int place = 2 * (exponent - 24) + 300;
    if (square == 0)
        return;
    cr_assert_geq(place, 0);
    for (int at = place / 16, shift = place % 16; square != 0; at++, shift = 0) {
        sum->digit[at] += (square & ((1u << (16 - shift)) - 1)) << shift;
        square >>= 16 - shift;
    }
}

/* Returns the root, right to some 2^-60. */
static long double root_of(const wide *sum)
{
    long double total = 0;
    for (int i = 63; i >= 0; i--) /* the largest first: what is lost is below the last place of a long double */
        total += ldexpl((long double)sum->digit[i], 16 * i - 300);
    return sqrtl(total);
}

/* ---- an optimizer of some tensors of gradients ----------------------------------------------------------------- */

#define ELEMENTS ((size_t)70000)
#define TENSORS  ((size_t)8)

static _Alignas(64) unsigned char params[ELEMENTS * 4], grads[ELEMENTS * 4 + 64];

typedef struct set {
    fopt_tensor tensors[TENSORS];
    size_t count;
} set;

/* Cuts the gradients into tensors, each of which begins where another ends. */
static set cut(fopt_format format, const size_t *ends, size_t count)
{
    set s = {.count = count};
    for (size_t i = 0; i < count; i++) {
        const size_t begin = i > 0 ? ends[i - 1] : 0;
        s.tensors[i] = (fopt_tensor){.size = sizeof(fopt_tensor),
                                     .param = params + begin * 4,
                                     .grad = grads + begin * numbers_bytes(format),
                                     .count = ends[i] - begin,
                                     .grad_format = format};
    }
    return s;
}

static double norm_of(const fopt_config *config, const set *s, double *each)
{
    fopt_group group;
    fopt_optimizer *optimizer;
    double norm = -1;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    expect_ok(fopt_create(config, &group, 1, s->tensors, s->count, &optimizer));
    expect_ok(fopt_grad_norm(optimizer, 0, s->count, &norm, each, NULL));
    fopt_destroy(optimizer);
    return norm;
}

/* Adds a tensor's squares. */
static void add_tensor(wide *sum, const fopt_tensor *t)
{
    for (size_t i = 0; i < t->count; i++)
        add_square(sum, numbers_value(t->grad_format, numbers_get(t->grad_format, t->grad, i)));
}

static void expect_near(double got, const wide *sum, const char *what)
{
    const double want = (double)root_of(sum);
    cr_expect(fabs(got - want) <= want * 0x1p-21, "%s: %.17g, exactly %.17g: off by %.3g of it", what, got, want,
              got / want - 1);
}

/* Draws magnitudes over 2^-range to 2^range around a scale. */
static void draw(fopt_format format, double scale, double range, uint64_t seed)
{
    splitmix random = {seed};
    for (size_t i = 0; i < ELEMENTS; i++) {
        const double size = scale * exp2(range * (double)splitmix_symmetric(&random));
        numbers_set(format, grads, i, numbers_nearest(format, splitmix_next(&random) & 1 ? size : -size));
    }
}

/* The format, and the scale and range of magnitudes, none of which becomes subnormal. */
static const struct {
    fopt_format format;
    double scale, range;
} kinds[] = {{FOPT_F32, 1, 3},       {FOPT_F32, 0x1p-100, 20}, {FOPT_F32, 0x1p100, 27}, {FOPT_F32, 1, 120},
             {FOPT_F32, 0x1p-20, 0}, {FOPT_BF16, 1e-3, 4},     {FOPT_BF16, 1, 100},     {FOPT_F16, 1, 8}};

Test(norm, right_to_21_bits)
{
    const size_t ends[TENSORS] = {1, 2, 258, 514, 1000, 1000, 33000, ELEMENTS};
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        wide all = {{0}};
        double each[TENSORS];
        now_running("kind %zu, seed %zu", k, k);
        draw(kinds[k].format, kinds[k].scale, kinds[k].range, k);
        const set s = cut(kinds[k].format, ends, TENSORS);
        const double norm = norm_of(NULL, &s, each);
        for (size_t i = 0; i < TENSORS; i++) {
            wide one = {{0}};
            add_tensor(&one, &s.tensors[i]);
            add_tensor(&all, &s.tensors[i]);
            expect_near(each[i], &one, "a tensor's norm");
        }
        expect_near(norm, &all, "the norm");
    }
}

Test(norm, of_what_is_not_ordinary)
{
    const float inf = INFINITY, nan = NAN;
    const struct {
        float first, second;
        double norm;
    } rows[] = {{0, 0, 0},
                {-0.0f, 0, 0},
                {3, -4, 5},
                {FLT_MAX, 0, FLT_MAX},
                {FLT_MAX, FLT_MAX, FLT_MAX * sqrt(2)},
                {FLT_MIN, 0, FLT_MIN},
                {0, 0x1p-149f, 0}, /* subnormal */
                {1, FLT_MIN, 1},
                {inf, 1, INFINITY},
                {-inf, inf, INFINITY},
                {inf, nan, NAN},
                {1, nan, NAN}};
    for (size_t i = 0; i < LENGTH(rows); i++)
        for (size_t place = 0; place < 600; place += 299) { /* the second in another tile, but for the first place */
            const size_t count = 600;
            double each[1];
            memset(grads, 0, count * sizeof(float));
            memcpy(grads, &rows[i].first, sizeof(float));
            memcpy(grads + (place + 1) * sizeof(float), &rows[i].second, sizeof(float));
            const set s = cut(FOPT_F32, &count, 1);
            const double norm = norm_of(NULL, &s, each);
            cr_expect(isnan(rows[i].norm) ? isnan(norm)
                                          : norm == rows[i].norm || fabs(norm / rows[i].norm - 1) < 0x1p-21,
                      "row %zu: %g", i, norm);
            cr_expect(memcmp(&norm, each, sizeof norm) == 0 || isnan(norm));
        }
}

/* One element of a tile, and all others so much smaller. */
Test(norm, of_one_large_and_many_small)
{
    for (int power = 0; power < 40; power++) {
        const size_t count = TILE;
        wide sum = {{0}};
        for (size_t i = 0; i < count; i++)
            numbers_set(FOPT_F32, grads, i, numbers_nearest(FOPT_F32, i == 77 ? -1.9 : ldexp(0.7, -power)));
        const set s = cut(FOPT_F32, &count, 1);
        add_tensor(&sum, &s.tensors[0]);
        now_running("2^-%d beside it", power);
        expect_near(norm_of(NULL, &s, NULL), &sum, "the norm");
    }
}

/* The sum becomes a double by one rounding: half a unit and a little more goes up. */
Test(norm, a_sum_is_rounded_once)
{
    splitmix random = {1};
    for (int i = 0; i < 1000; i++) {
        const uint64_t integer = splitmix_next(&random) >> 11 | (uint64_t)1 << 52; /* 53 bits */
        const uint64_t shift = splitmix_next(&random) % 11 + 1, wider = (integer << 1 | 1) << (shift - 1);
        fopt_i_sum sum = {{0}};
        sum.word[9] = wider & 0xffffffff; /* stands for 1 */
        sum.word[10] = wider >> 32;
        sum.word[splitmix_next(&random) % 9] = 1 + splitmix_next(&random) % 5;
        const double want = sqrt((double)((integer + 1) << shift));
        cr_assert_eq(fopt_i_norm_of(&sum), want, "%a, not %a", fopt_i_norm_of(&sum), want);
    }
}

/* FLT_MAX everywhere: the largest sum that there can be of so many elements. */
Test(norm, of_the_largest)
{
    const size_t count = ELEMENTS;
    for (size_t i = 0; i < count; i++)
        numbers_set(FOPT_F32, grads, i, 0x7f7fffff);
    const set s = cut(FOPT_F32, &count, 1);
    const double norm = norm_of(NULL, &s, NULL), want = (double)FLT_MAX * sqrt((double)count);
    cr_expect(fabs(norm / want - 1) < 0x1p-21, "%g for %g", norm, want);
}

/* ---- the same to the bit ----------------------------------------------------------------------------------------- */

static void expect_bits(double got, double want, const char *what)
{
    cr_expect(memcmp(&got, &want, sizeof got) == 0, "%s: %a, not %a", what, got, want);
}

Test(norm, the_same_bits_by_any_way)
{
    for (size_t f = 0; f < LENGTH(formats); f++) {
        const size_t whole[] = {ELEMENTS}, parts[] = {256, 512, 5120, 25600, 51200, ELEMENTS};
        draw(formats[f], 1e-2, 6, f);
        const set one = cut(formats[f], whole, 1), many = cut(formats[f], parts, LENGTH(parts));
        const double want = norm_of(NULL, &one, NULL);
        now_running("%s, seed %zu", fopt_format_name(formats[f]), f);
        expect_bits(norm_of(NULL, &many, NULL), want, "cut where tiles begin");

        set reversed = many;
        for (size_t i = 0; i < many.count; i++)
            reversed.tensors[i] = many.tensors[many.count - 1 - i];
        expect_bits(norm_of(NULL, &reversed, NULL), want, "in another order");

        fopt_device_info info = {.size = sizeof info};
        expect_ok(fopt_device_query((fopt_device){FOPT_CPU, 0}, &info));
        for (int isa = 1; fopt_isa_name((fopt_isa)isa); isa++) {
            const fopt_config config = {.size = sizeof config, .isa = (fopt_isa)isa, .threads = isa};
            if (info.isas & 1u << isa)
                expect_bits(norm_of(&config, &many, NULL), want, fopt_isa_name((fopt_isa)isa));
        }
        const fopt_parallel_for ways[] = {forwards, backwards, on_own_threads};
        for (size_t i = 0; i < LENGTH(ways); i++) {
            const fopt_config config = {.size = sizeof config, .parallel_for = ways[i]};
            expect_bits(norm_of(&config, &one, NULL), want, "on the caller's threads");
        }
        memmove(grads + numbers_bytes(formats[f]), grads, ELEMENTS * numbers_bytes(formats[f]));
        set shifted = one;
        shifted.tensors[0].grad = grads + numbers_bytes(formats[f]);
        expect_bits(norm_of(NULL, &shifted, NULL), want, "at another address");
    }
}

/* ---- which tensors ----------------------------------------------------------------------------------------------- */

Test(norm, of_some_tensors)
{
    const size_t ends[] = {300, 600, 900, 1200};
    float values[1200];
    fopt_group group;
    fopt_optimizer *optimizer;
    for (size_t i = 0; i < LENGTH(values); i++)
        values[i] = i % 300 == 0 ? (float)(1 << i / 300) : 0; /* norms of 1, 2, 4, 8 */
    memcpy(grads, values, sizeof values);
    set s = cut(FOPT_F32, ends, LENGTH(ends));
    s.tensors[2].grad = NULL;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    expect_ok(fopt_create(NULL, &group, 1, s.tensors, s.count, &optimizer));
    for (size_t first = 0; first <= s.count; first++)
        for (size_t count = 0; count <= s.count - first; count++) {
            double norm = -1, each[4] = {-1, -1, -1, -1}, sum = 0;
            expect_ok(fopt_grad_norm(optimizer, first, count, &norm, NULL, NULL));
            expect_ok(fopt_grad_norm(optimizer, first, count, NULL, each, NULL));
            for (size_t i = 0; i < LENGTH(each); i++) {
                const double want = i >= count ? -1 : first + i == 2 ? 0 : (double)(1 << (first + i));
                cr_expect_eq(each[i], want);
                sum += i < count ? want * want : 0;
            }
            cr_expect(fabs(norm - sqrt(sum)) <= sqrt(sum) * 0x1p-21, "%g", norm);
        }
    cr_expect_eq(memcmp(grads, values, sizeof values), 0, "gradients are only read");
    fopt_destroy(optimizer);
}
