/*
 * CUDA's own calls fail, each in turn: what fails is reported and taken off CUDA's record, releases what it had, and
 * leaves an optimizer that works, or, if a step was half made, one that says that it is broken. And what the calls ask
 * of CUDA is counted.
 */
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "twins.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#ifdef EMULATED

#include "../emulator/emulator.h"

static fopt_group groups[3];

/* Makes tensors in two loops (kernels/rules/rules.h), by turns in Adam's of two groups and in SGD's. */
static twins *new_twins(size_t count)
{
    shape *shapes = memory(count * sizeof *shapes);
    for (size_t i = 0; i < count; i++)
        shapes[i] = (shape){.count = 1 + i * 37 % 300, .group = i % LENGTH(groups)};
    expect_ok(fopt_group_init(&groups[0], sizeof groups[0], FOPT_ADAM));
    expect_ok(fopt_group_init(&groups[1], sizeof groups[1], FOPT_SGD));
    expect_ok(fopt_group_init(&groups[2], sizeof groups[2], FOPT_ADAMW));
    groups[2].state_format[FOPT_FIRST_MOMENT] = FOPT_BF16;
    twins *t = twins_new(groups, LENGTH(groups), shapes, count, 2, 1);
    free(shapes);
    return t;
}

static twins *open_twins(size_t count)
{
    twins *t = new_twins(count);
    twins_create(t, 0);
    return t;
}

static void expect_failed(fopt_status got, fopt_status want)
{
    cr_expect_eq(got, want, "%s: status %d, want %d: %s", what_runs(), (int)got, (int)want, fopt_last_error());
    cr_expect_eq(cudaPeekAtLastError(), cudaSuccess, "%s: left %s", what_runs(),
                 cudaGetErrorName(cudaPeekAtLastError()));
}

/* ---- what is asked of CUDA ----------------------------------------------------------------------------------- */

static void expect_only_launches(const char *what, size_t count)
{
    const emu_call others[] = {EMU_MALLOC, EMU_MALLOC_HOST, EMU_FREE, EMU_MEMCPY, EMU_MEMSET, EMU_WAIT, EMU_GRAPH};
    for (size_t i = 0; i < LENGTH(others); i++)
        cr_expect_eq(emu_count(others[i]), 0, "%s %s makes %zu calls of kind %d", what_runs(), what,
                     emu_count(others[i]), (int)others[i]);
    cr_expect_eq(emu_count(EMU_LAUNCH), count, "%s %s makes %zu launches, not %zu", what_runs(), what,
                 emu_count(EMU_LAUNCH), count);
    emu_reset_counts();
}

/* A step is two launches and one more for each further loop, whatever the number of tensors. */
Test(device_faults, launches)
{
    static const size_t counts[] = {3, 30, 3000};
    for (size_t i = 0; i < LENGTH(counts); i++) {
        emu_reset_counts();
        twins *t = open_twins(counts[i]);
        cr_expect_eq(emu_count(EMU_LOAD), i == 0 ? 7 + 2 + 2 : 0, "%zu kernels were loaded", emu_count(EMU_LOAD));
        const fopt_config config = cuda_config();
        void **grads = memory(counts[i] * sizeof *grads);
        const mirror norm = mirror_new(sizeof(double));
        for (size_t k = 0; k < counts[i]; k++)
            grads[k] = t->device[k].grad;
        now_running("%zu tensors", counts[i]);
        emu_reset_counts();
        expect_ok(fopt_step(t->cuda, NULL, NULL));
        cr_expect_eq(emu_launches("begin_step"), 1);
        cr_expect_eq(emu_launches("step_tables"), 2);
        expect_only_launches("fopt_step()", 3);
        expect_ok(fopt_set_lr(t->cuda, 0, 0.1, NULL));
        expect_only_launches("fopt_set_lr()", 1);
        expect_ok(fopt_set_group(t->cuda, 0, &groups[0], NULL));
        expect_only_launches("fopt_set_group()", 1);
        expect_ok(fopt_set_step(t->cuda, 0, 1, NULL));
        expect_only_launches("fopt_set_step()", 1);
        expect_ok(fopt_zero_grads(t->cuda, NULL));
        expect_only_launches("fopt_zero_grads()", 1);
        expect_ok(fopt_grad_norm(t->cuda, 0, counts[i], (double *)(void *)norm.device, NULL, NULL));
        expect_only_launches("fopt_grad_norm()", 2);
        expect_ok(fopt_set_grads(t->cuda, grads, NULL));
        cr_expect_leq(emu_count(EMU_LAUNCH), 1 + counts[i] / 480);
        expect_only_launches("fopt_set_grads()", emu_count(EMU_LAUNCH));
        expect_ok(fopt_update(&config, &groups[0], &t->device[0], t->device_states, 1, NULL, NULL));
        expect_only_launches("fopt_update()", 1);
        free(grads);
        mirror_free(norm);
        twins_free(t);
    }
}

