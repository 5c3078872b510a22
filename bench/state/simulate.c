/* Simulates training: for each pair of formats an optimizer of the library, and the exact one. */
#include "state/simulate.h"
#include "program/options.h"
#include "reference/numbers.h"
#include "reference/quantized.h"
#include "state/figures.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- formats ------------------------------------------------------------------------------------------------- */

static fopt_group make_group(state_formats formats)
{
    fopt_group group;
    fopt_group_init(&group, sizeof group, FOPT_ADAM);
    group.lr = 1; /* a parameter then moves by the update itself */
    group.state_format[FOPT_FIRST_MOMENT] = formats.first;
    group.state_format[FOPT_SECOND_MOMENT] = formats.second;
    return group;
}

/* Returns the bytes of state per parameter; NaN if the library does not store moments so. */
static double bytes_of(state_formats formats)
{
    const fopt_group group = make_group(formats);
    const fopt_tensor tensor = {.size = sizeof tensor, .count = GRADIENTS_MOST};
    fopt_sizes sizes = {.size = sizeof sizes};
    const fopt_status status = fopt_query_sizes(NULL, &group, 1, &tensor, 1, &sizes);
    return status == FOPT_OK ? (double)sizes.state_bytes / GRADIENTS_MOST : NAN;
}

static bool is_chosen(state_formats formats)
{
    if (isnan(bytes_of(formats)))
        return false;
    const bool mixed = is_quantized(formats.first) != is_quantized(formats.second);
    return formats.first == formats.second || (mixed && formats.first != FOPT_F32 && formats.second != FOPT_F32);
}

size_t state_list_formats(state_formats list[STATE_MOST_FORMATS])
{
    size_t count = 0;
    for (int first = 0; fopt_format_name((fopt_format)first); first++)
        for (int second = 0; fopt_format_name((fopt_format)second) && count < STATE_MOST_FORMATS; second++) {
            list[count] = (state_formats){(fopt_format)first, (fopt_format)second};
            count += is_chosen(list[count]);
        }
    return count;
}

/* ---- how long ------------------------------------------------------------------------------------------------ */

size_t state_steps(const state_setting *setting, gradients_kind kind)
{
    return kind == GRADIENTS_STOP ? GRADIENTS_FEW + 5 * setting->steps : setting->steps;
}

size_t state_elements(const state_setting *setting, gradients_kind kind)
{
    return kind == GRADIENTS_STOP ? setting->elements / 16 : setting->elements;
}

