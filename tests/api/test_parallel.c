/* The caller's parallel_for: any threads and any order give the same bits; one that breaks its promise is found out. */
#include "callers_threads.h"
#include "model.h"

#include <setjmp.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- good ones ----------------------------------------------------------------------------------------------- */

static const fopt_parallel_for good[] = {NULL, forwards, backwards, on_own_threads};

/* The model's tensors are too small to be cut: one large tensor of each of its groups. */
#define LARGE_ELEMENTS 50000
static float params[MODEL_TENSORS][LARGE_ELEMENTS], grads[MODEL_TENSORS][LARGE_ELEMENTS];

static model m;

static void describe_large(void)
{
    model_describe(&m);
    for (size_t t = 0; t < MODEL_TENSORS; t++) {
        m.tensors[t].param = params[t];
        m.tensors[t].grad = grads[t];
        m.tensors[t].count = LARGE_ELEMENTS - t;
        m.tensors[t].param_format = m.tensors[t].grad_format = FOPT_F32;
        for (size_t i = 0; i < LARGE_ELEMENTS; i++) {
            params[t][i] = (float)(i % 97) / 32.0f;
            grads[t][i] = (float)(i % 89) / 64.0f - 0.5f;
        }
    }
}

TestSuite(parallel, .init = describe_large);

Test(parallel, same_bits)
{
    static float first_params[MODEL_TENSORS][LARGE_ELEMENTS];
    for (size_t way = 0; way < sizeof good / sizeof *good; way++)
        for (int threads = 0; threads <= 5; threads += 5) {
            describe_large();
            m.config.parallel_for = good[way];
            m.config.threads = threads;
            model_create(&m);
            for (int step = 0; step < 3; step++)
                ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
            ASSERT_OK(fopt_zero_grads(m.optimizer, NULL));
            fopt_destroy(m.optimizer);
            if (way == 0 && threads == 0)
                memcpy(first_params, params, sizeof params);
            cr_expect_eq(memcmp(first_params, params, sizeof params), 0, "way %zu, threads %d", way, threads);
            for (size_t t = 0; t < MODEL_TENSORS; t++)
                for (size_t i = 0; i < m.tensors[t].count; i++)
                    cr_assert_eq(grads[t][i], 0.0f, "way %zu, tensor %zu, element %zu", way, t, i);
        }
}

/* Makes a step in a child of fork(), where the threads that the parent has used are gone. A child that waits for them
 * is ended by its alarm. */
Test(parallel, in_a_child_of_fork)
{
    static float want[MODEL_TENSORS][LARGE_ELEMENTS];
    for (int threads = 2; threads >= 0; threads -= 2) { /* the last run is what is forked */
        describe_large();
        m.config.threads = threads;
        model_create(&m);
        for (int step = 0; step < 2; step++)
            ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
        if (threads == 2) {
            memcpy(want, params, sizeof want);
            fopt_destroy(m.optimizer);
        }
    }
    fopt_optimizer *const before = m.optimizer;
    describe_large();
    const pid_t child = fork();
    cr_assert_neq(child, -1);
    if (child == 0) {
        alarm(20);
        m.config.threads = 0;
        model_create(&m);
        fopt_device_info info = {.size = sizeof info};
        int wrong = fopt_device_query((fopt_device){FOPT_CPU, 0}, &info) != FOPT_OK || info.threads != 1;
        for (int step = 0; step < 2; step++)
            wrong |= (fopt_step(m.optimizer, NULL, NULL) != FOPT_OK) * 2;
        wrong |= (memcmp(want, params, sizeof want) != 0) * 4;
        wrong |= (fopt_step(before, NULL, NULL) != FOPT_OK) * 8;
        _exit(wrong);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0, "the child's status is 0x%x", (unsigned)status);
    fopt_destroy(before);
}

/* ---- bad ones: each good until it is told -------------------------------------------------------------------- */

typedef enum mischief {
    NO_MISCHIEF,
    RETURNS_ERROR, /* though it made all calls */
    MAKES_NONE,
    SKIPS_ONE,
    REPEATS_ONE, /* besides the others */
    REPEATS_FOR_ANOTHER,
    COUNTS_FROM_ONE,
    CALLS_ONE_MORE
} mischief;

static int misbehaves(void *context, size_t count, call_function *function, void *argument)
{
    const mischief kind = *(const mischief *)context;
    for (size_t i = 0; i < count && kind != MAKES_NONE; i++) {
        const bool last = i == count - 1;
        if (last && kind == SKIPS_ONE)
            continue;
        const size_t repeated = last && kind == REPEATS_FOR_ANOTHER;
        function(argument, kind == COUNTS_FROM_ONE ? i + 1 : i - repeated);
        if (last && kind == REPEATS_ONE)
            function(argument, i);
    }
    if (kind == CALLS_ONE_MORE)
        function(argument, count);
    return kind == RETURNS_ERROR ? -3 : 0;
}

static const struct {
    mischief kind;
    const char *words;
} mischiefs[] = {
    {RETURNS_ERROR, "config.parallel_for returned -3"},
    {MAKES_NONE, "config.parallel_for*0 of "},
    {SKIPS_ONE, "config.parallel_for*of "},
    {REPEATS_ONE, "config.parallel_for*of "},
    {REPEATS_FOR_ANOTHER, "config.parallel_for made some of * calls twice and others never"},
    {COUNTS_FROM_ONE, "config.parallel_for*"},
    {CALLS_ONE_MORE, "config.parallel_for*of "},
};
#define MISCHIEFS (sizeof mischiefs / sizeof *mischiefs)

