/*
 * Which device and context the library works in: the optimizer's during a call, the caller's own before and after. It
 * makes no context on a device that it was not told to use, and works from any thread, whatever is current there.
 */
#include "twins.h"

#ifdef EMULATED
#include "../emulator/emulator.h"
#endif

#include <criterion/criterion.h>
#include <cudaTypedefs.h>
#include <pthread.h>
#include <string.h>

static fopt_group groups[2];

static const shape shapes[] = {
    {.count = 700},
    {.param = FOPT_BF16, .grad = FOPT_F16, .count = 300, .group = 1, .param_shift = 1},
    {.count = 40, .group = 1},
};

static twins *new_twins(uint64_t seed)
{
    expect_ok(fopt_group_init(&groups[0], sizeof groups[0], FOPT_ADAM));
    expect_ok(fopt_group_init(&groups[1], sizeof groups[1], FOPT_SGD));
    groups[0].state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    groups[1].momentum = 0.9;
    return twins_new(groups, LENGTH(groups), shapes, LENGTH(shapes), 1, seed);
}

/* ---- the driver ---------------------------------------------------------------------------------------------- */

static void find(const char *name, unsigned version, void *function)
{
    enum cudaDriverEntryPointQueryResult found;
    CUDA_OK(cudaGetDriverEntryPointByVersion(name, function, version, cudaEnableDefault, &found));
    cr_assert_eq(found, cudaDriverEntryPointSuccess, "%s", name);
}

static CUcontext new_context(int device)
{
    PFN_cuCtxCreate_v3020 make;
    CUcontext context = NULL;
    find("cuCtxCreate", 3020, &make);
    cr_assert_eq(make(&context, 0, device), CUDA_SUCCESS);
    return context;
}

static CUcontext current_context(void)
{
    PFN_cuCtxGetCurrent_v4000 get;
    CUcontext context = NULL;
    find("cuCtxGetCurrent", 4000, &get);
    cr_assert_eq(get(&context), CUDA_SUCCESS);
    return context;
}

static void push_context(CUcontext context)
{
    PFN_cuCtxPushCurrent_v4000 push;
    find("cuCtxPushCurrent", 4000, &push);
    cr_assert_eq(push(context), CUDA_SUCCESS);
}

static void pop_context(CUcontext context)
{
    PFN_cuCtxPopCurrent_v4000 pop;
    CUcontext popped = NULL;
    find("cuCtxPopCurrent", 4000, &pop);
    cr_assert_eq(pop(&popped), CUDA_SUCCESS);
    cr_expect_eq(popped, context, "%s: another context was current", what_runs());
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

/* A rank uses its own device, and device 0 only happens to be what every thread begins with. */
Test(device_contexts, none_is_made_on_another_device)
{
#ifdef EMULATED
    need_devices(2);
    PFN_cuDevicePrimaryCtxRetain_v7000 retain;
    CUcontext first;
    find("cuDevicePrimaryCtxRetain", 7000, &retain);
    cr_assert_eq(retain(&first, 1), CUDA_SUCCESS);
    push_context(first);
    twins *t = new_twins(1);
    CUDA_OK(cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking));
    pop_context(first);
    const unsigned holders = emu_holders(1);

    now_running("from device 0");
    const fopt_config cpu = {.size = sizeof cpu, .seed = TWINS_SEED},
                      cuda = {.size = sizeof cuda, .seed = TWINS_SEED, .device = {FOPT_CUDA, 1}};
    fopt_device_info info = {.size = sizeof info};
    fopt_sizes sizes = {.size = sizeof sizes};
    int64_t step = 0;
    expect_ok(fopt_device_query(cuda.device, &info));
    expect_ok(fopt_query_sizes(&cuda, groups, LENGTH(groups), t->device, t->tensor_count, &sizes));
    expect_ok(fopt_create(&cuda, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda));
    expect_ok(fopt_create(&cpu, groups, LENGTH(groups), t->host, t->tensor_count, &t->cpu));
    twins_set_lr(t, 0, 0.2);
    twins_set_group(t, 1, &groups[1]);
    twins_step(t);
    twins_set_step(t, 0, 7);
    twins_step(t);
    expect_ok(fopt_get_step(t->cuda, 0, &step, t->stream));
    cr_expect_eq(step, 8);
    expect_ok(fopt_copy(t->cuda, &step, t->device[0].param, 2, t->stream));
    for (size_t i = 0; i < t->tensor_count; i++) {
        const size_t states = i * FOPT_STATE_KINDS;
        expect_ok(fopt_update(&cuda, &groups[t->device[i].group], &t->device[i], &t->device_states[states], 1, NULL,
                              t->stream));
        expect_ok(fopt_update(&cpu, &groups[t->host[i].group], &t->host[i], &t->host_states[states], 1, NULL, NULL));
    }
    cr_expect(!emu_has_context(0), "%s: a context was made on device 0", what_runs());
    cr_expect_null(current_context(), "%s: a context was left current", what_runs());

    push_context(first);
    twins_compare(t);
    pop_context(first);
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    cr_expect(!emu_has_context(0), "%s: fopt_destroy() made a context on device 0", what_runs());
    cr_expect_eq(emu_holders(1), holders, "%s: %u hold the context, %u did", what_runs(), emu_holders(1), holders);
    twins_free(t);
#else
    need_emulator("a look at which contexts there are");
#endif
}

