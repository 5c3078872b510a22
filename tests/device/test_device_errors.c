/*
 * What the CUDA backend refuses, and what it leaves alone: devices that are not there, memory that the device cannot
 * reach, errors that were there before, the caller's current device, and the caller's allocators.
 */
#include "twins.h"

#ifdef EMULATED
#include "../emulator/emulator.h"
#endif

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static fopt_group groups[2];

static const shape shapes[] = {
    {.count = 700},
    {.param = FOPT_BF16, .grad = FOPT_F16, .count = 300, .group = 1, .param_shift = 1},
    {.count = 0},
    {.count = 40, .group = 1},
};

static twins *new_twins(void)
{
    expect_ok(fopt_group_init(&groups[0], sizeof groups[0], FOPT_ADAM));
    expect_ok(fopt_group_init(&groups[1], sizeof groups[1], FOPT_SGD));
    groups[0].state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    groups[1].momentum = 0.9;
    return twins_new(groups, LENGTH(groups), shapes, LENGTH(shapes), 1, 1);
}

/* Expects a failure with these words that has left nothing on CUDA's record. */
static void expect_refused(fopt_status got, fopt_status want, const char *words)
{
    cr_expect_eq(got, want, "%s: status %d, want %d", what_runs(), (int)got, (int)want);
    cr_expect(strstr(fopt_last_error(), words), "%s: got '%s' want '%s'", what_runs(), fopt_last_error(), words);
    cr_expect_eq(cudaPeekAtLastError(), cudaSuccess, "%s: left %s", what_runs(),
                 cudaGetErrorName(cudaPeekAtLastError()));
}

/* ---- devices ------------------------------------------------------------------------------------------------- */

/* Makes all calls that take a device, for one that does not exist. */
static void expect_no_device(int index, const char *words)
{
    const fopt_config config = {.size = sizeof config, .device = {FOPT_CUDA, index}};
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    float numbers[2] = {1, 1};
    const fopt_tensor tensor = {.size = sizeof tensor, .param = &numbers[0], .grad = &numbers[1], .count = 1};
    fopt_device_info info = {.size = sizeof info};
    fopt_sizes sizes = {.size = sizeof sizes};
    fopt_optimizer *out = (fopt_optimizer *)&info;
    now_running("device %d", index);
    expect_refused(fopt_device_query(config.device, &info), FOPT_ERR_DEVICE, words);
    expect_ok(fopt_query_sizes(&config, &group, 1, &tensor, 1, &sizes)); /* which needs no device */
    expect_refused(fopt_create(&config, &group, 1, &tensor, 1, &out), FOPT_ERR_DEVICE, words);
    expect_refused(fopt_update(&config, &group, &tensor, NULL, 1, NULL, NULL), FOPT_ERR_DEVICE, words);
    cr_expect_null(out);
    cr_expect_eq(numbers[0], 1);
}

Test(device_errors, no_device)
{
#ifdef EMULATED
    int count = -1;
    emu_set_device_count(0);
    expect_ok(fopt_device_count(FOPT_CUDA, &count));
    cr_expect_eq(count, 0);
    cr_expect_eq(cudaPeekAtLastError(), cudaSuccess);
    expect_no_device(0, "device.kind is FOPT_CUDA, but there is no usable GPU");
#else
    need_emulator("a machine without a GPU");
#endif
}

