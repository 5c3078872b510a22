/*
 * The calls are ordered by their stream alone, take their values when they are called, and may be recorded in a graph:
 * whatever the order in which the device does what it may, the result is the CPU's.
 */
#include "twins.h"

#ifdef EMULATED
#include "../emulator/emulator.h"
#endif

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SETS 4 /* of gradients */

static fopt_group groups[3];

static const shape shapes[] = {
    {FOPT_F32, FOPT_F32, 700, 0, 0, 0, 0, 0, 0},  {FOPT_BF16, FOPT_F32, 300, 1, 1, 0, 0, 0, 0},
    {FOPT_F16, FOPT_BF16, 512, 2, 0, 1, 0, 0, 0}, {FOPT_F32, FOPT_F16, 5, 0, 0, 0, 0, 0, 0},
    {FOPT_BF16, FOPT_BF16, 40, 2, 0, 0, 0, 0, 0},
};

static cudaStream_t new_stream(unsigned flags)
{
    cudaStream_t stream = NULL;
    CUDA_OK(cudaStreamCreateWithFlags(&stream, flags));
    return stream;
}

static twins *open_twins(uint64_t seed, cudaStream_t stream)
{
    expect_ok(fopt_group_init(&groups[0], sizeof groups[0], FOPT_ADAMW));
    expect_ok(fopt_group_init(&groups[1], sizeof groups[1], FOPT_SGD));
    expect_ok(fopt_group_init(&groups[2], sizeof groups[2], FOPT_RMSPROP));
    groups[0].state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    groups[1].momentum = 0.9;
    groups[2].state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    twins *t = twins_new(groups, LENGTH(groups), shapes, LENGTH(shapes), SETS, seed);
    t->stream = stream;
    twins_create(t, 0);
    return t;
}

/* Runs a test in each mode, on a stream that waits for no other. */
static void in_each_mode(const char *name, void (*test)(cudaStream_t stream))
{
    need_devices(1);
    for (size_t i = 0; i < mode_count(); i++) {
        const char *mode = choose_mode(i);
        cudaStream_t stream = new_stream(cudaStreamNonBlocking);
        now_running("%s %s", name, mode);
        test(stream);
        CUDA_OK(cudaStreamDestroy(stream));
    }
}

/* ---- held streams -------------------------------------------------------------------------------------------- */

#ifdef EMULATED

/* Does nothing: the emulator by itself does no work before something waits for it, unless it is eager, and then nothing
 * can wait. */
static void hold(cudaStream_t stream)
{
    (void)stream;
}

static void let_go(cudaStream_t stream)
{
    (void)stream;
}

#else

static atomic_bool held;

static void CUDART_CB wait_while_held(void *unused)
{
    (void)unused;
    while (atomic_load(&held))
        ;
}

/* Holds back what is asked of the stream until let_go(): by then nothing of it has been done. */
static void hold(cudaStream_t stream)
{
    atomic_store(&held, true);
    CUDA_OK(cudaLaunchHostFunc(stream, wait_while_held, NULL));
}

static void let_go(cudaStream_t stream)
{
    atomic_store(&held, false);
    CUDA_OK(cudaStreamSynchronize(stream));
}

#endif

/* ---- order --------------------------------------------------------------------------------------------------- */

/* Changes everything; twins_set_grads() spoils the pointers that it passes. */
static void change_everything_between_steps(cudaStream_t stream)
{
    twins *t = open_twins(1, stream);
    fopt_group changed = groups[1];
    hold(stream);
    twins_set_lr(t, 0, 0.05);
    twins_set_grads(t, 1, 0);
    twins_step(t);
    twins_set_lr(t, 0, 0.5);
    changed.momentum = 0.7;
    changed.flags = FOPT_NESTEROV | FOPT_MAXIMIZE;
    twins_set_group(t, 1, &changed);
    memset(&changed, 0xa5, sizeof changed);
    twins_set_grads(t, 2, 3);
    twins_set_step(t, 0, 41);
    twins_step(t);
    twins_set_step(t, 0, 3);
    twins_zero_grads(t);
    twins_step(t);
    twins_set_lr(t, 2, 0.25);
    twins_set_grads(t, 3, 0);
    twins_step(t);
    let_go(stream);
    twins_compare(t);
    twins_free(t);
}

