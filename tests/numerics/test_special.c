/*
 * Values at the edges: what becomes of zeros, subnormals, huge numbers, infinities and NaNs as parameters and
 * gradients, that a NaN is not hidden, that neighbours are untouched, and what the moments do at both ends of their
 * range.
 */
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#define MOST 1024

/* Half of the largest float: a sum of two such is still finite. */
#define HUGE_NUMBER ((double)FLT_MAX / 2)

/* ---- one tensor ---------------------------------------------------------------------------------------------- */

typedef struct arrays {
    fopt_group group;
    case_formats formats;
    size_t count;
    _Alignas(64) unsigned char param[4 * MOST], grad[4 * MOST], state[FOPT_STATE_KINDS][4 * MOST];
} arrays;

static void describe_run(const arrays *a, const char *data)
{
    char name[CASE_NAME_SIZE];
    case_name(&a->group, name);
    now_running("%s %s/%s/%s %s", name, fopt_format_name(a->formats.param), fopt_format_name(a->formats.grad),
                fopt_format_name(a->formats.state), data);
}

static void clear(arrays *a, size_t case_index, case_formats formats, size_t count)
{
    memset(a, 0, sizeof *a);
    a->group = case_group(case_index);
    case_set_state(&a->group, formats.state);
    a->formats = formats;
    a->count = count;
}

static void update_by(const fopt_config *config, arrays *a, int64_t step)
{
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = a->param,
                                .grad = a->grad,
                                .count = a->count,
                                .param_format = a->formats.param,
                                .grad_format = a->formats.grad};
    update_tensor(config, &a->group, &tensor, a->state, sizeof *a->state, step);
}

static void update(arrays *a, int64_t step)
{
    update_by(NULL, a, step);
}

static double param_of(const arrays *a, size_t i)
{
    return get_value(a->formats.param, a->param, i);
}

static double state_of(const arrays *a, fopt_state_kind kind, size_t i)
{
    return get_value(a->formats.state, a->state[kind], i);
}

static oracle_result ask_oracle(const arrays *a, int64_t step, size_t i)
{
    oracle_element element = {.param = param_of(a, i)};
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        element.state[kind] = state_of(a, kind, i);
    return oracle_step(&a->group, step, element, get_value(a->formats.grad, a->grad, i));
}

/* ---- special values among ordinary ones ---------------------------------------------------------------------- */

static const double specials[] = {
    0,    -0.0,  0x1p-149, -0x1p-149, 0x1p-127,    -0x1p-127,    0x1p-126, 1e-20,     1,           -1,
    1e19, -1e20, 1e30,     -1e37,     HUGE_NUMBER, -HUGE_NUMBER, INFINITY, -INFINITY, (double)NAN,
};
#define PAIRS (LENGTH(specials) * LENGTH(specials))

/* Fills in every pair of a special parameter and a special gradient, each between ordinary elements. */
static void fill_pairs(arrays *a)
{
    fill_random(a->formats.param, a->param, a->count, 1, 0);
    fill_random(a->formats.grad, a->grad, a->count, 2, 0);
    for (size_t pair = 0; pair < PAIRS; pair++) {
        set_value(a->formats.param, a->param, 2 * pair + 1, specials[pair / LENGTH(specials)]);
        set_value(a->formats.grad, a->grad, 2 * pair + 1, specials[pair % LENGTH(specials)]);
    }
}

static bool is_finite_as(fopt_format format, double value)
{
    return isfinite(numbers_value(format, numbers_nearest(format, value)));
}

/* Compares with the oracle what is finite, and what is not. An infinity amid a formula ends as one or as a NaN,
 * depending on how an average is written; but a NaN that goes in must come out as a NaN. */
static void compare_classes(const arrays *before, const arrays *after, int64_t step)
{
    for (size_t i = 0; i < before->count; i++) {
        const double p = param_of(before, i), g = get_value(before->formats.grad, before->grad, i);
        const oracle_result want = ask_oracle(before, step, i);
        double got = param_of(after, i);
        if (isnan(p) || isnan(g) ? !isnan(got)
                                 : !isfinite(got) == is_finite_as(before->formats.param, want.after.param))
            cr_assert_fail("%s step=%d element=%zu, param %a grad %a: got %a want %a", what_runs(), (int)step, i, p, g,
                           got, want.after.param);
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            got = state_of(after, kind, i); /* a finite one stays finite in any format */
            if (oracle_keeps(&before->group, kind) && !isfinite(got) == is_finite_as(FOPT_F32, want.after.state[kind]))
                cr_assert_fail("%s step=%d element=%zu, param %a grad %a, %s: got %a want %a", what_runs(), (int)step,
                               i, p, g, fopt_state_kind_name(before->group.rule, kind), got, want.after.state[kind]);
        }
    }
}