/* How many loops there are without quantized moments: one for each rule, AdamW's being Adam's, and set of moments. */
static size_t loop_count(void)
{
    size_t count = 0;
    for (fopt_rule rule = 0; fopt_rule_name(rule); rule++) {
        bool seen[1 << FOPT_STATE_KINDS] = {false}; /* by set of kinds */
        for (size_t i = 0; i < case_count(); i++) {
            const fopt_group group = case_group(i);
            unsigned kinds = 0;
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
                kinds |= (unsigned)oracle_keeps(&group, kind) << kind;
            if (group.rule != rule || rule == FOPT_ADAMW || seen[kinds])
                continue;
            seen[kinds] = true;
            count++;
        }
    }
    return count;
}

/* Every loop at once: one launch each. */
Test(device_faults, launches_of_all_loops)
{
    static fopt_group all[200];
    static shape shapes[LENGTH(all)];
    cr_assert_leq(case_count(), LENGTH(all));
    for (size_t i = 0; i < case_count(); i++) {
        all[i] = case_group(i);
        shapes[i] = (shape){.count = 10, .group = i};
    }
    twins *t = twins_new(all, case_count(), shapes, case_count(), 1, 1);
    twins_create(t, 0);
    emu_reset_counts();
    twins_step(t);
    expect_only_launches("fopt_step()", 1 + loop_count());
    twins_compare(t);
    twins_free(t);
}

/* ---- creation ------------------------------------------------------------------------------------------------ */

/* Device memory of the test's own, which stays accessible when it is released. */
typedef struct pool {
    books books;
    mirror memory;
} pool;

static void *give(books *b, size_t bytes, size_t alignment)
{
    const mirror memory = ((pool *)b)->memory;
    (void)alignment;
    return memory.bytes < bytes ? NULL : memory.device;
}

static void take(books *b, void *block)
{
    (void)b, (void)block;
}

static pool new_pool(void)
{
    return (pool){.books = {.give = give, .take = take}, .memory = mirror_new(1 << 16)};
}

/* Writes to the memory, as its next user would, by a stream that waits for no other: nothing may come later. */
static void expect_unused(const pool *p, cudaStream_t stream)
{
    const mirror m = p->memory;
    cr_expect_eq(p->books.live_blocks, 0, "%s: a leak", what_runs());
    CUDA_OK(cudaMemcpyAsync(m.device, m.host, m.bytes, cudaMemcpyHostToDevice, stream));
    CUDA_OK(cudaStreamSynchronize(stream));
    CUDA_OK(cudaDeviceSynchronize());
    unsigned char *now = mirror_download(m);
    cr_expect_eq(memcmp(now, m.host, m.bytes), 0, "%s: released memory was written later", what_runs());
    free(now);
}

/* Lets each call of that kind fail, and expects that nothing remains of the creation: memory, or work that is still to
 * be done on it. Returns how many calls there were. */
