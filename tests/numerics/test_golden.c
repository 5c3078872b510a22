/*
 * What torch.optim did over many steps, against the oracle and against the library.
 *
 * To add a case: add a line to CASES in golden/generate.py and run it; every file of GOLDEN_DIR is tested.
 *
 * How far two arithmetics may drift apart: each step adds a few roundings, at the largest magnitude that the step met
 * (oracle_result.magnitude). So their distance is counted in ULPs of the sum of these magnitudes over the steps so far,
 * its "reach", in double precision for the float64 runs and in single for the float32 runs. In theory the errors that
 * moments carry into later updates can exceed that; in these cases they do not. The oracle is at most 1.84 such ULPs
 * off the float64 runs and 1.59 off the float32 runs, the library 1.98 off the float32 runs; a hyperparameter wrong by
 * one in a thousand shows as 1,391 or more (test `tightness`).
 */
#include "../reference/oracle.h"
#include "buffers.h"
#include "golden.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ULPS_ALLOWED 3.0

static const double precision[GOLDEN_RUNS] = {[GOLDEN_F32] = (double)FLT_EPSILON, [GOLDEN_F64] = DBL_EPSILON};
static const char *const run_name[GOLDEN_RUNS] = {[GOLDEN_F32] = "float32", [GOLDEN_F64] = "float64"};

/* ---- the files ----------------------------------------------------------------------------------------------- */

#define FILES_MAX 128

typedef struct golden_file {
    char name[64];
} golden_file;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const golden_file *)a)->name, ((const golden_file *)b)->name);
}

static size_t list_files(golden_file files[FILES_MAX])
{
    size_t count = 0;
    DIR *directory = opendir(GOLDEN_DIR);
    for (struct dirent *entry; directory && count < FILES_MAX && (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && length < sizeof files->name && strcmp(entry->d_name + length - 4, ".txt") == 0)
            memcpy(files[count++].name, entry->d_name, length + 1);
    }
    if (directory)
        closedir(directory);
    qsort(files, count, sizeof *files, compare_names);
    return count;
}

static void free_files(struct criterion_test_params *params)
{
    cr_free(params->params);
}

static struct criterion_test_params each_file(void)
{
    golden_file *files = cr_malloc(FILES_MAX * sizeof *files); /* Criterion's memory: tests run in other processes */
    return cr_make_param_array(golden_file, files, list_files(files), free_files);
}

static const golden_case *read_file(const golden_file *file)
{
    static golden_case golden;
    char path[1024], error[GOLDEN_ERROR_SIZE];
    snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, file->name);
    cr_assert(golden_read(path, &golden, error), "%s", error);
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        cr_assert_eq(golden.has_state[kind], oracle_keeps(&golden.group, (fopt_state_kind)kind), "%s: state %d", path,
                     kind);
    return &golden;
}

/* Parameterized tests over no files would pass. */
Test(golden, files_exist)
{
    static golden_file files[FILES_MAX];
    size_t count = list_files(files);
    cr_assert(count >= 26 && count < FILES_MAX, "%zu files in %s", count, GOLDEN_DIR);
}

/* ---- the oracle over many steps ------------------------------------------------------------------------------ */

typedef struct oracle_track {
    oracle_element now, reach;
} oracle_track;

static fopt_group group_at(const fopt_group *group, const golden_step *step)
{
    fopt_group result = *group;
    result.lr = step->lr;
    result.weight_decay = step->weight_decay;
    return result;
}

static void advance(oracle_track *track, const fopt_group *group, int64_t step, double gradient)
{
    oracle_result result = oracle_step(group, step, track->now, gradient);
    track->now = result.after;
    track->reach.param += result.magnitude.param;
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++)
        track->reach.state[kind] += result.magnitude.state[kind];
}

static double ulps_off(double got, double want, double reach, golden_run run)
{
    if (got == want)
        return 0;
    double ulps = fabs(got - want) / (reach * precision[run]);
    return isnan(ulps) ? INFINITY : ulps;
}

/* Returns the largest distance of the oracle with this group from a run, parameters and final states; says where it
 * is. */