/* What is enqueued in a context that nobody else uses must not end with the call. */
Test(device_contexts, update_where_nobody_was)
{
#ifdef EMULATED
    need_devices(2);
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    float *pinned = NULL;
    CUDA_OK(cudaMallocHost((void **)&pinned, 200 * sizeof *pinned)); /* by device 0, for all */
    for (size_t i = 0; i < 200; i++)
        pinned[i] = 1;
    const fopt_config config = {.size = sizeof config, .device = {FOPT_CUDA, 1}};
    const fopt_tensor tensor = {.size = sizeof tensor, .param = pinned, .grad = pinned + 100, .count = 100};
    cr_assert(!emu_has_context(1));
    expect_ok(fopt_update(&config, &group, &tensor, NULL, 1, NULL, NULL));
    expect_ok(fopt_update(&config, &group, &tensor, NULL, 2, NULL, NULL));
    cr_expect_eq(emu_holders(1), 1);
    CUDA_OK(cudaSetDevice(1));
    CUDA_OK(cudaDeviceSynchronize());
    cr_expect_eq(pinned[99], 1 - 1e-3f - 1e-3f);
    CUDA_OK(cudaFreeHost(pinned));
#else
    need_emulator("a look at who holds a context");
#endif
}

/* A program may have a context of its own beside the primary one, and make either current. */
static void step_across(CUcontext own, bool made_in_own)
{
    CUcontext primary = current_context();
    if (made_in_own)
        push_context(own);
    twins *t = new_twins(2);
    CUDA_OK(cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking));
    twins_create(t, 0);
    if (made_in_own)
        pop_context(own);
    else
        push_context(own);

    twins_set_lr(t, 0, 0.2);
    twins_step(t);
    twins_set_grads(t, 0, 2);
    twins_step(t);
    twins_zero_grads(t);
    cr_expect_eq(current_context(), made_in_own ? primary : own, "%s: another context is current", what_runs());

    if (made_in_own)
        push_context(own);
    else
        pop_context(own);
    twins_compare(t);
    CUDA_OK(cudaStreamDestroy(t->stream));
    twins_free(t);
    if (made_in_own)
        pop_context(own);
}