Test(device_streams, values_are_those_of_the_call)
{
    in_each_mode("values of the call", change_everything_between_steps);
}

/* The default stream waits for blocking streams, and they for it. */
Test(device_streams, default_and_blocking_streams)
{
    need_devices(1);
    for (size_t i = 0; i < mode_count(); i++) {
        now_running("default stream %s", choose_mode(i));
        cudaStream_t blocking = new_stream(cudaStreamDefault);
        twins *t = open_twins(2, NULL);
        for (size_t step = 0; step < SETS; step++) {
            t->stream = step % 2 == 0 ? NULL : blocking;
            twins_set_grads(t, step, 2);
            twins_step(t);
        }
        twins_compare(t);
        twins_free(t);
        CUDA_OK(cudaStreamDestroy(blocking));
    }
}

/* What was enqueued before a copy is done before, and the copy is done when the call returns. */
static void copy_after_steps(cudaStream_t stream)
{
    twins *t = open_twins(6, stream);
    twins_step(t);
    for (size_t i = 0; i < t->tensor_count; i++) {
        fopt_array here = {.size = sizeof here}, there = here;
        expect_ok(fopt_state(t->cpu, i, FOPT_SECOND_MOMENT, &here));
        expect_ok(fopt_state(t->cuda, i, FOPT_SECOND_MOMENT, &there));
        void *bytes = memory(here.bytes);
        expect_ok(fopt_copy(t->cuda, bytes, there.data, here.bytes, stream));
        cr_expect(here.bytes == 0 || memcmp(bytes, here.data, here.bytes) == 0, "%s: tensor %zu", what_runs(), i);
        memset(bytes, 0, here.bytes);
        expect_ok(fopt_copy(t->cuda, there.data, bytes, here.bytes, stream));
        expect_ok(fopt_copy(t->cpu, here.data, bytes, here.bytes, NULL));
        free(bytes);
    }
    twins_step(t);
    twins_compare(t);
    twins_free(t);
}

Test(device_streams, copies_wait_for_steps)
{
    in_each_mode("copies", copy_after_steps);
}

static void step_two_optimizers(cudaStream_t stream)
{
    cudaStream_t other = new_stream(cudaStreamNonBlocking);
    twins *a = open_twins(3, stream), *b = open_twins(4, other);
    for (size_t step = 0; step < SETS; step++) {
        twins_set_grads(a, step, 0);
        twins_set_grads(b, step, 2);
        twins_step(b);
        twins_step(a);
        twins_set_lr(b, 0, 0.3 / (double)(step + 1));
    }
    twins_compare(b);
    twins_step(b);
    twins_compare(a);
    twins_free(a);
    twins_compare(b);
    twins_free(b);
    CUDA_OK(cudaStreamDestroy(other));
}

Test(device_streams, two_optimizers_are_independent)
{
    in_each_mode("two optimizers", step_two_optimizers);
}

/* New gradients come by another stream; events say when they are there, and when they may be replaced. */
static void wait_for_a_producer(cudaStream_t stream)
{
    cudaStream_t producer = new_stream(cudaStreamNonBlocking);
    cudaEvent_t produced, consumed;
    CUDA_OK(cudaEventCreateWithFlags(&produced, cudaEventDisableTiming));
    CUDA_OK(cudaEventCreateWithFlags(&consumed, cudaEventDisableTiming));
    twins *t = open_twins(5, stream);
    void *staged[3]; /* made before: to pin memory may wait for all work */
    for (size_t step = 0; step < LENGTH(staged); step++)
        CUDA_OK(cudaMallocHost(&staged[step], t->grads.bytes));
    hold(producer);
    for (size_t step = 0; step < LENGTH(staged); step++) {
        for (size_t i = 0; i < t->tensor_count; i++)
            fill_random(t->host[i].grad_format, t->host[i].grad, t->host[i].count, 100 * step + i, 0);
        memcpy(staged[step], t->grads.host, t->grads.bytes);
        CUDA_OK(cudaMemcpyAsync(t->grads.device, staged[step], t->grads.bytes, cudaMemcpyHostToDevice, producer));
        CUDA_OK(cudaEventRecord(produced, producer));
        CUDA_OK(cudaStreamWaitEvent(stream, produced, 0));
        twins_step(t);
        CUDA_OK(cudaEventRecord(consumed, stream));
        CUDA_OK(cudaStreamWaitEvent(producer, consumed, 0));
    }
    let_go(producer);
    twins_compare(t);
    twins_free(t);
    for (size_t step = 0; step < LENGTH(staged); step++)
        CUDA_OK(cudaFreeHost(staged[step]));
    CUDA_OK(cudaEventDestroy(produced));
    CUDA_OK(cudaEventDestroy(consumed));
    CUDA_OK(cudaStreamDestroy(producer));
}