static void expect_failed(fopt_status got, fopt_status want, size_t i, const char *words)
{
    cr_expect_eq(got, want, "mischief %d: status %d, want %d", (int)mischiefs[i].kind, (int)got, (int)want);
    cr_expect(mentions(fopt_last_error(), words), "mischief %d: got '%s' want '%s'", (int)mischiefs[i].kind,
              fopt_last_error(), words);
}

static void expect_broken(fopt_status got, const char *call)
{
    cr_expect_eq(got, FOPT_ERR_BROKEN, "%s: status %d", call, (int)got);
    cr_expect(mentions(fopt_last_error(), "failed half-way"), "%s: %s", call, fopt_last_error());
}
#define EXPECT_BROKEN(call) expect_broken(call, #call)

Test(parallel, a_bad_step_breaks_the_optimizer)
{
    static float kept[MODEL_TENSORS][LARGE_ELEMENTS];
    void *no_grads[MODEL_TENSORS] = {NULL};
    for (size_t i = 0; i < MISCHIEFS; i++) {
        mischief now = NO_MISCHIEF;
        fopt_array view = {.size = sizeof view};
        double norm;
        int64_t step;
        describe_large();
        m.config.parallel_for = misbehaves;
        m.config.parallel_context = &now;
        model_create(&m);
        ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
        now = mischiefs[i].kind;
        expect_failed(fopt_step(m.optimizer, NULL, NULL), FOPT_ERR_DEVICE, i, mischiefs[i].words);

        now = NO_MISCHIEF;
        memcpy(kept, params, sizeof params);
        EXPECT_BROKEN(fopt_step(m.optimizer, NULL, NULL));
        EXPECT_BROKEN(fopt_set_group(m.optimizer, ADAM, &m.groups[ADAM], NULL));
        EXPECT_BROKEN(fopt_set_lr(m.optimizer, ADAM, 0.1, NULL));
        EXPECT_BROKEN(fopt_set_grads(m.optimizer, no_grads, NULL));
        EXPECT_BROKEN(fopt_zero_grads(m.optimizer, NULL));
        EXPECT_BROKEN(fopt_grad_norm(m.optimizer, 0, MODEL_TENSORS, &norm, NULL, NULL));
        EXPECT_BROKEN(fopt_state(m.optimizer, ADAM, FOPT_FIRST_MOMENT, &view));
        EXPECT_BROKEN(fopt_get_step(m.optimizer, ADAM, &step, NULL));
        EXPECT_BROKEN(fopt_set_step(m.optimizer, ADAM, 0, NULL));
        cr_expect_eq(memcmp(kept, params, sizeof params), 0, "a broken optimizer wrote parameters");
        cr_expect_neq(grads[ADAM][0], 0.0f, "a broken optimizer wrote gradients");
        fopt_destroy(m.optimizer);
    }
}

Test(parallel, other_calls_fail_too)
{
    for (size_t i = 0; i < MISCHIEFS; i++) {
        mischief now = mischiefs[i].kind;
        fopt_array states[FOPT_STATE_KINDS];
        double norm = -1;
        describe_large();
        m.config.parallel_for = misbehaves;
        m.config.parallel_context = &now;
        fopt_optimizer *out = (fopt_optimizer *)&m;
        expect_failed(fopt_create(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &out), FOPT_ERR_DEVICE,
                      i, mischiefs[i].words);
        cr_expect_null(out);

        now = NO_MISCHIEF;
        model_create(&m);
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            states[kind] = (fopt_array){.size = sizeof *states};
            ASSERT_OK(fopt_state(m.optimizer, ADAM, (fopt_state_kind)kind, &states[kind]));
        }
        now = mischiefs[i].kind;
        expect_failed(fopt_zero_grads(m.optimizer, NULL), FOPT_ERR_DEVICE, i, mischiefs[i].words);
        expect_failed(fopt_grad_norm(m.optimizer, 0, MODEL_TENSORS, &norm, NULL, NULL), FOPT_ERR_DEVICE, i,
                      mischiefs[i].words);
        cr_expect_eq(norm, -1.0, "a norm that is not whole");
        expect_failed(fopt_update(&m.config, &m.groups[ADAM], &m.tensors[ADAM], states, 1, NULL, NULL), FOPT_ERR_DEVICE,
                      i, mischiefs[i].words);
        fopt_destroy(m.optimizer);
    }
}

/* Leaves as an exception does, after half of the work, once it is told to. */
typedef struct escape {
    bool now;
    jmp_buf back;
} escape;

static int escapes(void *context, size_t count, call_function *function, void *argument)
{
    escape *e = context;
    for (size_t i = 0; i < (e->now ? count / 2 : count); i++)
        function(argument, i);
    if (e->now)
        longjmp(e->back, 1);
    return 0;
}

Test(parallel, a_step_that_is_left_breaks_the_optimizer)
{
    static escape way = {.now = false};
    m.config.parallel_for = escapes;
    m.config.parallel_context = &way;
    model_create(&m);
    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    way.now = true;
    if (setjmp(way.back) == 0) {
        (void)fopt_step(m.optimizer, NULL, NULL);
        cr_assert_fail("fopt_step() came back");
    }
    way.now = false;
    EXPECT_BROKEN(fopt_step(m.optimizer, NULL, NULL));
    fopt_destroy(m.optimizer);
}