Test(device_contexts, the_programs_own)
{
    need_devices(1);
    CUDA_OK(cudaSetDevice(0));
    CUDA_OK(cudaFree(NULL)); /* makes the primary one */
    CUcontext own = new_context(0);
    pop_context(own);
    now_running("made in a context of the program's, used from the primary one");
    step_across(own, true);
    now_running("made in the primary context, used from another");
    step_across(own, false);
}

/* Where the optimizer's context cannot be made current any more, the end touches neither it nor another. */
Test(device_contexts, the_end_of_a_context)
{
#ifdef EMULATED
    need_devices(1);
    books state = {.give = give_device, .take = take_device};
    fopt_config config = cuda_config();
    config.device_allocator = books_allocator(&state);
    CUDA_OK(cudaSetDevice(0));
    twins *t = new_twins(3);
    expect_ok(fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda));
    CUcontext own = new_context(0);
    now_running("the end without its context");
    emu_fail(EMU_DEVICE, 1, cudaErrorInvalidValue);
    fopt_destroy(t->cuda);
    emu_fail(EMU_DEVICE, 0, 0);
    t->cuda = NULL;
    cr_expect_eq(current_context(), own, "%s: another context is current", what_runs());
    cr_expect_eq(state.live_blocks, 1, "%s: memory was released in another context", what_runs());
    cr_expect_eq(cudaPeekAtLastError(), cudaSuccess);
    CUDA_OK(cudaFree(state.blocks[0].pointer));
    pop_context(own);
    twins_free(t);
#else
    need_emulator("a context that cannot be made current");
#endif
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

enum { THREADS = 6, STEPS = 5 };

/* A thread of its own for each optimizer, on one of two devices; none of them ever chooses a device. */
typedef struct worker {
    twins *t;
    int device;
    pthread_t thread;
    size_t failures;
} worker;

static void *work(void *argument)
{
    worker *w = argument;
    fopt_optimizer *const cuda = w->t->cuda;
    const fopt_config config = {.size = sizeof config, .seed = TWINS_SEED, .device = {FOPT_CUDA, w->device}};
    for (int step = 0; step < STEPS; step++) {
        w->failures += fopt_set_lr(cuda, 0, 0.1 / (step + 1), w->t->stream) != FOPT_OK;
        w->failures += fopt_step(cuda, NULL, w->t->stream) != FOPT_OK;
        w->failures += fopt_update(&config, &groups[0], &w->t->device[0], w->t->device_states, step + 1, NULL,
                                   w->t->stream) != FOPT_OK;
    }
    return NULL;
}

static void on_the_host(twins *t)
{
    const fopt_config config = {.size = sizeof config, .seed = TWINS_SEED, .threads = 1};
    for (int step = 0; step < STEPS; step++) {
        expect_ok(fopt_set_lr(t->cpu, 0, 0.1 / (step + 1), NULL));
        expect_ok(fopt_step(t->cpu, NULL, NULL));
        expect_ok(fopt_update(&config, &groups[0], &t->host[0], t->host_states, step + 1, NULL, NULL));
    }
}

Test(device_contexts, threads_and_two_devices)
{
    need_devices(2);
    worker workers[THREADS];
    now_running("threads on two devices");
    for (int i = 0; i < THREADS; i++) {
        CUDA_OK(cudaSetDevice(i % 2));
        workers[i] = (worker){.t = new_twins((uint64_t)i), .device = i % 2};
        CUDA_OK(cudaStreamCreateWithFlags(&workers[i].t->stream, cudaStreamNonBlocking));
        twins_create(workers[i].t, 0);
    }
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(workers[i].thread, NULL), 0);
        cr_expect_eq(workers[i].failures, 0, "thread %d: %zu calls failed", i, workers[i].failures);
    }
    for (int i = 0; i < THREADS; i++) {
        CUDA_OK(cudaSetDevice(i % 2));
        on_the_host(workers[i].t);
        twins_compare(workers[i].t);
        CUDA_OK(cudaStreamDestroy(workers[i].t->stream));
        twins_free(workers[i].t);
    }
}