Test(device_streams, gradients_from_another_stream)
{
    in_each_mode("another stream's gradients", wait_for_a_producer);
}

static void destroy_at_once(cudaStream_t stream)
{
    twins *t = open_twins(6, stream);
    twins_step(t);
    twins_step(t);
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    twins_compare(t); /* the parameters */
    twins_free(t);
}

Test(device_streams, destroy_waits_for_the_steps)
{
    in_each_mode("destroy", destroy_at_once);
}

/* ---- graphs -------------------------------------------------------------------------------------------------- */

/* Calls to be recorded, or made at once. */
typedef void calls(fopt_optimizer *optimizer, cudaStream_t stream);

static void step_once(fopt_optimizer *optimizer, cudaStream_t stream)
{
    expect_ok(fopt_step(optimizer, NULL, stream));
}

static void set_and_step_twice(fopt_optimizer *optimizer, cudaStream_t stream)
{
    expect_ok(fopt_set_lr(optimizer, 0, 0.05, stream));
    expect_ok(fopt_step(optimizer, NULL, stream));
    expect_ok(fopt_set_lr(optimizer, 0, 0.01, stream));
    expect_ok(fopt_zero_grads(optimizer, stream));
    expect_ok(fopt_step(optimizer, NULL, stream));
}

static cudaGraphExec_t instantiate(cudaGraph_t graph)
{
    cudaGraphExec_t executable;
    CUDA_OK(cudaGraphInstantiate(&executable, graph, 0));
    CUDA_OK(cudaGraphDestroy(graph));
    return executable;
}

static cudaGraphExec_t record(const twins *t, calls *recorded)
{
    cudaGraph_t graph;
    CUDA_OK(cudaStreamBeginCapture(t->stream, cudaStreamCaptureModeGlobal));
    recorded(t->cuda, t->stream);
    CUDA_OK(cudaStreamEndCapture(t->stream, &graph));
    return instantiate(graph);
}

/* Launches the graph on the device, and makes the calls on the host. */
static void replay(twins *t, cudaGraphExec_t graph, calls *recorded)
{
    CUDA_OK(cudaGraphLaunch(graph, t->stream));
    recorded(t->cpu, NULL);
}

static void replay_a_hundred_steps(cudaStream_t stream)
{
    twins *t = open_twins(7, stream);
    cudaGraphExec_t graph = record(t, step_once);
    twins_compare(t); /* recorded, not done */
    for (size_t step = 0; step < 100; step++) {
        twins_set_lr(t, step % 3, 0.1 / (double)(step + 1));
        twins_set_grads(t, step % SETS, step % 2 != 0 ? 3 : 0);
        replay(t, graph, step_once);
    }
    twins_compare(t);
    twins_step(t); /* goes on from there */
    twins_compare(t);
    CUDA_OK(cudaGraphExecDestroy(graph));
    twins_free(t);
}

Test(device_streams, replay_with_changes_between)
{
    in_each_mode("replay", replay_a_hundred_steps);
}

static void replay_settings(cudaStream_t stream)
{
    twins *t = open_twins(8, stream);
    cudaGraphExec_t graph = record(t, set_and_step_twice);
    for (size_t step = 0; step < SETS; step++) {
        twins_set_lr(t, 0, 0.9); /* which the graph does not keep */
        twins_set_grads(t, step, 4);
        replay(t, graph, set_and_step_twice);
    }
    twins_step(t);
    twins_compare(t);
    CUDA_OK(cudaGraphExecDestroy(graph));
    twins_free(t);
}