static void compare_neighbours(const arrays *among_specials, const arrays *among_ordinary)
{
    for (size_t i = 0; i < among_specials->count; i += 2) {
        cr_assert_eq(numbers_get(among_specials->formats.param, among_specials->param, i),
                     numbers_get(among_specials->formats.param, among_ordinary->param, i),
                     "%s element=%zu: param differs beside a special value", what_runs(), i);
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
            cr_assert_eq(numbers_get(among_specials->formats.state, among_specials->state[kind], i),
                         numbers_get(among_specials->formats.state, among_ordinary->state[kind], i),
                         "%s element=%zu: state differs beside a special value", what_runs(), i);
    }
}

/* The second step, with ordinary gradients throughout, shows what the first has left. */
Test(special, values_and_their_neighbours)
{
    static arrays a, before, ordinary;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = 0; f < case_plain_formats_count(); f++) {
            clear(&a, index, case_formats_at(f), 2 * PAIRS + 1);
            describe_run(&a, "special values");
            ordinary = a;
            fill_random(ordinary.formats.param, ordinary.param, ordinary.count, 1, 0);
            fill_random(ordinary.formats.grad, ordinary.grad, ordinary.count, 2, 0);
            fill_pairs(&a);
            for (int64_t step = 1; step <= 2; step++) {
                before = a;
                update(&a, step);
                update(&ordinary, step);
                compare_classes(&before, &a, step);
                compare_neighbours(&a, &ordinary);
                memcpy(a.grad, ordinary.grad, sizeof a.grad);
            }
        }
}

/* ---- gradients at the edges of the ordinary ------------------------------------------------------------------- */

/* From zero to the largest that count as ordinary (kernels/rules/element.h), as far as a format has them. */
static double edge_of(fopt_format format, size_t i)
{
    static const double edges[] = {0,      0x1p-50, 0x1.02p-50,  0x1p-49,    0x1p-31, 1e-8,
                                   0.0625, 1,       0x1.fep+40f, 0x1.fep62f, 0x1p63,  0x1p-50};
    const double x = fmin(edges[i * 7 % LENGTH(edges)], numbers_largest(format));
    return i / LENGTH(edges) % 2 ? -x : x;
}

static void expect_same_but(const arrays *a, const arrays *b, size_t odd, fopt_isa isa, int64_t step)
{
    for (size_t i = 0; i < a->count; i++) {
        if (i % 256 == odd)
            continue;
        const size_t bytes = numbers_bytes(a->formats.param);
        cr_assert_arr_eq(a->param + i * bytes, b->param + i * bytes, bytes, "%s %s step=%d element=%zu: param",
                         what_runs(), fopt_isa_name(isa), (int)step, i);
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            const size_t state_bytes = numbers_bytes(a->group.state_format[kind]);
            if (oracle_keeps(&a->group, kind))
                cr_assert_arr_eq(a->state[kind] + i * state_bytes, b->state[kind] + i * state_bytes, state_bytes,
                                 "%s %s step=%d element=%zu: %s", what_runs(), fopt_isa_name(isa), (int)step, i,
                                 fopt_state_kind_name(a->group.rule, kind));
        }
    }
}

/* Where all gradients are ordinary a shorter way is taken, which must lead to the same bits: it is not where there is
 * one more that is none. A quantized block has larger ones beside it, so that its scale is the same. */
Test(special, ordinary_gradients_beside_others)
{
    static const double others[] = {0x1p-51, (double)NAN, 0x1p-149};
    static arrays a, b;
    const size_t odd = 100;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = index % 4; f < case_formats_count(); f += 4) /* each case with some formats */
            for (size_t i = 0; i < isa_count(); i++) {
                const fopt_config config = {.size = sizeof config, .isa = isa_at(i), .threads = 1};
                clear(&a, index, case_formats_at(f), 3 * 256 + 157);
                describe_run(&a, "ordinary gradients");
                if ((index / 2 + f / 4) % 2 == 0)
                    a.group.eps = 0; /* of a gradient of zero, 0 / 0 */
                fill_random(a.formats.param, a.param, a.count, index + 1, 0);
                numbers_set(a.formats.param, a.param, 77, a.formats.param == FOPT_F32 ? 0x7fffffff : 0x7fff); /* NaN */
                b = a;
                for (int64_t step = 1; step <= 3; step++) {
                    for (size_t k = 0; k < a.count; k++) {
                        const double g = edge_of(a.formats.grad, k + (size_t)step);
                        set_value(a.formats.grad, a.grad, k, k % 256 == odd ? 1 : g);
                        set_value(b.formats.grad, b.grad, k,
                                  k % 256 == odd ? others[(k / 256 + (size_t)step) % LENGTH(others)] : g);
                    }
                    update_by(&config, &a, step);
                    update_by(&config, &b, step);
                    expect_same_but(&a, &b, odd, config.isa, step);
                }
            }
}

