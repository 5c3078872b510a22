/*
 * Trajectories of bitsandbytes' 8-bit AdamW and momentum (golden/q8/generate_q8.py). Its codes and absmax are put into
 * an optimizer's state as they are, and so are read from it.
 *
 * From its state, one step must give its next: the parameter up to roundings, and up to lr * weight_decay times the
 * step, since it decays the parameter after the step and we the one before; the largest magnitudes, of which absmax is
 * a little more with us; and values that lie together. Their codes are not the same: ours are rounded by random bits,
 * and bitsandbytes' encoder on the CPU first rounds to a multiple of 2^-15.
 *
 * From its start, all steps must stay within what quantization explains. With m and v what bitsandbytes keeps after a
 * step, and dm and dv bounds of how far ours are from them: before they are stored the two differ by at most beta dm,
 * and storing moves ours by at most the gap between values there, and its by what it is seen to have been moved.
 * The step's difference is then at most that between the corners of (m +- dm, v +- dv), and the sum of these bounds the
 * parameter's.
 */
#include "../reference/quantized.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 400, TILES = 2, STEPS = 20, MOMENTS = 2 };

typedef struct moment {
    unsigned char codes[MOST];
    float absmax[TILES];
} moment;

typedef struct trajectory {
    fopt_group group;
    size_t count;
    fopt_state_kind kinds[MOMENTS]; /* of its moments */
    size_t moment_count;
    float param[STEPS + 1][MOST], grad[STEPS + 1][MOST];
    moment moments[STEPS + 1][MOMENTS];
} trajectory;

static trajectory t;

/* ---- reading ------------------------------------------------------------------------------------------------- */

static void expect_word(FILE *file, const char *want)
{
    char word[32];
    cr_assert_eq(fscanf(file, "%31s", word), 1);
    cr_assert_str_eq(word, want);
}

static double read_number(FILE *file, const char *name)
{
    double x;
    expect_word(file, name);
    cr_assert_eq(fscanf(file, "%la", &x), 1);
    return x;
}