Test(device_streams, replay_of_settings)
{
    in_each_mode("replay of settings", replay_settings);
}

/* Makes calls that cannot be recorded: they are refused, and the recording goes on. A creation works in the default
 * stream: it is refused if that would have to wait for the stream. */
static void record_around_refusals(unsigned flags, enum cudaStreamCaptureMode mode)
{
    cudaStream_t stream = new_stream(flags);
    const fopt_config config = cuda_config();
    twins *t = open_twins(9, stream);
    cudaGraph_t graph;
    int64_t step = -7;
    fopt_optimizer *other;

    CUDA_OK(cudaStreamBeginCapture(stream, mode));
    step_once(t->cuda, stream);
    cr_expect_eq(fopt_get_step(t->cuda, 0, &step, stream), FOPT_ERR_DEVICE, "%s", what_runs());
    cr_expect(strstr(fopt_last_error(), "captured"), "%s: %s", what_runs(), fopt_last_error());
    cr_expect_eq(fopt_copy(t->cuda, &step, t->device[0].param, 2, stream), FOPT_ERR_DEVICE, "%s", what_runs());
    cr_expect(strstr(fopt_last_error(), "captured"), "%s: %s", what_runs(), fopt_last_error());
    cr_expect_eq(step, -7);
    const fopt_status created = fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &other);
    cr_expect_eq(created, flags == cudaStreamDefault ? FOPT_ERR_DEVICE : FOPT_OK, "%s", what_runs());
    cr_expect(!created || strstr(fopt_last_error(), "captured"), "%s: %s", what_runs(), fopt_last_error());
    enum cudaStreamCaptureMode own = cudaStreamCaptureModeGlobal; /* every thread's to begin with */
    CUDA_OK(cudaThreadExchangeStreamCaptureMode(&own));
    cr_expect_eq(own, cudaStreamCaptureModeGlobal, "%s: the thread's mode was not given back", what_runs());
    cr_expect_eq(cudaPeekAtLastError(), cudaSuccess, "%s", what_runs());
    expect_ok(fopt_set_lr(t->cuda, 0, 0.2, stream));
    step_once(t->cuda, stream);
    CUDA_OK(cudaStreamEndCapture(stream, &graph));
    fopt_destroy(other);

    cudaGraphExec_t executable = instantiate(graph);
    CUDA_OK(cudaGraphLaunch(executable, stream));
    step_once(t->cpu, NULL);
    expect_ok(fopt_set_lr(t->cpu, 0, 0.2, NULL));
    step_once(t->cpu, NULL);
    twins_compare(t);
    CUDA_OK(cudaGraphExecDestroy(executable));
    twins_free(t);
    CUDA_OK(cudaStreamDestroy(stream));
}

Test(device_streams, refusals_do_not_spoil_a_capture)
{
    static const struct {
        enum cudaStreamCaptureMode mode;
        const char *name;
    } modes[] = {{cudaStreamCaptureModeGlobal, "global"},
                 {cudaStreamCaptureModeThreadLocal, "thread-local"},
                 {cudaStreamCaptureModeRelaxed, "relaxed"}};
    need_devices(1);
    for (size_t i = 0; i < LENGTH(modes); i++) {
        now_running("%s capture of a blocking stream", modes[i].name);
        record_around_refusals(cudaStreamDefault, modes[i].mode);
        now_running("%s capture of a non-blocking stream", modes[i].name);
        record_around_refusals(cudaStreamNonBlocking, modes[i].mode);
    }
}

/* Kernels are loaded when the optimizer is created: its first calls may all be captured. */
static void capture_first_calls(cudaStream_t stream)
{
    twins *t = open_twins(10, stream);
#ifdef EMULATED
    emu_reset_counts();
#endif
    cudaGraphExec_t graph = record(t, set_and_step_twice);
#ifdef EMULATED
    cr_expect_eq(emu_count(EMU_LOAD), 0, "%s: %zu kernels were loaded in a capture", what_runs(), emu_count(EMU_LOAD));
#endif
    replay(t, graph, set_and_step_twice);
    twins_compare(t);
    CUDA_OK(cudaGraphExecDestroy(graph));
    twins_free(t);
}