static double oracle_distance(const golden_case *golden, const fopt_group *group, golden_run run, char where[128])
{
    double worst = 0;
    for (int element = 0; element < golden->elements; element++) {
        oracle_track track = {.now.param = golden->start[element]};
        for (int t = 1; t <= golden->steps; t++) {
            const golden_step *step = &golden->step[t - 1];
            fopt_group now = group_at(group, step);
            advance(&track, &now, t, step->grad[element]);
            if (!step->recorded)
                continue;
            double ulps = ulps_off(track.now.param, step->param[run][element], track.reach.param, run);
            if (ulps > worst)
                snprintf(where, 128, "element=%d step=%d: oracle %a torch %a", element, t, track.now.param,
                         step->param[run][element]);
            worst = fmax(worst, ulps);
        }
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            double want = golden->state[kind][run][element];
            double ulps = ulps_off(track.now.state[kind], want, track.reach.state[kind], run);
            if (ulps > worst)
                snprintf(where, 128, "element=%d state=%d: oracle %a torch %a", element, kind, track.now.state[kind],
                         want);
            worst = fmax(worst, ulps);
        }
    }
    return worst;
}

ParameterizedTestParameters(golden, oracle)
{
    return each_file();
}

ParameterizedTest(golden_file *file, golden, oracle)
{
    const golden_case *golden = read_file(file);
    for (golden_run run = GOLDEN_F32; run <= GOLDEN_F64; run++) {
        char where[128] = "";
        double ulps = oracle_distance(golden, &golden->group, run, where);
        cr_expect(ulps <= ULPS_ALLOWED, "%s %s %s (%.3g ulp, allowed %g)", file->name, run_name[run], where, ulps,
                  ULPS_ALLOWED);
    }
}

/* The bound is tight enough that a hyperparameter wrong by one in a thousand, or a flag forgotten, breaks it. */
ParameterizedTestParameters(golden, tightness)
{
    return each_file();
}

ParameterizedTest(golden_file *file, golden, tightness)
{
    const golden_case *golden = read_file(file);
    fopt_group wrong = golden->group;
    double *const hyperparameters[] = {&wrong.beta1,    &wrong.beta2,     &wrong.eps,
                                       &wrong.momentum, &wrong.dampening, &wrong.alpha};
    char where[128];
    for (size_t i = 0; i < sizeof hyperparameters / sizeof *hyperparameters; i++) {
        double right = *hyperparameters[i];
        *hyperparameters[i] = right * 0.999;
        double ulps = oracle_distance(golden, &wrong, GOLDEN_F32, where);
        cr_expect(right == 0 || ulps > 100 * ULPS_ALLOWED, "%s: hyperparameter %zu wrong, but only %.3g ulp off",
                  file->name, i, ulps);
        *hyperparameters[i] = right;
    }
    static const unsigned flags[] = {FOPT_MAXIMIZE, FOPT_NESTEROV, FOPT_CENTERED, FOPT_AMSGRAD};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        wrong.flags = golden->group.flags & ~flags[i];
        double ulps = oracle_distance(golden, &wrong, GOLDEN_F32, where);
        cr_expect(wrong.flags == golden->group.flags || ulps > 100 * ULPS_ALLOWED,
                  "%s: without flag 0x%x, but only %.3g ulp off", file->name, flags[i], ulps);
    }
}

/* ---- the library --------------------------------------------------------------------------------------------- */

typedef struct case_arrays {
    float param[GOLDEN_ELEMENTS_MAX], grad[GOLDEN_ELEMENTS_MAX], state[FOPT_STATE_KINDS][GOLDEN_ELEMENTS_MAX];
} case_arrays;

static fopt_tensor describe(const golden_case *golden, case_arrays *arrays)
{
    for (int i = 0; i < golden->elements; i++)
        arrays->param[i] = (float)golden->start[i];
    return (fopt_tensor){.size = sizeof(fopt_tensor),
                         .name = "golden",
                         .param = arrays->param,
                         .grad = arrays->grad,
                         .count = (size_t)golden->elements};
}

static void set_gradients(case_arrays *arrays, const golden_case *golden, const golden_step *step)
{
    for (int i = 0; i < golden->elements; i++)
        arrays->grad[i] = (float)step->grad[i];
}

static void expect_near(const golden_file *file, const golden_case *golden, const char *what, int t, const float *got,
                        const golden_values want[GOLDEN_RUNS], const double reach[GOLDEN_ELEMENTS_MAX])
{
    for (int run = 0; run < GOLDEN_RUNS; run++)
        for (int i = 0; i < golden->elements; i++) {
            double ulps = ulps_off((double)got[i], want[run][i], reach[i], GOLDEN_F32);
            cr_expect(ulps <= ULPS_ALLOWED, "%s %s element=%d step=%d: got %a, torch in %s %a (%.3g ulp, allowed %g)",
                      file->name, what, i, t, (double)got[i], run_name[run], want[run][i], ulps, ULPS_ALLOWED);
        }
}