static void read_floats(FILE *file, const char *name, float *to, size_t count)
{
    expect_word(file, name);
    for (size_t i = 0; i < count; i++) {
        unsigned bits;
        cr_assert_eq(fscanf(file, "%8x", &bits), 1);
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static void read_moment(FILE *file, const char *name, moment *to)
{
    expect_word(file, "codes");
    expect_word(file, name);
    for (size_t i = 0; i < t.count; i++) {
        unsigned code;
        cr_assert_eq(fscanf(file, "%2x", &code), 1);
        to->codes[i] = (unsigned char)code;
    }
    expect_word(file, "absmax");
    read_floats(file, name, to->absmax, (t.count + TILE - 1) / TILE);
}

static void read_trajectory(const char *path)
{
    char line[200], rule[16];
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    do
        cr_assert_not_null(fgets(line, sizeof line, file));
    while (line[0] == '#');
    memset(&t, 0, sizeof t);
    cr_assert_eq(sscanf(line, "rule %15s", rule), 1);
    const bool adamw = strcmp(rule, "adamw") == 0;
    expect_ok(fopt_group_init(&t.group, sizeof t.group, adamw ? FOPT_ADAMW : FOPT_SGD));
    t.group.lr = read_number(file, "lr");
    t.group.beta1 = read_number(file, "beta1");
    t.group.beta2 = read_number(file, "beta2");
    t.group.eps = read_number(file, "eps");
    t.group.weight_decay = read_number(file, "weight_decay");
    t.group.momentum = read_number(file, "momentum");
    t.count = (size_t)read_number(file, "elements");
    cr_assert(t.count <= MOST && read_number(file, "steps") == STEPS);
    t.kinds[0] = adamw ? FOPT_FIRST_MOMENT : FOPT_MOMENTUM_BUFFER;
    t.kinds[1] = FOPT_SECOND_MOMENT;
    t.moment_count = adamw ? 2 : 1;
    for (size_t k = 0; k < t.moment_count; k++)
        t.group.state_format[t.kinds[k]] = FOPT_Q8;
    read_floats(file, "param", t.param[0], t.count);
    for (size_t step = 1; step <= STEPS; step++) {
        read_floats(file, "grad", t.grad[step], t.count);
        read_floats(file, "param", t.param[step], t.count);
        for (size_t k = 0; k < t.moment_count; k++)
            read_moment(file, fopt_state_kind_name(t.group.rule, t.kinds[k]), &t.moments[step][k]);
    }
    memset(t.moments[0], 0, sizeof t.moments[0]);
    expect_word(file, "end");
    fclose(file);
    now_running("%s", path);
}

/* ---- an optimizer over one tensor ---------------------------------------------------------------------------- */

static float param[MOST], grad[MOST];

static fopt_optimizer *create(void)
{
    fopt_optimizer *optimizer;
    const fopt_tensor tensor = {.size = sizeof tensor, .param = param, .grad = grad, .count = t.count};
    expect_ok(fopt_create(NULL, &t.group, 1, &tensor, 1, &optimizer));
    return optimizer;
}

static fopt_array view_of(fopt_optimizer *optimizer, size_t k)
{
    fopt_array view = {.size = sizeof view};
    expect_ok(fopt_state(optimizer, 0, t.kinds[k], &view));
    cr_assert(view.format == FOPT_Q8 && view.count == t.count && view.bytes == t.count && view.absmax);
    return view;
}

static double value(size_t k, const moment *m, size_t i)
{
    return quantized_value(FOPT_Q8, moment_has_sign(t.kinds[k]), m->codes[i]) * (double)m->absmax[i / TILE];
}

/* Returns what bitsandbytes subtracted from a parameter that does not decay, to a rounding. */
static double step_of(double m, double v, size_t step)
{
    const fopt_group *g = &t.group;
    if (g->rule == FOPT_SGD)
        return g->lr * m;
    const double bc1 = 1 - pow(g->beta1, (double)step), bc2 = 1 - pow(g->beta2, (double)step);
    return g->lr / bc1 * m / (sqrt(v) / sqrt(bc2) + g->eps);
}

/* Returns how far what is stored may be from x, which may be as far as `reach` from zero, in a tile with at most this
 * absmax. */
static double most_moved(bool has_sign, double reach, double absmax)
{
    const unsigned code = quantized_nearest(FOPT_Q8, has_sign, fmin(reach / absmax, 1));
    const double below =
        code > 0 ? quantized_value(FOPT_Q8, has_sign, code) - quantized_value(FOPT_Q8, has_sign, code - 1) : 0;
    const double above =
        code < 255 ? quantized_value(FOPT_Q8, has_sign, code + 1) - quantized_value(FOPT_Q8, has_sign, code) : 0;
    return fmax(below, above) * absmax;
}

/* ---- one step from its state --------------------------------------------------------------------------------- */

static void one_step(size_t step)
{
    memcpy(param, t.param[step - 1], sizeof param);
    memcpy(grad, t.grad[step], sizeof grad);
    fopt_optimizer *optimizer = create();
    for (size_t k = 0; k < t.moment_count; k++) {
        const fopt_array view = view_of(optimizer, k);
        memcpy(view.data, t.moments[step - 1][k].codes, t.count);
        memcpy(view.absmax, t.moments[step - 1][k].absmax, sizeof t.moments[0][0].absmax);
    }
    expect_ok(fopt_set_step(optimizer, 0, (int64_t)step - 1, NULL));
    expect_ok(fopt_step(optimizer, NULL, NULL));
    for (size_t i = 0; i < t.count; i++) {
        const double p = (double)t.param[step][i], change = fabs(p - (double)t.param[step - 1][i]);
        const double bound = 2 * (double)FLT_EPSILON * fabs(p) + (1e-5 + t.group.lr * t.group.weight_decay) * change;
        cr_assert_leq(fabs((double)param[i] - p), bound, "%s step=%zu element=%zu: param is %a, bitsandbytes' %a",
                      what_runs(), step, i, (double)param[i], p);
    }
    for (size_t k = 0; k < t.moment_count; k++) {
        const fopt_array view = view_of(optimizer, k);
        const moment *want = &t.moments[step][k];
        for (size_t i = 0; i < t.count; i++) {
            const double absmax = 1.01 * (double)want->absmax[i / TILE], wanted = value(k, want, i);
            const double got = quantized_get(&view, t.kinds[k], i), reach = fmax(fabs(got), fabs(wanted));
            const double bound = 2 * most_moved(moment_has_sign(t.kinds[k]), reach, absmax) + 0x1p-15 * absmax;
            cr_assert_leq(fabs(got - wanted), bound, "%s step=%zu element=%zu: %s is %a, bitsandbytes' %a", what_runs(),
                          step, i, fopt_state_kind_name(t.group.rule, t.kinds[k]), got, wanted);
        }
        for (size_t tile = 0; tile < TILES; tile++) {
            const double largest = (double)want->absmax[tile];
            const double absmax = quantized_absmax(FOPT_Q8, moment_has_sign(t.kinds[k]), largest);
            cr_assert_leq(fabs((double)view.absmax[tile] - absmax), 1e-6 * absmax, "%s step=%zu", what_runs(), step);
        }
    }
    fopt_destroy(optimizer);
}

static void each_step(const char *path)
{
    read_trajectory(path);
    for (size_t step = 1; step <= STEPS; step++)
        one_step(step);
}

Test(q8_golden, each_step_of_adamw)
{
    each_step(GOLDEN_DIR "/q8/q8_adamw.txt");
}

Test(q8_golden, each_step_of_momentum)
{
    each_step(GOLDEN_DIR "/q8/q8_momentum.txt");
}

/* ---- all steps from its start -------------------------------------------------------------------------------- */

typedef struct bounds {
    double moment[MOMENTS][MOST], param[MOST];
} bounds;

static double weight(size_t k)
{
    return t.group.rule == FOPT_SGD ? t.group.momentum : k == 0 ? t.group.beta1 : t.group.beta2;
}

/* Returns what is added to the old moment times its weight. */
static double addend(size_t k, size_t step, size_t i)
{
    const double g = (double)t.grad[step][i];
    if (t.group.rule == FOPT_SGD)
        return g;
    return k == 0 ? (1 - t.group.beta1) * g : (1 - t.group.beta2) * g * g;
}

static void widen(bounds *b, size_t step, size_t i, double widest[MOMENTS])
{
    double exact[MOMENTS] = {0}, reach[MOMENTS] = {0};
    for (size_t k = 0; k < t.moment_count; k++) {
        exact[k] = weight(k) * value(k, &t.moments[step - 1][k], i) + addend(k, step, i);
        reach[k] = weight(k) * b->moment[k][i] + 1e-6 * fabs(exact[k]);
    }
    const double least = fmax(exact[1] - reach[1], addend(1, step, i)), most = exact[1] + reach[1];
    const double base = step_of(exact[0], exact[1], step);
    double furthest = 0;
    for (int corner = 0; corner < 4; corner++)
        furthest = fmax(furthest, fabs(step_of(exact[0] + (corner % 2 == 0 ? reach[0] : -reach[0]),
                                               corner / 2 == 0 ? least : most, step) -
                                       base));
    /* Decay shrinks the difference that there was; what it does to the step itself is of second order. */
    b->param[i] += furthest + 2 * (double)FLT_EPSILON * fabs((double)t.param[step][i]) +
                   (1e-5 + t.group.lr * t.group.weight_decay) * (fabs(base) + furthest);
    for (size_t k = 0; k < t.moment_count; k++) {
        const bool has_sign = moment_has_sign(t.kinds[k]);
        const double absmax = 1.01 * (double)t.moments[step][k].absmax[i / TILE] + widest[k];
        b->moment[k][i] = reach[k] + fabs(value(k, &t.moments[step][k], i) - exact[k]) +
                          most_moved(has_sign, fabs(exact[k]) + reach[k], absmax);
    }
}

static void all_steps(const char *path)
{
    static bounds b;
    memset(&b, 0, sizeof b);
    read_trajectory(path);
    memcpy(param, t.param[0], sizeof param);
    fopt_optimizer *optimizer = create();
    double sum = 0;
    for (size_t step = 1; step <= STEPS; step++) {
        memcpy(grad, t.grad[step], sizeof grad);
        expect_ok(fopt_step(optimizer, NULL, NULL));
        double widest[MOMENTS] = {0}; /* the absmax of a tile differs by no more than one of its elements */
        for (size_t k = 0; k < t.moment_count; k++)
            for (size_t i = 0; i < t.count; i++)
                widest[k] = fmax(widest[k], weight(k) * b.moment[k][i]);
        for (size_t i = 0; i < t.count; i++) {
            widen(&b, step, i, widest);
            const double difference = fabs((double)param[i] - (double)t.param[step][i]);
            cr_assert_leq(difference, b.param[i], "%s step=%zu element=%zu: the parameters differ by %g, of at most %g",
                          what_runs(), step, i, difference, b.param[i]);
            sum += difference;
        }
    }
    /* The bound says something: of most parameters it is less than half of the way that they may go. (It is not where
     * quantization cannot tell the second moment from zero.) */
    size_t narrow = 0;
    for (size_t i = 0; i < t.count; i++)
        narrow += b.param[i] < t.group.lr * STEPS / 2;
    const double mean = sum / (double)(STEPS * t.count);
    cr_log_info("%s: the parameters differ by %g in the mean; %zu bounds of %zu are narrow", what_runs(), mean, narrow,
                t.count);
    cr_expect_gt(narrow, t.count / 2, "%s: only %zu bounds of %zu are narrow", what_runs(), narrow, t.count);
    cr_expect_lt(mean, 0.01 * t.group.lr * STEPS, "%s: the mean difference is %g", what_runs(), mean);
    fopt_destroy(optimizer);
}

Test(q8_golden, all_steps_of_adamw)
{
    all_steps(GOLDEN_DIR "/q8/q8_adamw.txt");
}

Test(q8_golden, all_steps_of_momentum)
{
    all_steps(GOLDEN_DIR "/q8/q8_momentum.txt");
}