/* A maximum that is NaN beside a second moment that is not cannot come about. */
Test(special, nan_moments_are_not_hidden)
{
    static arrays a;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = 0; f < case_plain_formats_count(); f++)
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                clear(&a, index, case_formats_at(f), 33);
                if (!oracle_keeps(&a.group, kind) || kind == FOPT_MAX_SECOND_MOMENT)
                    continue;
                fill_random(a.formats.param, a.param, a.count, 1, 0);
                fill_random(a.formats.grad, a.grad, a.count, 2, 0);
                for (size_t i = 0; i < a.count; i++)
                    set_value(a.formats.state, a.state[kind], i, i % 2 != 0 ? NAN : 1);
                describe_run(&a, fopt_state_kind_name(a.group.rule, kind));
                update(&a, 2);
                for (size_t i = 0; i < a.count; i++)
                    cr_assert_eq(isnan(param_of(&a, i)) != 0, i % 2 != 0, "%s element=%zu: param is %a", what_runs(), i,
                                 param_of(&a, i));
            }
}

/* ---- the upper end ------------------------------------------------------------------------------------------- */

static void expect_finite(const arrays *a, int64_t step)
{
    for (size_t i = 0; i < a->count; i++) {
        cr_assert(isfinite(param_of(a, i)), "%s step=%d element=%zu: param is %a", what_runs(), (int)step, i,
                  param_of(a, i));
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
            cr_assert(isfinite(state_of(a, kind, i)), "%s step=%d element=%zu: %s is %a", what_runs(), (int)step, i,
                      fopt_state_kind_name(a->group.rule, kind), state_of(a, kind, i));
    }
}

/* Expects the step from `before` to `after` to be the oracle's, in single precision. */
static void expect_oracles_step(const arrays *before, const arrays *after, int64_t step)
{
    for (size_t i = 0; i < before->count; i++) {
        const oracle_result want = ask_oracle(before, step, i);
        const double ulps = oracle_ulps(param_of(after, i), want.after.param, want.magnitude.param, (double)FLT_MAX);
        cr_assert(ulps <= ORACLE_PARAM_ULPS, "%s step=%d element=%zu: param %a became %a, should be %a", what_runs(),
                  (int)step, i, param_of(before, i), param_of(after, i), want.after.param);
    }
}

/* Their squares overflow, all of them. What a centered RMSprop can do ends where rounding leaves nothing of the
 * difference of two squares: a step is then gradient / eps. */
static const double huge[] = {1e20, -1e20, 1e25, 1e30, -1e37, HUGE_NUMBER, -HUGE_NUMBER};
#define HUGE_CENTERED 2

/* Almost the largest number of bf16 too, where nothing is added up but averages. */
static double huge_of(const arrays *a, size_t i)
{
    const bool averages = oracle_keeps(&a->group, FOPT_FIRST_MOMENT) || oracle_keeps(&a->group, FOPT_SECOND_MOMENT);
    const double x = huge[i % (a->group.flags & FOPT_CENTERED ? HUGE_CENTERED : LENGTH(huge))];
    return averages && fabs(x) == HUGE_NUMBER ? 1.98 * x : x;
}

/* A square that would overflow leaves a finite number, in whatever format, and no infinity or NaN later. */
Test(special, squares_do_not_overflow)
{
    static const fopt_format moments[] = {FOPT_F32, FOPT_BF16};
    static arrays a, before;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = 0; f < LENGTH(moments); f++) {
            clear(&a, index, (case_formats){FOPT_F32, FOPT_F32, moments[f]}, 7 * LENGTH(huge));
            describe_run(&a, "huge gradients, then zeros");
            for (size_t i = 0; i < a.count; i++) {
                set_value(FOPT_F32, a.param, i, 1);
                set_value(FOPT_F32, a.grad, i, huge_of(&a, i));
            }
            for (int64_t step = 1; step <= 500; step++) {
                before = a;
                update(&a, step);
                expect_finite(&a, step);
                if (moments[f] == FOPT_F32)
                    expect_oracles_step(&before, &a, step);
                memset(a.grad, 0, sizeof a.grad);
            }
        }
}