Test(device_streams, first_calls_in_a_capture)
{
    in_each_mode("first calls", capture_first_calls);
}

/* ---- destroyed in a capture ---------------------------------------------------------------------------------- */

/* An allocator of one block. */
typedef struct block {
    void *memory;
    bool live;
} block;

static void *allocate_block(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    block *b = context;
    (void)alignment;
    (void)stream;
    CUDA_OK(cudaMalloc(&b->memory, bytes));
    b->live = true;
    return b->memory;
}

static void release_block(void *context, void *memory, size_t bytes, fopt_stream stream)
{
    (void)memory;
    (void)bytes;
    (void)stream;
    ((block *)context)->live = false;
}

/* Steps are under way, or recorded, and nothing can be waited for: what they use is not released. */
static void destroy_in_a_capture(unsigned flags)
{
    block state = {NULL, false};
    fopt_config config = cuda_config();
    cudaStream_t busy = new_stream(cudaStreamNonBlocking), captured = new_stream(flags);
    twins *t = open_twins(11, busy);
    fopt_destroy(t->cuda);
    config.device_allocator = (fopt_allocator){&state, allocate_block, release_block};
    expect_ok(fopt_create(&config, groups, LENGTH(groups), t->device, t->tensor_count, &t->cuda));
    twins_step(t);

    cudaGraph_t graph = NULL;
    CUDA_OK(cudaStreamBeginCapture(captured, cudaStreamCaptureModeThreadLocal));
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    cr_expect(state.live, "%s: released while a step was under way", what_runs());
    cr_expect_eq(cudaPeekAtLastError(), cudaSuccess, "%s", what_runs());
    const cudaError_t ended = cudaStreamEndCapture(captured, &graph);
    if (flags == cudaStreamDefault) /* of which the library knows before it waits */
        cr_expect_eq(ended, cudaSuccess, "%s: the capture was spoiled", what_runs());
    cudaGetLastError();
    if (graph)
        CUDA_OK(cudaGraphDestroy(graph));
    twins_compare(t); /* the parameters */
    twins_free(t);
    CUDA_OK(cudaFree(state.memory));
    CUDA_OK(cudaStreamDestroy(busy));
    CUDA_OK(cudaStreamDestroy(captured));
}

Test(device_streams, destroy_in_a_capture)
{
    need_devices(1);
    now_running("destroy while a blocking stream is captured");
    destroy_in_a_capture(cudaStreamDefault);
    now_running("destroy while a non-blocking stream is captured");
    destroy_in_a_capture(cudaStreamNonBlocking);
}

/* ---- NULL ---------------------------------------------------------------------------------------------------- */

/* The kernels' files may be compiled with a program's flags, the host's not, or the other way round: NULL is the legacy
 * default stream for both. */
Test(device_streams, null_is_the_legacy_stream_everywhere)
{
#ifdef EMULATED
    need_devices(1);
    emu_set_launches_per_thread(true);
    in_each_mode("tables by the default stream", change_everything_between_steps);
    for (size_t i = 0; i < mode_count(); i++) {
        now_running("launches per thread %s", choose_mode(i));
        twins *t = open_twins(12, NULL);
        cudaStream_t legacy = cudaStreamLegacy, blocking = new_stream(cudaStreamDefault);
        for (size_t step = 0; step < SETS; step++) {
            t->stream = step % 3 == 0 ? NULL : step % 3 == 1 ? blocking : legacy;
            twins_set_grads(t, step, 2);
            twins_step(t);
        }
        t->stream = legacy; /* after which NULL must be over too */
        twins_compare(t);
        twins_free(t);
        CUDA_OK(cudaStreamDestroy(blocking));
    }
    emu_set_launches_per_thread(false);
#else
    need_emulator("files that nvcc compiled with --default-stream=per-thread");
#endif
}