size_t state_unmeasured(const state_setting *setting)
{
    return setting->steps < 20000 ? setting->steps / 10 : 2000;
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

/* A pair of formats in a run: its optimizer of one tensor. */
typedef struct contender {
    fopt_optimizer *optimizer;
    float *param;
    figures sums;
} contender;

typedef struct run {
    const state_setting *setting;
    const state_case *what;
    size_t elements, steps;
    gradients source;
    float *gradient;
    exact_adam exact;
    double *updates, *moved; /* of the exact one: in a step, and in all */
    contender contenders[STATE_MOST_FORMATS];
} run;

static fopt_status begin_contender(const run *r, state_formats formats, contender *c)
{
    const fopt_config config = {.size = sizeof config, .seed = r->setting->seed, .threads = 1};
    fopt_group group = make_group(formats);
    group.beta1 = r->what->beta1;
    group.beta2 = r->what->beta2;
    const fopt_tensor tensor = {.size = sizeof tensor, .param = c->param, .grad = r->gradient, .count = r->elements};
    return fopt_create(&config, &group, 1, &tensor, 1, &c->optimizer);
}

/* Returns NULL, or what went wrong; the run is to be ended then too. */
static const char *begin(run *r)
{
    const size_t n = r->elements, formats = r->setting->formats_count;
    const fopt_group group = make_group((state_formats){FOPT_F32, FOPT_F32});
    r->exact =
        (exact_adam){r->what->beta1, r->what->beta2, group.eps, calloc(n, sizeof(double)), calloc(n, sizeof(double))};
    r->gradient = calloc(n, sizeof *r->gradient);
    r->updates = calloc(n, sizeof *r->updates);
    r->moved = calloc(n, sizeof *r->moved);
    if (!gradients_new(r->setting->pool, r->what->kind, n, r->steps, state_unmeasured(r->setting) / 2, &r->source) ||
        !r->exact.m || !r->exact.v || !r->gradient || !r->updates || !r->moved)
        return "out of memory";
    for (size_t i = 0; i < formats; i++) {
        contender *c = &r->contenders[i];
        c->param = calloc(n, sizeof *c->param);
        if (!c->param)
            return "out of memory";
        if (begin_contender(r, r->setting->formats[i], c) != FOPT_OK)
            return fopt_last_error();
    }
    return NULL;
}

static void end(run *r)
{
    for (size_t i = 0; i < r->setting->formats_count; i++) {
        fopt_destroy(r->contenders[i].optimizer);
        free(r->contenders[i].param);
    }
    gradients_free(&r->source);
    free(r->gradient);
    free(r->exact.m);
    free(r->exact.v);
    free(r->updates);
    free(r->moved);
}

/* Makes step t of all. Returns whether it could. */
static bool step(run *r, size_t t, bool measured)
{
    gradients_next(&r->source, t, r->gradient);
    exact_step(&r->exact, r->gradient, r->elements);
    if (measured)
        exact_updates(&r->exact, t, r->elements, r->updates);
    for (size_t i = 0; i < r->setting->formats_count; i++) {
        contender *c = &r->contenders[i];
        if (measured && r->what->kind != GRADIENTS_STOP)
            memset(c->param, 0, r->elements * sizeof *c->param);
        if (fopt_step(c->optimizer, NULL, NULL) != FOPT_OK)
            return false;
        if (measured && r->what->kind != GRADIENTS_STOP)
            figures_add(&c->sums, c->param, r->updates, r->elements);
    }
    return true;
}

/* Makes all steps, and measures some: those after the first ones, or all that have no gradients. */
static bool step_all(run *r)
{
    const bool stops = r->what->kind == GRADIENTS_STOP;
    const size_t unmeasured = stops ? GRADIENTS_FEW : state_unmeasured(r->setting);
    for (size_t t = 1; t <= r->steps; t++) {
        const bool measured = t > unmeasured && (stops || t % STATE_EVERY == 0);
        if (!step(r, t, measured))
            return false;
        if (stops && measured)
            for (size_t i = 0; i < r->elements; i++)
                r->moved[i] -= r->updates[i];
        if (stops && t == unmeasured)
            for (size_t i = 0; i < r->setting->formats_count; i++)
                memset(r->contenders[i].param, 0, r->elements * sizeof(float));
    }
    return true;
}

/* ---- what came of it ----------------------------------------------------------------------------------------- */

/* Returns the sum of the stored second moments by that of the exact ones. */
static double second_moments(const run *r, const contender *c)
{
    fopt_array view = {.size = sizeof view};
    if (fopt_state(c->optimizer, 0, FOPT_SECOND_MOMENT, &view) != FOPT_OK)
        return NAN;
    double stored = 0, exact = 0;
    for (size_t i = 0; i < r->elements; i++) {
        stored += is_quantized(view.format) ? quantized_get(&view, FOPT_SECOND_MOMENT, i)
                                            : numbers_value(view.format, numbers_get(view.format, view.data, i));
        exact += r->exact.v[i];
    }
    return stored / exact;
}

/* Returns how far the parameters moved beside the neighbours that dominate, by how far they would have exactly. */
static double movement(const run *r, const contender *c)
{
    double moved = 0, exact = 0;
    for (size_t i = 0; i < r->elements; i++) {
        if (i % GRADIENTS_NEIGHBOURS == 0)
            continue;
        moved += fabs((double)c->param[i]);
        exact += fabs(r->moved[i]);
    }
    return moved / exact;
}

static void write_row(const run *r, size_t index, state_row *row)
{
    const contender *c = &r->contenders[index];
    const state_formats formats = r->setting->formats[index];
    *row = (state_row){*r->what, formats, bytes_of(formats), NAN, NAN, NAN, NAN, NAN};
    if (r->what->kind == GRADIENTS_STOP) {
        row->moved = movement(r, c);
        return;
    }
    row->error = figures_error(&c->sums);
    row->gain = figures_gain(&c->sums);
    row->worst = figures_worst(&c->sums);
    row->second = second_moments(r, c);
}

bool state_simulate(const char *command, const state_setting *setting, const state_case *what, state_row *rows)
{
    run r = {.setting = setting,
             .what = what,
             .elements = state_elements(setting, what->kind),
             .steps = state_steps(setting, what->kind)};
    const char *wrong = begin(&r);
    if (!wrong && !step_all(&r))
        wrong = fopt_last_error();
    for (size_t i = 0; i < setting->formats_count && !wrong; i++)
        write_row(&r, i, &rows[i]);
    end(&r);
    if (wrong)
        complain(command, "%s: %s", gradients_names[what->kind], wrong);
    return !wrong;
}