/* The longest that an update can be, in units of lr: of m / sqrt(v) by the inequality of Cauchy and Schwarz over all
 * past gradients; of g / sqrt(s) because s has g's own share. */
static double longest_update(const fopt_group *group)
{
    if (group->rule == FOPT_RMSPROP)
        return 1 / sqrt(1 - group->alpha) / (1 - group->momentum);
    const double ratio = group->beta1 * group->beta1 / group->beta2;
    const double bias = group->flags & FOPT_NO_BIAS_CORRECTION ? 1 : 1 / (1 - group->beta1);
    return bias * (1 - group->beta1) / sqrt((1 - group->beta2) * (1 - ratio));
}

/* Ordinary gradients, and amid them, in each element at another step, one as large as can be. */
Test(special, steps_are_bounded)
{
    static arrays a, before;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t state = 0; state < case_states_count(); state++) {
            static const double largest[] = {1e19, 1.8e19, -1e20, 1e21, -1e30, (double)FLT_MAX, -(double)FLT_MAX};
            clear(&a, index, (case_formats){FOPT_F32, FOPT_F32, case_state_at(state)}, 5 * LENGTH(largest));
            a.group.weight_decay = 0;
            if (!oracle_keeps(&a.group, FOPT_SECOND_MOMENT) || a.group.flags & FOPT_CENTERED)
                continue;
            describe_run(&a, "huge gradients amid ordinary ones");
            const double most = longest_update(&a.group) * a.group.lr;
            memset(a.param, 0, sizeof a.param);
            for (int64_t step = 1; step <= 8; step++) {
                fill_random(FOPT_F32, a.grad, a.count, (uint64_t)step, 0);
                for (size_t i = 0; i < a.count; i++)
                    if (i % 5 == (size_t)step - 1)
                        set_value(FOPT_F32, a.grad, i, largest[i / 5 % LENGTH(largest)]);
                before = a;
                update(&a, step);
                for (size_t i = 0; i < a.count; i++)
                    cr_assert_leq(fabs(param_of(&a, i) - param_of(&before, i)), 1.02 * most,
                                  "%s step=%d element=%zu: moved from %g to %g, at most by %g", what_runs(), (int)step,
                                  i, param_of(&before, i), param_of(&a, i), most);
            }
        }
}

/* The worst that an average can meet: the old and the new at opposite ends. */
Test(special, moments_of_alternating_huge_gradients_are_finite)
{
    static arrays a;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = 0; f < case_plain_formats_count(); f++) {
            clear(&a, index, case_formats_at(f), 2 * LENGTH(huge));
            if (a.formats.param == FOPT_F16 || a.formats.grad == FOPT_F16)
                continue; /* it has no huge numbers */
            describe_run(&a, "alternating huge gradients");
            for (int64_t step = 1; step <= 100; step++) {
                for (size_t i = 0; i < a.count; i++)
                    set_value(a.formats.grad, a.grad, i, huge_of(&a, i) * (step % 2 != 0 ? 1 : -1));
                update(&a, step);
                expect_finite(&a, step);
            }
        }
}

/* A buffer that was a sum, which may be as large as floats are, becomes an average by a change of spelling. */
Test(special, sums_that_become_averages_are_finite)
{
    static arrays a;
    for (size_t index = 0; index < case_count(); index++) {
        clear(&a, index, (case_formats){FOPT_F32, FOPT_F32, FOPT_F32}, 2);
        if (!(a.group.flags & FOPT_EMA_MOMENTUM))
            continue;
        describe_run(&a, "the largest buffers");
        for (size_t i = 0; i < a.count; i++) {
            set_value(FOPT_F32, a.state[FOPT_MOMENTUM_BUFFER], i, i == 0 ? (double)FLT_MAX : -(double)FLT_MAX);
            set_value(FOPT_F32, a.grad, i, i == 0 ? -(double)FLT_MAX : (double)FLT_MAX);
        }
        update(&a, 2);
        expect_finite(&a, 2);
    }
}

/* ---- the lower end ------------------------------------------------------------------------------------------- */