Test(device_errors, index_out_of_range)
{
    need_devices(1);
    int count, of_cuda;
    expect_ok(fopt_device_count(FOPT_CUDA, &count));
    CUDA_OK(cudaGetDeviceCount(&of_cuda));
    cr_expect_eq(count, of_cuda);
    expect_no_device(-1, "device.index is -1, but CUDA has");
    expect_no_device(1000, "device.index is 1000, but CUDA has");
    expect_no_device(count, "but CUDA has");
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static void need_separate_memory(void)
{
    int reaches_all = 0;
    need_devices(1);
    CUDA_OK(cudaDeviceGetAttribute(&reaches_all, cudaDevAttrPageableMemoryAccess, 0));
    if (reaches_all)
        cr_skip_test("needs a device that cannot reach all memory of the host");
}

Test(device_errors, memory_of_the_host)
{
    need_separate_memory();
    const fopt_config config = cuda_config();
    twins *t = new_twins();
    fopt_optimizer *out;
    t->device[1].name = "w";

    now_running("host param");
    t->device[1].param = t->host[1].param;
    expect_refused(fopt_create(&config, groups, 2, t->device, 4, &out), FOPT_ERR_ARGUMENT, "tensor 1 'w': param");
    expect_refused(fopt_update(&config, &groups[1], &t->device[1], &t->device_states[FOPT_STATE_KINDS], 1, NULL, NULL),
                   FOPT_ERR_ARGUMENT, "tensor 'w': param");
    t->device[1].param = on_device(t, t->host[1].param);

    now_running("host grad");
    t->device[1].grad = t->host[1].grad;
    expect_refused(fopt_create(&config, groups, 2, t->device, 4, &out), FOPT_ERR_ARGUMENT, "tensor 1 'w': grad");
    expect_refused(fopt_update(&config, &groups[1], &t->device[1], &t->device_states[FOPT_STATE_KINDS], 1, NULL, NULL),
                   FOPT_ERR_ARGUMENT, "tensor 'w': grad");
    t->device[1].grad = on_device(t, t->host[1].grad);

    now_running("host state");
    fopt_array states[FOPT_STATE_KINDS];
    memcpy(states, &t->device_states[FOPT_STATE_KINDS], sizeof states);
    states[FOPT_MOMENTUM_BUFFER].data = t->host_states[FOPT_STATE_KINDS + FOPT_MOMENTUM_BUFFER].data;
    expect_refused(fopt_update(&config, &groups[1], &t->device[1], states, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor 'w': a state array");
    twins_compare(t); /* nothing was written */
    twins_free(t);
}

/* An array must be the device's to its last byte. */
Test(device_errors, memory_that_ends_too_early)
{
    need_separate_memory();
    const fopt_config config = cuda_config();
    twins *t = new_twins();
    fopt_optimizer *out;
    float *param, *grad;
    CUDA_OK(cudaMalloc((void **)&param, 1 << 20));
    CUDA_OK(cudaMalloc((void **)&grad, 1 << 20));
    fopt_tensor tensor = {.size = sizeof tensor, .param = param, .grad = grad, .count = 1 << 18};
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    now_running("a param that ends too early");
    expect_ok(fopt_create(&config, &group, 1, &tensor, 1, &out));
    fopt_destroy(out);
    /* On a GPU the next block may lie right behind this one, but not so many of them. */
    tensor.count = (size_t)1 << 40;
    tensor.grad = NULL;
    expect_refused(fopt_create(&config, &group, 1, &tensor, 1, &out), FOPT_ERR_ARGUMENT, "tensor 0: param has 0x");
    tensor.grad = grad;
#ifdef EMULATED
    tensor.count = (1 << 18) + 1;
    expect_refused(fopt_update(&config, &group, &tensor, NULL, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor: param has 0x");
    expect_refused(fopt_create(&config, &group, 1, &tensor, 1, &out), FOPT_ERR_ARGUMENT, "tensor 0: param has 0x");
    tensor.param_format = FOPT_BF16; /* whose array is shorter */
    expect_refused(fopt_create(&config, &group, 1, &tensor, 1, &out), FOPT_ERR_ARGUMENT, "tensor 0: grad has 0x");
    expect_refused(fopt_update(&config, &group, &tensor, NULL, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor: grad has 0x");
    tensor.param_format = FOPT_F32;

    now_running("a state array that ends too early");
    group.momentum = 0.9;
    tensor.count = 1000;
    fopt_array states[FOPT_STATE_KINDS];
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        states[kind] = (fopt_array){.size = sizeof states[kind]};
    states[FOPT_MOMENTUM_BUFFER].data = param + (1 << 18) - 999;
    states[FOPT_MOMENTUM_BUFFER].count = 1000;
    expect_refused(fopt_update(&config, &group, &tensor, states, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor: a state array has 0x");
    now_running("codes that end too early");
    float absmax[4]; /* never looked at */
    group.state_format[FOPT_MOMENTUM_BUFFER] = states[FOPT_MOMENTUM_BUFFER].format = FOPT_Q8;
    states[FOPT_MOMENTUM_BUFFER].data = (char *)param + (1 << 20) - 999;
    states[FOPT_MOMENTUM_BUFFER].absmax = absmax;
    expect_refused(fopt_update(&config, &group, &tensor, states, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor: a state array has 0x");
    states[FOPT_MOMENTUM_BUFFER].data = param + (1 << 17);
    now_running("an absmax that ends too early");
    states[FOPT_MOMENTUM_BUFFER].absmax = param + (1 << 18) - 3; /* of four */
    expect_refused(fopt_update(&config, &group, &tensor, states, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor: an absmax has 0x");
#endif
    CUDA_OK(cudaFree(param));
    CUDA_OK(cudaFree(grad));
    twins_free(t);
}

/* The device sees it elsewhere: at the host's address there is nothing for it. */
Test(device_errors, registered_memory_at_another_address)
{
#ifdef EMULATED
    need_devices(1);
    static float numbers[600];
    const fopt_config config = cuda_config();
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    static float seen_at[600];
    emu_register_host(numbers, sizeof numbers, seen_at);
    const fopt_tensor tensor = {.size = sizeof tensor, .param = numbers, .grad = numbers + 300, .count = 300};
    now_running("registered memory");
    expect_refused(fopt_update(&config, &group, &tensor, NULL, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "which is memory of the host that CUDA device 0 sees at 0x");
#else
    need_emulator("memory of the host that the device sees at another address");
#endif
}

/* The device reaches pinned memory of the host. */
Test(device_errors, pinned_memory_is_accepted)
{
    need_devices(1);
    const fopt_config cuda = cuda_config();
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    void *pinned = NULL;
    CUDA_OK(cudaMallocHost(&pinned, 600 * sizeof(float)));
    float *numbers = pinned;
    for (size_t i = 0; i < 600; i++)
        numbers[i] = 1;
    const fopt_tensor tensor = {.size = sizeof tensor, .param = numbers, .grad = numbers + 300, .count = 300};
    expect_ok(fopt_update(&cuda, &group, &tensor, NULL, 1, NULL, NULL));
    CUDA_OK(cudaDeviceSynchronize());
    for (size_t i = 0; i < 300; i++)
        cr_expect_eq(numbers[i], 1 - 1e-3f);
    CUDA_OK(cudaFreeHost(pinned));
}

Test(device_errors, memory_of_another_device)
{
    need_devices(2);
    const fopt_config config = cuda_config();
    CUDA_OK(cudaSetDevice(1));
    twins *t = new_twins();
    CUDA_OK(cudaSetDevice(0));
    fopt_optimizer *out;
    now_running("another device's memory");
    expect_refused(fopt_create(&config, groups, 2, t->device, 4, &out), FOPT_ERR_ARGUMENT,
                   "which is not memory of CUDA device 0");
    expect_refused(fopt_update(&config, &groups[0], &t->device[0], t->device_states, 1, NULL, NULL), FOPT_ERR_ARGUMENT,
                   "tensor: param");
    twins_free(t);
}

Test(device_errors, moments_in_memory_of_the_host)
{
#ifdef EMULATED
    need_devices(1);
    const fopt_config config = cuda_config();
    twins *t = new_twins();
    fopt_optimizer *out;
    now_running("the host's moments");
    t->device[0].states = t->host_states;
    expect_refused(fopt_create(&config, groups, 2, t->device, 4, &out), FOPT_ERR_ARGUMENT,
                   "tensor 0: a state array has 0x");
    twins_free(t);
#else
    need_emulator("a device that does not reach pageable memory");
#endif
}

/* ---- errors that were there ---------------------------------------------------------------------------------- */

/* Each call reports it and leaves it, and does nothing. */
Test(device_errors, an_error_that_was_there)
{
    need_devices(1);
    const char *const words = "CUDA had failed before this call";
    const fopt_config config = cuda_config();
    twins *t = new_twins();
    twins_create(t, 0);
    fopt_optimizer *other;
    void *grads[LENGTH(shapes)] = {NULL};
    double norm;
    int64_t step = -7;
    cr_assert_eq(cudaSetDevice(1000), cudaErrorInvalidDevice);
    const fopt_status got[] = {
        fopt_create(&config, groups, 2, t->device, 4, &other),
        fopt_step(t->cuda, NULL, NULL),
        fopt_set_lr(t->cuda, 0, 0.9, NULL),
        fopt_set_group(t->cuda, 0, &groups[0], NULL),
        fopt_set_grads(t->cuda, grads, NULL),
        fopt_set_step(t->cuda, 0, 9, NULL),
        fopt_get_step(t->cuda, 0, &step, NULL),
        fopt_copy(t->cuda, &step, t->device[0].param, 2, NULL),
        fopt_zero_grads(t->cuda, NULL),
        fopt_grad_norm(t->cuda, 0, 1, &norm, NULL, NULL),
        fopt_update(&config, &groups[0], &t->device[0], &t->device_states[0], 1, NULL, NULL),
    };
    for (size_t i = 0; i < LENGTH(got); i++)
        cr_expect_eq(got[i], FOPT_ERR_DEVICE, "call %zu: status %d", i, (int)got[i]);
    cr_expect(strstr(fopt_last_error(), words), "%s", fopt_last_error());
    cr_expect_null(other);
    cr_expect_eq(step, -7);

    int count = 0;
    fopt_device_info info = {.size = sizeof info};
    fopt_sizes sizes = {.size = sizeof sizes};
    expect_ok(fopt_device_count(FOPT_CUDA, &count));
    expect_ok(fopt_device_query(config.device, &info));
    expect_ok(fopt_query_sizes(&config, groups, 2, t->device, 4, &sizes));
    cr_expect_eq(cudaGetLastError(), cudaErrorInvalidDevice);
    twins_step(t); /* it takes part no longer */
    twins_compare(t);
    twins_free(t);
}

/* A stream that was asked too early is on the same record, and no error. */
Test(device_errors, work_that_was_not_ready)
{
    need_devices(1);
    cudaStream_t stream;
    CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    twins *t = new_twins();
    t->stream = stream;
    twins_create(t, 0);
    for (int step = 0; step < 100; step++) {
        twins_step(t);
        const cudaError_t error = cudaStreamQuery(stream);
        cr_expect(error == cudaSuccess || error == cudaErrorNotReady);
    }
    cudaGetLastError();
    twins_compare(t);
    twins_free(t);
    CUDA_OK(cudaStreamDestroy(stream));
}

/* ---- the current device -------------------------------------------------------------------------------------- */

static void expect_current(int device)
{
    int current = -1;
    CUDA_OK(cudaGetDevice(&current));
    cr_assert_eq(current, device, "%s: the current device is %d, was %d", what_runs(), current, device);
}

/* Makes each call, successful or not, while another device is current than the optimizer's. */
static void call_from(int device)
{
    const int other = 1 - device;
    CUDA_OK(cudaSetDevice(other));
    twins *t = new_twins();
    const fopt_config config = cuda_config();
    CUDA_OK(cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking));
    CUDA_OK(cudaSetDevice(device));

    expect_ok(fopt_create(&config, groups, 2, t->device, 4, &t->cuda));
    expect_current(device);
    const fopt_config cpu = {.size = sizeof cpu, .seed = TWINS_SEED};
    expect_ok(fopt_create(&cpu, groups, 2, t->host, 4, &t->cpu));
    twins_set_lr(t, 0, 0.2);
    expect_current(device);
    twins_set_group(t, 1, &groups[1]);
    expect_current(device);
    twins_step(t);
    expect_current(device);
    twins_set_grads(t, 0, 2);
    expect_current(device);
    twins_set_step(t, 0, 5);
    expect_current(device);
    twins_step(t);
    twins_zero_grads(t);
    expect_current(device);
    twins_compare(t); /* with fopt_get_step() */
    expect_current(device);
    expect_ok(fopt_update(&config, &groups[0], &t->device[0], t->device_states, 1, NULL, t->stream));
    expect_ok(fopt_update(&cpu, &groups[0], &t->host[0], t->host_states, 1, NULL, NULL));
    expect_current(device);
    twins_compare(t);
    CUDA_OK(cudaStreamDestroy(t->stream));
    twins_free(t);
    expect_current(device);
}

Test(device_errors, the_current_device_remains)
{
    need_devices(2);
    now_running("from device 0");
    call_from(0);
    now_running("from device 1");
    call_from(1);
}

/* ---- allocators ---------------------------------------------------------------------------------------------- */

/* Books of the device's allocator. */
typedef struct device_books {
    books books;
    int device;        /* that is current whenever the allocator is called */
    cudaStream_t busy; /* must be idle when memory comes back */
} device_books;

static void *give(books *b, size_t bytes, size_t alignment)
{
    expect_current(((device_books *)b)->device);
    void *block = give_device(b, bytes, alignment);
    CUDA_OK(cudaMemset(block, 0xff, bytes));
    return block;
}

static void take(books *b, void *block)
{
    const device_books *d = (device_books *)b;
    expect_current(d->device);
    if (d->busy)
        cr_expect_eq(cudaStreamQuery(d->busy), cudaSuccess, "memory came back while steps were under way");
    take_device(b, block);
}

static fopt_config config_with(books *host, device_books *device)
{
    fopt_config config = cuda_config();
    device->books.give = give;
    device->books.take = take;
    config.host_allocator = books_allocator(host);
    config.device_allocator = books_allocator(&device->books);
    return config;
}

Test(device_errors, allocators_give_what_was_announced)
{
    need_devices(1);
    books host = {.calls = 0};
    device_books device = {.busy = NULL};
    const fopt_config config = config_with(&host, &device);
    fopt_sizes sizes = {.size = sizeof sizes};
    twins *t = new_twins();
    twins_create(t, 0);
    fopt_destroy(t->cuda);
    expect_ok(fopt_query_sizes(&config, groups, 2, t->device, 4, &sizes));
    expect_ok(fopt_create(&config, groups, 2, t->device, 4, &t->cuda));
    cr_expect_eq(host.live_bytes, sizes.host_bytes);
    cr_expect_eq(device.books.live_bytes, sizes.device_bytes);
    cr_expect_eq(host.calls + device.books.calls, 2);
    cr_expect_eq(sizes.state_bytes, (size_t)700 * (4 + 2) + (size_t)(300 + 40) * 4);
    cr_expect_eq(sizes.device_bytes, sizes.state_bytes + sizes.padding_bytes + sizes.table_bytes);
    const size_t tiles = 3 + 2 + 1, tables = 104 * LENGTH(groups) + 340 * LENGTH(shapes) + 4 * tiles;
    cr_expect(sizes.table_bytes >= tables && sizes.table_bytes < tables + 320, "%zu bytes of tables, said to be %zu",
              sizes.table_bytes, tables);

    twins_step(t);
    twins_compare(t);
    cr_expect_eq(host.calls + device.books.calls, 2, "an allocator was called by something else than fopt_create()");
    twins_free(t);
    cr_expect_eq(host.live_blocks + device.books.live_blocks, 0);
}

Test(device_errors, allocators_are_called_on_their_device)
{
    need_devices(2);
    CUDA_OK(cudaSetDevice(1));
    books host = {.calls = 0};
    device_books device = {.device = 1};
    const fopt_config config = config_with(&host, &device);
    twins *t = new_twins();
    CUDA_OK(cudaSetDevice(0));
    now_running("allocators of device 1");
    expect_ok(fopt_create(&config, groups, 2, t->device, 4, &t->cuda));
    fopt_destroy(t->cuda);
    t->cuda = NULL;
    cr_expect_eq(device.books.calls, 1);
    cr_expect_eq(host.live_blocks + device.books.live_blocks, 0);
    twins_free(t);
}

/* Gives memory that a tensor lies in. */
static void *allocate_taken(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    (void)bytes;
    (void)alignment;
    (void)stream;
    return context;
}

static void release_nothing(void *context, void *block, size_t bytes, fopt_stream stream)
{
    (void)context;
    (void)block;
    (void)bytes;
    (void)stream;
}

Test(device_errors, allocator_gives_what_is_in_use)
{
    need_devices(1);
    twins *t = new_twins();
    fopt_config config = cuda_config();
    fopt_optimizer *out;
    const struct {
        unsigned char *block;
        const char *words;
    } taken[] = {{t->params.device, "config.device_allocator returned 0x"},
                 {t->grads.device, "which lies in the state of this optimizer"}};
    for (size_t i = 0; i < LENGTH(taken); i++) {
        unsigned char *const aligned = taken[i].block + 64 - (uintptr_t)taken[i].block % 64;
        config.device_allocator = (fopt_allocator){aligned, allocate_taken, release_nothing};
        now_running("memory in use");
        expect_refused(fopt_create(&config, groups, 2, t->device, 4, &out), FOPT_ERR_ARGUMENT, taken[i].words);
    }
    twins_compare(t); /* nothing was written */
    twins_free(t);
}

/* Memory comes back when nothing uses it any more, even if CUDA had failed before. */
Test(device_errors, memory_comes_back_idle)
{
    need_devices(1);
    for (int failed = 0; failed <= 1; failed++) {
        now_running("destroy, %s", failed ? "after an error" : "without an error");
        books host = {.calls = 0};
        device_books device = {.busy = NULL};
        const fopt_config config = config_with(&host, &device);
        twins *t = new_twins();
        CUDA_OK(cudaStreamCreateWithFlags(&device.busy, cudaStreamNonBlocking));
        expect_ok(fopt_create(&config, groups, 2, t->device, 4, &t->cuda));
        for (int step = 0; step < 50; step++)
            expect_ok(fopt_step(t->cuda, NULL, device.busy));
        if (failed)
            cr_assert_eq(cudaSetDevice(1000), cudaErrorInvalidDevice);
        fopt_destroy(t->cuda);
        cr_expect_eq(cudaGetLastError(), failed ? cudaErrorInvalidDevice : cudaSuccess);
        t->cuda = NULL;
        cr_expect_eq(device.books.live_blocks, 0);
        CUDA_OK(cudaStreamSynchronize(device.busy));
        CUDA_OK(cudaStreamDestroy(device.busy));
        twins_free(t);
    }
}
