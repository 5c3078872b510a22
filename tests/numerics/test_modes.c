/*
 * The caller's floating-point modes are neither used nor changed, in the calling thread, OpenMP's workers and the
 * caller's own threads: a program linked with -ffast-math runs with flush-to-zero on.
 */
#include "../api/callers_threads.h"
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#define COUNT   (200 * TILE + 9) /* work enough for all threads */
#define THREADS 3

/* ---- the modes ----------------------------------------------------------------------------------------------- */

/* Rounding as of <fenv.h>; with SSE, more bits of its control register. */
typedef struct modes {
    const char *name;
    int rounding;
    unsigned more;
} modes;

#define FLUSH     0x8000u /* results that are subnormal */
#define ZERO      0x0040u /* operands that are subnormal */
#define NO_MASKS  0x1f80u /* exceptions trap: these bits are cleared */
#define MORE_BITS (FLUSH | ZERO | NO_MASKS)

static const modes all_modes[] = {
    {"default", FE_TONEAREST, NO_MASKS},
    {"upward", FE_UPWARD, NO_MASKS},
    {"downward", FE_DOWNWARD, NO_MASKS},
    {"toward zero", FE_TOWARDZERO, NO_MASKS},
#ifdef __SSE2__
    {"flush to zero", FE_TONEAREST, NO_MASKS | FLUSH},
    {"denormals are zero", FE_TONEAREST, NO_MASKS | ZERO},
    {"both, upward", FE_UPWARD, NO_MASKS | FLUSH | ZERO},
    {"trapping", FE_TONEAREST, 0},
#endif
};

static void set_modes(modes m)
{
    fesetround(m.rounding);
#ifdef __SSE2__
    _mm_setcsr((_mm_getcsr() & ~(MORE_BITS | 0x3fu)) | m.more); /* no exceptions pending */
#endif
}

static bool has_modes(modes m)
{
#ifdef __SSE2__
    if ((_mm_getcsr() & MORE_BITS) != m.more)
        return false;
#endif
    return fegetround() == m.rounding;
}

/* ---- the work ------------------------------------------------------------------------------------------------ */

static unsigned char start[4 * COUNT], grad[4 * COUNT];
typedef struct outcome {
    _Alignas(64) unsigned char param[4 * COUNT], state[FOPT_STATE_KINDS][4 * COUNT];
} outcome;
static outcome want, got;

/* Makes three updates into `got`. Nothing here computes with floats: only the library does. */
static void run(const fopt_group *group, case_formats formats, const fopt_config *config)
{
    memset(&got, 0, sizeof got);
    memcpy(got.param, start, sizeof start);
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = got.param,
                                .grad = grad,
                                .count = COUNT,
                                .param_format = formats.param,
                                .grad_format = formats.grad};
    for (int64_t step = 1; step <= 3; step++)
        update_tensor(config, group, &tensor, got.state, sizeof *got.state, step);
}

/* Calls `how_to_run` under each of the modes and compares what it left with what the default modes leave. */
static void compare_under_all(void (*how_to_run)(modes m, const fopt_group *group, case_formats formats, fopt_isa isa))
{
    for (size_t index = 0; index < case_count(); index += 9) {
        char name[CASE_NAME_SIZE];
        const case_formats formats = case_formats_at(index * 5 % case_formats_count());
        fopt_group group = case_group(index);
        const fopt_config plain = {.size = sizeof plain, .threads = 1};
        case_set_state(&group, formats.state);
        case_name(&group, name);
        fill_random(formats.param, start, COUNT, index, 4);
        fill_random(formats.grad, grad, COUNT, index + 1, 4);
        run(&group, formats, &plain);
        want = got;
        for (size_t i = 0; i < isa_count(); i++)
            for (size_t m = 0; m < LENGTH(all_modes); m++) {
                const fopt_isa isa = isa_at(i);
                now_running("%s %s/%s/%s %s, modes %s", name, fopt_format_name(formats.param),
                            fopt_format_name(formats.grad), fopt_format_name(formats.state), fopt_isa_name(isa),
                            all_modes[m].name);
                how_to_run(all_modes[m], &group, formats, isa);
                set_modes(all_modes[0]);
                expect_same("param", formats.param, got.param, want.param, COUNT);
                for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
                    expect_same_moments("state", moment_array(group.state_format[kind], got.state[kind], COUNT),
                                        moment_array(group.state_format[kind], want.state[kind], COUNT));
            }
    }
}

/* ---- the calling thread -------------------------------------------------------------------------------------- */

static void run_alone(modes m, const fopt_group *group, case_formats formats, fopt_isa isa)
{
    const fopt_config config = {.size = sizeof config, .isa = isa, .threads = 1};
    set_modes(m);
    run(group, formats, &config);
    const bool kept = has_modes(m);
    set_modes(all_modes[0]);
    cr_assert(kept, "%s: the modes were changed", what_runs());
}

Test(modes, calling_thread)
{
    compare_under_all(run_alone);
}

/* ---- OpenMP's workers ---------------------------------------------------------------------------------------- */

#ifdef _OPENMP
static void run_on_openmp(modes m, const fopt_group *group, case_formats formats, fopt_isa isa)
{
    const fopt_config config = {.size = sizeof config, .isa = isa, .threads = THREADS};
    int kept = 0;
#pragma omp parallel num_threads(THREADS)
    set_modes(m);
    set_modes(m); /* libomp restores those of the calling thread, and gives them to the workers of the next region */
    run(group, formats, &config);
#pragma omp parallel num_threads(THREADS) reduction(+ : kept)
    {
        kept += has_modes(m);
        set_modes(all_modes[0]);
    }
    cr_assert_eq(kept, THREADS, "%s: the modes were changed in %d threads", what_runs(), THREADS - kept);
}
#endif

Test(modes, openmp_workers)
{
#ifdef _OPENMP
    omp_set_dynamic(0);
    compare_under_all(run_on_openmp);
#else
    cr_skip_test("this test was compiled without OpenMP");
#endif
}

/* ---- the caller's own threads -------------------------------------------------------------------------------- */

typedef struct share {
    modes modes;
    bool kept[OWN_THREADS];
    size_t count;
    call_function *function;
    void *argument;
} share;

static void run_share(void *context, size_t thread)
{
    share *s = context;
    set_modes(s->modes);
    for (size_t i = thread; i < s->count; i += OWN_THREADS)
        s->function(s->argument, i);
    s->kept[thread] = has_modes(s->modes);
}

/* Makes the calls under the modes that the context holds. Returns 2 if they were changed, 3 if there is a thread
 * without work. */
static int in_modes(void *context, size_t count, call_function *function, void *argument)
{
    share s = {.modes = *(const modes *)context, .count = count, .function = function, .argument = argument};
    int result = count < OWN_THREADS ? 3 : on_own_threads(NULL, OWN_THREADS, run_share, &s);
    for (size_t i = 0; i < OWN_THREADS && result == 0; i++)
        result = s.kept[i] ? 0 : 2;
    return result;
}

static void run_on_pthreads(modes m, const fopt_group *group, case_formats formats, fopt_isa isa)
{
    const fopt_config config = {.size = sizeof config, .isa = isa, .parallel_for = in_modes, .parallel_context = &m};
    run(group, formats, &config);
}

Test(modes, own_threads)
{
    compare_under_all(run_on_pthreads);
}