static size_t fail_creation(emu_call call, cudaError_t error, const fopt_config *config, const pool *own)
{
    twins *t = new_twins(10);
    const size_t live = emu_live_allocations();
    cudaStream_t stream;
    CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    size_t nth = 0;
    fopt_status status;
    do {
        fopt_optimizer *out = (fopt_optimizer *)t;
        now_running("create, %s, call %zu of kind %d fails", own ? "own pool" : "cudaMalloc", ++nth, (int)call);
        emu_fail(call, nth, (int)error);
        status = fopt_create(config, groups, LENGTH(groups), t->device, t->tensor_count, &out);
        emu_fail(call, 0, 0);
        if (status && call == EMU_LOAD)
            cr_expect(strstr(fopt_last_error(), "kernels for this device failed"), "%s", fopt_last_error());
        if (status) {
            expect_failed(status, call == EMU_MALLOC ? FOPT_ERR_MEMORY : FOPT_ERR_DEVICE);
            cr_expect_null(out);
        }
        fopt_destroy(out);
        cr_expect_eq(emu_live_allocations(), live, "%s: a leak", what_runs());
        if (own)
            expect_unused(own, stream);
        cr_assert_lt(nth, 100);
    } while (status);
    CUDA_OK(cudaStreamDestroy(stream));
    twins_free(t);
    return nth - 1;
}

Test(device_faults, creation_fails_in_turn)
{
    need_devices(1);
    const fopt_config config = cuda_config();
    fopt_config own = config;
    pool p = new_pool();
    own.device_allocator = books_allocator(&p.books);
    static const struct {
        emu_call call;
        cudaError_t error;
        size_t least; /* calls that a creation must make */
    } kinds[] = {{EMU_LAUNCH, cudaErrorLaunchOutOfResources, 1},
                 {EMU_MEMCPY, cudaErrorInvalidValue, 2},
                 {EMU_MEMSET, cudaErrorInvalidValue, 1},
                 {EMU_STREAM, cudaErrorInvalidValue, 1},
                 {EMU_DEVICE, cudaErrorInvalidDevice, 1}};
    /* Kernels that were loaded stay so. */
    cr_expect_geq(fail_creation(EMU_LOAD, cudaErrorNoKernelImageForDevice, &config, NULL), 4);
    for (size_t mode = 0; mode < mode_count(); mode += 4) {
        choose_mode(mode);
        cr_expect_eq(fail_creation(EMU_MALLOC, cudaErrorMemoryAllocation, &config, NULL), 1);
        for (size_t i = 0; i < LENGTH(kinds); i++) {
            cr_expect_geq(fail_creation(kinds[i].call, kinds[i].error, &config, NULL), kinds[i].least);
            cr_expect_geq(fail_creation(kinds[i].call, kinds[i].error, &own, &p), kinds[i].least);
        }
    }
    mirror_free(p.memory);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void expect_clean(void)
{
    const cudaError_t error = cudaPeekAtLastError();
    cr_expect(error == cudaSuccess || error == cudaErrorNotReady, "%s: left %s", what_runs(), cudaGetErrorName(error));
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal; /* every thread's to begin with */
    CUDA_OK(cudaThreadExchangeStreamCaptureMode(&mode));
    cr_expect_eq(mode, cudaStreamCaptureModeGlobal, "%s: the thread's mode is %d", what_runs(), (int)mode);
}

/* Allocates, and leaves CUDA's errors where they are. */
static void *allocate_carelessly(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    void *block = NULL;
    (void)context;
    (void)alignment;
    (void)stream;
    return cudaMalloc(&block, bytes) == cudaSuccess ? block : NULL;
}

static void release_carelessly(void *context, void *block, size_t bytes, fopt_stream stream)
{
    (void)context;
    (void)bytes;
    (void)stream;
    if (cudaFree(block) != cudaSuccess)
        CUDA_OK(cudaFree(block)); /* which clears no record */
}

/* Each call that creation and the end make fails in turn: nothing of it is left to the thread. */
Test(device_faults, nothing_is_left_to_the_thread)
{
    static const emu_call kinds[] = {EMU_MALLOC, EMU_MEMSET, EMU_FREE, EMU_STREAM, EMU_WAIT, EMU_DEVICE};
    need_devices(1);
    fopt_config config = cuda_config();
    config.device_allocator = (fopt_allocator){NULL, allocate_carelessly, release_carelessly};
    for (size_t i = 0; i < LENGTH(kinds); i++)
        for (size_t nth = 1; nth <= 4; nth++) {
            if (kinds[i] == EMU_STREAM && nth == 3)
                break; /* gives the thread's mode of captures back */
            twins *t = new_twins(10);
            now_running("call %zu of kind %d fails", nth, (int)kinds[i]);
            emu_fail(kinds[i], nth, cudaErrorInvalidValue);
            (void)fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda);
            emu_fail(kinds[i], 0, 0);
            expect_clean();
            fopt_destroy(t->cuda);
            t->cuda = NULL;
            expect_ok(fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda));
            if (kinds[i] != EMU_DEVICE) { /* without its context nothing is released */
                emu_fail(kinds[i], nth, cudaErrorInvalidValue);
                fopt_destroy(t->cuda);
                emu_fail(kinds[i], 0, 0);
                t->cuda = NULL;
                expect_clean();
            }
            twins_free(t);
        }
}