/* Moments run down without gradients: they arrive at zero, and are at no time subnormal. */
Test(special, moments_are_never_subnormal)
{
    static const fopt_format moments[] = {FOPT_F32, FOPT_BF16};
    static arrays a;
    for (size_t index = 0; index < case_count(); index++)
        for (size_t f = 0; f < LENGTH(moments); f++) {
            clear(&a, index, (case_formats){FOPT_F32, FOPT_F32, moments[f]}, 40);
            describe_run(&a, "decaying moments");
            a.group.weight_decay = 0;
            a.group.beta2 = fmin(a.group.beta2, 0.95); /* of 0 if the rule has none */
            a.group.alpha = fmin(a.group.alpha, 0.9);
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
                for (size_t i = 0; i < a.count && oracle_keeps(&a.group, kind); i++)
                    set_value(moments[f], a.state[kind], i, 1e-36 / (double)(1 + i) * (double)FLT_MIN / 1e-38);
            for (int64_t step = 2; step <= 300; step++) {
                update(&a, step);
                for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
                    for (size_t i = 0; i < a.count; i++) {
                        const double got = state_of(&a, kind, i);
                        if (got != 0 && fabs(got) < (double)FLT_MIN)
                            cr_assert_fail("%s step=%d element=%zu: %s is %a", what_runs(), (int)step, i,
                                           fopt_state_kind_name(a.group.rule, kind), got);
                    }
            }
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
                for (size_t i = 0; i < a.count && kind != FOPT_MAX_SECOND_MOMENT; i++)
                    cr_assert_eq(state_of(&a, kind, i), 0, "%s element=%zu: %s is still %a", what_runs(), i,
                                 fopt_state_kind_name(a.group.rule, kind), state_of(&a, kind, i));
        }
}

/* Subnormal parameters are numbers like others, from which is subtracted exactly; a subnormal gradient is none. */
Test(special, subnormals_are_kept_and_used)
{
    static const fopt_format formats[] = {FOPT_F32, FOPT_BF16, FOPT_F16};
    static const unsigned shifts[] = {20, 4, 1}; /* gradients up to twice the least normal number, or 38 * 2^-24 */
    static arrays a;
    for (size_t f = 0; f < LENGTH(formats); f++) {
        clear(&a, 0, (case_formats){formats[f], formats[f], FOPT_F32}, 400); /* each of 20 with each of 20 */
        a.group.lr = 1;
        describe_run(&a, "subnormals, lr 1");
        for (uint32_t i = 0; i < a.count; i++) {
            numbers_set(formats[f], a.param, i, i / 20 * 2);
            numbers_set(formats[f], a.grad, i, i % 20 << shifts[f]);
        }
        update(&a, 1);
        for (uint32_t i = 0; i < a.count; i++) {
            const double g = numbers_value(formats[f], i % 20 << shifts[f]);
            const double want = numbers_value(formats[f], i / 20 * 2) - (g < (double)FLT_MIN ? 0 : g);
            cr_assert_eq(param_of(&a, i), want, "%s element=%u: got %a want %a", what_runs(), i, param_of(&a, i), want);
        }
    }
}

/* ---- zero ---------------------------------------------------------------------------------------------------- */

/* A zero that is subtracted has no sign, so that a parameter keeps its own. */
Test(special, signs_of_zeros)
{
    static const double p[] = {0, 0, -0.0, -0.0}, g[] = {0, -0.0, 0, -0.0}, want[] = {0, 0, -0.0, -0.0};
    static arrays a;
    clear(&a, 0, case_formats_at(0), LENGTH(p));
    describe_run(&a, "zeros");
    for (size_t i = 0; i < LENGTH(p); i++) {
        set_value(FOPT_F32, a.param, i, p[i]);
        set_value(FOPT_F32, a.grad, i, g[i]);
    }
    update(&a, 1);
    for (size_t i = 0; i < LENGTH(p); i++)
        cr_assert(param_of(&a, i) == 0 && !signbit(param_of(&a, i)) == !signbit(want[i]), "%g - %g became %g", p[i],
                  g[i], param_of(&a, i));
}

/* With eps 0 an element whose moments are zero becomes NaN, and no other. Coupled decay is a gradient. */
Test(special, eps_zero)
{
    static arrays a;
    for (size_t index = 0; index < case_count(); index++) {
        clear(&a, index, case_formats_at(0), 70);
        if (a.group.eps == 0)
            continue;
        describe_run(&a, "eps=0");
        a.group.eps = 0;
        const bool moves = a.group.weight_decay > 0 && !(a.group.flags & FOPT_DECOUPLED_DECAY);
        for (size_t i = 0; i < a.count; i++) {
            set_value(FOPT_F32, a.param, i, 1);
            set_value(FOPT_F32, a.grad, i, (double)(i % 3));
        }
        update(&a, 1);
        for (size_t i = 0; i < a.count; i++)
            cr_assert_eq(isnan(param_of(&a, i)) != 0, i % 3 == 0 && !moves, "%s element=%zu: param is %a", what_runs(),
                         i, param_of(&a, i));
    }
}