/* Lists the reach of the parameter (kind < 0) or of a state, by element. */
static void list_reach(const golden_case *golden, const oracle_track *tracks, int kind, golden_values reach)
{
    for (int i = 0; i < golden->elements; i++)
        reach[i] = kind < 0 ? tracks[i].reach.param : tracks[i].reach.state[kind];
}

ParameterizedTestParameters(golden, library)
{
    return each_file();
}

/* Through an optimizer, and at the same time through fopt_update(), which must give the same bits. */
ParameterizedTest(golden_file *file, golden, library)
{
    const golden_case *golden = read_file(file);
    case_arrays stepped = {0}, updated = {0};
    fopt_tensor stepped_tensor = describe(golden, &stepped), updated_tensor = describe(golden, &updated);
    fopt_group group = group_at(&golden->group, &golden->step[0]);
    fopt_optimizer *optimizer = NULL;
    expect_ok(fopt_create(NULL, &group, 1, &stepped_tensor, 1, &optimizer));

    oracle_track tracks[GOLDEN_ELEMENTS_MAX] = {0};
    for (int i = 0; i < golden->elements; i++)
        tracks[i].now.param = golden->start[i];
    golden_values reach;

    for (int t = 1; t <= golden->steps; t++) {
        const golden_step *step = &golden->step[t - 1];
        group = group_at(&golden->group, step);
        set_gradients(&stepped, golden, step);
        set_gradients(&updated, golden, step);
        expect_ok(fopt_set_group(optimizer, 0, &group, NULL));
        expect_ok(fopt_step(optimizer, NULL, NULL));
        update_tensor(NULL, &group, &updated_tensor, updated.state, sizeof *updated.state, t);
        cr_assert_arr_eq(stepped.param, updated.param, sizeof stepped.param,
                         "%s step=%d: fopt_update() and fopt_step() differ", file->name, t);

        for (int i = 0; i < golden->elements; i++)
            advance(&tracks[i], &group, t, step->grad[i]);
        list_reach(golden, tracks, -1, reach);
        if (step->recorded)
            expect_near(file, golden, "param", t, stepped.param, step->param, reach);
    }

    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        fopt_array view = {.size = sizeof view};
        expect_ok(fopt_state(optimizer, 0, (fopt_state_kind)kind, &view));
        const bool keeps = oracle_keeps(&group, (fopt_state_kind)kind);
        cr_assert_eq(view.count, keeps ? stepped_tensor.count : 0, "%s state=%d: %zu elements", file->name, kind,
                     view.count);
        if (!view.data)
            continue;
        cr_assert_arr_eq(view.data, updated.state[kind], view.bytes,
                         "%s state=%d: fopt_update() and fopt_step() differ", file->name, kind);
        list_reach(golden, tracks, kind, reach);
        expect_near(file, golden, fopt_state_kind_name(group.rule, (fopt_state_kind)kind), golden->steps, view.data,
                    (const golden_values *)golden->state[kind], reach);
    }
    fopt_destroy(optimizer);
}

/* ---- the parser ---------------------------------------------------------------------------------------------- */

static bool read_text(const char *text, size_t length, char error[GOLDEN_ERROR_SIZE])
{
    static golden_case golden;
    char path[] = "/tmp/golden_XXXXXX";
    int descriptor = mkstemp(path);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    cr_assert(file && fwrite(text, 1, length, file) == length && fclose(file) == 0, "cannot write %s", path);
    bool ok = golden_read(path, &golden, error);
    remove(path);
    return ok;
}

/* A file that lacks any one line, or has any one line twice, is refused. */
Test(golden, parser_is_strict)
{
    static char text[65536], damaged[2 * sizeof text];
    char error[GOLDEN_ERROR_SIZE];
    FILE *file = fopen(GOLDEN_DIR "/adam_all.txt", "r");
    cr_assert(file, "cannot open adam_all.txt");
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    cr_assert(length < sizeof text && read_text(text, length, error), "the whole file was refused: %s", error);

    int line = 1;
    for (char *begin = text, *end; begin < text + length; begin = end, line++) {
        end = strchr(begin, '\n') + 1;
        size_t before = (size_t)(begin - text), after = length - (size_t)(end - text);
        if (*begin == '#')
            continue;
        memcpy(damaged, text, before);
        memcpy(damaged + before, end, after);
        cr_expect(!read_text(damaged, before + after, error), "accepted without line %d", line);
        memcpy(damaged, text, length - after);
        memcpy(damaged + length - after, begin, length - before);
        cr_expect(!read_text(damaged, 2 * length - before - after, error), "accepted with line %d twice", line);
    }
}