/* Both on CUDA's record: that a stream was not ready, and then what a capture forbids. */
Test(device_faults, the_end_after_a_query)
{
    need_devices(1);
    cudaStream_t busy, captured;
    cudaGraph_t graph;
    pool p = new_pool();
    fopt_config config = cuda_config();
    config.device_allocator = books_allocator(&p.books);
    twins *t = new_twins(10);
    CUDA_OK(cudaStreamCreateWithFlags(&busy, cudaStreamNonBlocking));
    CUDA_OK(cudaStreamCreate(&captured));
    expect_ok(fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda));
    expect_ok(fopt_step(t->cuda, NULL, busy));
    cr_assert_eq(cudaStreamQuery(busy), cudaErrorNotReady);
    now_running("destroy after a query");
    CUDA_OK(cudaStreamBeginCapture(captured, cudaStreamCaptureModeGlobal));
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    expect_clean();
    CUDA_OK(cudaStreamEndCapture(captured, &graph));
    CUDA_OK(cudaGraphDestroy(graph));
    cr_expect_eq(p.books.live_blocks, 1);
    CUDA_OK(cudaStreamDestroy(busy));
    CUDA_OK(cudaStreamDestroy(captured));
    twins_free(t);
    mirror_free(p.memory);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static void expect_broken(const twins *t)
{
    void *grads[10] = {NULL};
    double norm;
    int64_t step;
    fopt_array view = {.size = sizeof view};
    cr_assert_eq(t->tensor_count, LENGTH(grads));
    expect_failed(fopt_step(t->cuda, NULL, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_set_lr(t->cuda, 0, 0.1, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_set_group(t->cuda, 0, &groups[0], NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_set_grads(t->cuda, grads, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_zero_grads(t->cuda, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_grad_norm(t->cuda, 0, 1, &norm, NULL, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_set_step(t->cuda, 0, 1, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_get_step(t->cuda, 0, &step, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_copy(t->cuda, &step, &step, 0, NULL), FOPT_ERR_BROKEN);
    expect_failed(fopt_state(t->cuda, 0, FOPT_FIRST_MOMENT, &view), FOPT_ERR_BROKEN);
}

/* Fails each launch of a step in turn, of which there are three; the fourth try finds none to fail. */
Test(device_faults, a_step_fails_half_way)
{
    need_devices(1);
    for (size_t nth = 1; nth <= 4; nth++) {
        now_running("launch %zu of a step fails", nth);
        twins *t = open_twins(10);
        twins_step(t);
        emu_fail(EMU_LAUNCH, nth, cudaErrorLaunchOutOfResources);
        const fopt_status status = fopt_step(t->cuda, NULL, NULL);
        emu_fail(EMU_LAUNCH, 0, 0);
        expect_failed(status, nth <= 3 ? FOPT_ERR_DEVICE : FOPT_OK);
        if (status)
            cr_expect(strstr(fopt_last_error(), "cudaErrorLaunchOutOfResources"), "%s", fopt_last_error());
        if (nth == 1) /* nothing has happened */
            expect_ok(fopt_step(t->cuda, NULL, NULL));
        if (nth == 2 || nth == 3) {
            expect_broken(t);
        } else {
            expect_ok(fopt_step(t->cpu, NULL, NULL));
            twins_compare(t);
        }
        twins_free(t);
    }
}

/* ---- other calls --------------------------------------------------------------------------------------------- */

/* The calls, on the device's twin alone. */
typedef fopt_status device_call(const twins *t);

static fopt_status set_lr(const twins *t)
{
    return fopt_set_lr(t->cuda, 0, 0.7, NULL);
}

static fopt_status set_group(const twins *t)
{
    fopt_group changed = groups[0];
    changed.flags = FOPT_MAXIMIZE;
    return fopt_set_group(t->cuda, 0, &changed, NULL);
}

static fopt_status set_grads(const twins *t)
{
    static void *none[1000];
    cr_assert_leq(t->tensor_count, LENGTH(none));
    return fopt_set_grads(t->cuda, none, NULL);
}

static fopt_status zero_grads(const twins *t)
{
    return fopt_zero_grads(t->cuda, NULL);
}

static fopt_status set_step(const twins *t)
{
    return fopt_set_step(t->cuda, 0, 9, NULL);
}

static fopt_status step(const twins *t)
{
    return fopt_step(t->cuda, NULL, NULL);
}

static fopt_status get_step(const twins *t)
{
    static int64_t step; /* the copy may still run after the wait failed */
    return fopt_get_step(t->cuda, 0, &step, NULL);
}

static fopt_status copy(const twins *t)
{
    static float first; /* likewise */
    return fopt_copy(t->cuda, &first, t->device[0].param, sizeof first, NULL);
}

static fopt_status update(const twins *t)
{
    const fopt_config config = {.size = sizeof config, .device = {FOPT_CUDA, 0}};
    return fopt_update(&config, &groups[0], &t->device[0], t->device_states, 1, NULL, NULL);
}

/* Lets each of CUDA's calls of a kind fail in one of ours, which then has done nothing. */
static void fail_call(const char *name, device_call *call, emu_call kind)
{
    fopt_status status = FOPT_OK;
    size_t nth = 0;
    do {
        twins *t = open_twins(10);
        now_running("%s(), call %zu of kind %d fails", name, ++nth, (int)kind);
        emu_fail(kind, nth, cudaErrorInvalidValue);
        status = call(t);
        emu_fail(kind, 0, 0);
        if (status) {
            expect_failed(status, FOPT_ERR_DEVICE);
            twins_step(t);
            twins_compare(t);
        }
        twins_free(t);
        cr_assert_lt(nth, 20);
    } while (status);
}

Test(device_faults, other_calls_fail_in_turn)
{
    static const struct {
        const char *name;
        device_call *call;
    } all[] = {{"fopt_set_lr", set_lr},       {"fopt_set_group", set_group},
               {"fopt_set_grads", set_grads}, {"fopt_zero_grads", zero_grads},
               {"fopt_set_step", set_step},   {"fopt_get_step", get_step},
               {"fopt_copy", copy},           {"fopt_update", update}};
    static const emu_call kinds[] = {EMU_LAUNCH, EMU_MEMCPY, EMU_WAIT, EMU_STREAM, EMU_DEVICE};
    need_devices(1);
    for (size_t i = 0; i < LENGTH(all); i++)
        for (size_t k = 0; k < LENGTH(kinds); k++)
            fail_call(all[i].name, all[i].call, kinds[k]);
    fail_call("fopt_step", step, EMU_DEVICE); /* the others break it */
}

/* A norm whose first launch fails has done nothing. If its second fails, sums are left on the device. */
Test(device_faults, a_norm_fails_half_way)
{
    need_devices(1);
    for (size_t nth = 1; nth <= 2; nth++) {
        twins *t = open_twins(10);
        mirror result = mirror_new(sizeof(double));
        now_running("launch %zu of fopt_grad_norm() fails", nth);
        emu_fail(EMU_LAUNCH, nth, cudaErrorInvalidValue);
        expect_failed(fopt_grad_norm(t->cuda, 0, 10, (double *)(void *)result.device, NULL, NULL), FOPT_ERR_DEVICE);
        emu_fail(EMU_LAUNCH, 0, 0);
        if (nth == 1) {
            twins_step(t);
            twins_compare(t);
        } else {
            expect_broken(t);
        }
        mirror_free(result);
        twins_free(t);
    }
}

/* Calls from another device, which is current before and after: what fails has done nothing, what has been done
 * succeeds. */
Test(device_faults, calls_from_another_device_fail_in_turn)
{
    need_devices(2);
    fopt_status status;
    size_t nth = 0;
    do {
        int device = -1;
        CUDA_OK(cudaSetDevice(0));
        twins *t = open_twins(10);
        CUDA_OK(cudaSetDevice(1));
        now_running("fopt_step() from device 1, call %zu fails", ++nth);
        emu_fail(EMU_DEVICE, nth, cudaErrorInvalidDevice);
        status = step(t);
        emu_fail(EMU_DEVICE, 0, 0);
        CUDA_OK(cudaGetDevice(&device));
        cr_expect_eq(device, 1, "%s: device %d is current", what_runs(), device);
        CUDA_OK(cudaSetDevice(0));
        if (status)
            expect_failed(status, FOPT_ERR_DEVICE);
        else
            expect_ok(fopt_step(t->cpu, NULL, NULL));
        twins_compare(t);
        twins_free(t);
        cr_assert_lt(nth, 20);
    } while (status);
    cr_expect_geq(nth, 2);
}

/* A thousand gradients are three launches: as long as none is done, nothing is. */
Test(device_faults, gradients_fail_half_way)
{
    need_devices(1);
    for (size_t nth = 1; nth <= 3; nth++) {
        now_running("launch %zu of fopt_set_grads() fails", nth);
        twins *t = open_twins(1000);
        emu_fail(EMU_LAUNCH, nth, cudaErrorLaunchOutOfResources);
        expect_failed(set_grads(t), FOPT_ERR_DEVICE);
        emu_fail(EMU_LAUNCH, 0, 0);
        expect_failed(fopt_step(t->cuda, NULL, NULL), nth == 1 ? FOPT_OK : FOPT_ERR_BROKEN);
        if (nth == 1) {
            expect_ok(fopt_step(t->cpu, NULL, NULL));
            twins_compare(t);
        }
        twins_free(t);
    }
}

/* A kernel that fails when it runs: CUDA returns its error from every later call, and takes it off no more. */
Test(device_faults, a_kernel_fails_as_it_runs)
{
    need_devices(1);
    pool p = new_pool();
    fopt_config config = cuda_config();
    config.device_allocator = books_allocator(&p.books);
    int64_t step;
    twins *t = new_twins(10);
    expect_ok(fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda));
    now_running("a kernel fails");
    expect_ok(fopt_step(t->cuda, NULL, NULL));
    emu_fail(EMU_EXECUTION, 1, cudaErrorIllegalAddress);
    cr_expect_eq(fopt_get_step(t->cuda, 0, &step, NULL), FOPT_ERR_DEVICE);
    cr_expect_eq(fopt_step(t->cuda, NULL, NULL), FOPT_ERR_DEVICE);
    cr_expect(strstr(fopt_last_error(), "cudaErrorIllegalAddress"), "%s", fopt_last_error());
    emu_clear_errors(); /* as no program can */
    cudaGetLastError();
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    cr_expect_eq(p.books.live_blocks, 0);
    twins_free(t);
    mirror_free(p.memory);
}

#else

Test(device_faults, all)
{
    need_emulator("calls of CUDA that fail");
}

#endif
