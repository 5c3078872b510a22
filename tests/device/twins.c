/* Twins: the same tensors for both backends, and their comparison to the bit. */
#include "twins.h"
#include "../reference/oracle.h"
#include "../reference/quantized.h"

#ifdef EMULATED
#include "../emulator/emulator.h"
#endif

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the device ---------------------------------------------------------------------------------------------- */

void expect_cuda(cudaError_t error, const char *call)
{
    cr_assert_eq(error, cudaSuccess, "%s: %s: %s", what_runs(), call, cudaGetErrorString(error));
}

void need_devices(int count)
{
    int found = 0;
#ifdef EMULATED
    emu_set_device_count(count);
#endif
    const cudaError_t error = cudaGetDeviceCount(&found);
    if (error != cudaSuccess) {
        cudaGetLastError();
        cr_skip_test("needs a GPU: %s", cudaGetErrorString(error));
    }
    if (found < count) {
        struct cudaDeviceProp properties = {.name = "none"};
        if (found > 0)
            CUDA_OK(cudaGetDeviceProperties(&properties, 0));
        cr_skip_test("needs %d GPUs, found %d: %s", count, found, properties.name);
    }
}

#ifdef EMULATED

void need_emulator(const char *what)
{
    (void)what;
}

size_t mode_count(void)
{
    return 9;
}

const char *choose_mode(size_t index)
{
    static const char *const names[] = {
        "lazy forward",    "lazy reverse",  "lazy random",   "shuffled forward", "shuffled reverse",
        "shuffled random", "eager forward", "eager reverse", "eager random",
    };
    emu_set_order((emu_order)(index % 3), index + 1);
    emu_set_streams((emu_streams)(index / 3 % 3));
    return names[index % 9];
}

#else

void need_emulator(const char *what)
{
    struct cudaDeviceProp properties;
    need_devices(1);
    CUDA_OK(cudaGetDeviceProperties(&properties, 0));
    cr_skip_test("needs the emulator, for %s; this is %s", what, properties.name);
}

size_t mode_count(void)
{
    return 1;
}

const char *choose_mode(size_t index)
{
    (void)index;
    return "gpu";
}

#endif

/* ---- memory -------------------------------------------------------------------------------------------------- */

#define GAP 0xa5

void *give_device(books *b, size_t bytes, size_t alignment)
{
    void *block = NULL;
    (void)b, (void)alignment;
    CUDA_OK(cudaMalloc(&block, bytes));
    return block;
}

void take_device(books *b, void *block)
{
    (void)b;
    CUDA_OK(cudaFree(block));
}

void *memory(size_t bytes)
{
    void *block = malloc(bytes + 1);
    cr_assert_not_null(block);
    return block;
}

mirror mirror_new(size_t bytes)
{
    mirror m = {.host = aligned_alloc(64, (bytes + 64) / 64 * 64), .bytes = bytes};
    cr_assert_not_null(m.host);
    memset(m.host, GAP, bytes);
    void *device = NULL;
    CUDA_OK(cudaMalloc(&device, bytes));
    m.device = device;
    mirror_upload(m);
    return m;
}

void mirror_free(mirror m)
{
    free(m.host);
    CUDA_OK(cudaFree(m.device));
}

void mirror_upload(mirror m)
{
    if (m.bytes > 0)
        CUDA_OK(cudaMemcpy(m.device, m.host, m.bytes, cudaMemcpyHostToDevice));
}

unsigned char *mirror_download(mirror m)
{
    unsigned char *copy = memory(m.bytes);
    if (m.bytes > 0)
        CUDA_OK(cudaMemcpy(copy, m.device, m.bytes, cudaMemcpyDeviceToHost));
    return copy;
}

/* ---- layout -------------------------------------------------------------------------------------------------- */

/* Returns where an array goes in its block; moves `end` on. */
static size_t place(size_t *end, fopt_format format, size_t count, size_t shift)
{
    const size_t begin = (*end + 16 + 63) / 64 * 64 + shift * numbers_bytes(format);
    *end = begin + moment_bytes(format, count);
    return begin;
}

static size_t place_param(size_t *end, const shape *s)
{
    return place(end, s->param, s->count, s->param_shift);
}

static size_t place_grad(size_t *end, const shape *s)
{
    return place(end, s->grad, s->count, s->grad_shift);
}

static void describe(twins *t, const shape *shapes)
{
    size_t param_end = 0, grad_end = 0;
    for (size_t i = 0; i < t->tensor_count; i++) {
        const shape *s = &shapes[i];
        const size_t param = place_param(&param_end, s), grad = place_grad(&grad_end, s);
        t->host[i] = (fopt_tensor){.size = sizeof(fopt_tensor),
                                   .param = t->params.host + param,
                                   .grad = t->grads.host + grad,
                                   .count = s->count,
                                   .param_format = s->param,
                                   .grad_format = s->grad,
                                   .group = s->group,
                                   .global_id = s->global_id != 0 ? s->global_id : i + 1,
                                   .first_element = s->first_element};
        t->device[i] = t->host[i];
        t->device[i].param = t->params.device + param;
        t->device[i].grad = t->grads.device + grad;
    }
}

static void draw_data(twins *t, uint64_t seed)
{
    splitmix random = {seed};
    for (size_t i = 0; i < t->tensor_count; i++) {
        const fopt_tensor *h = &t->host[i];
        fill_random(h->param_format, h->param, h->count, splitmix_next(&random), 8);
        for (size_t set = 0; set < t->grad_sets; set++)
            fill_random(h->grad_format, (unsigned char *)h->grad + set * t->grad_stride, h->count,
                        splitmix_next(&random), 8);
    }
    mirror_upload(t->params);
    mirror_upload(t->grads);
}

/* Describes the state arrays for fopt_update(), zeroed. */
static void describe_states(twins *t, const shape *shapes)
{
    size_t bytes = 0;
    for (int pass = 0; pass < 2; pass++) {
        size_t end = 0;
        for (size_t k = 0; k < t->tensor_count * FOPT_STATE_KINDS; k++) {
            const shape *s = &shapes[k / FOPT_STATE_KINDS];
            const fopt_state_kind kind = (fopt_state_kind)(k % FOPT_STATE_KINDS);
            const fopt_group *group = &t->groups[s->group];
            t->host_states[k] = t->device_states[k] = (fopt_array){.size = sizeof(fopt_array)};
            if (!oracle_keeps(group, kind) || s->count == 0)
                continue;
            const fopt_format format = group->state_format[kind];
            const size_t begin = place(&end, format, s->count, s->state_shift);
            if (pass == 0)
                continue;
            t->host_states[k] = moment_array(format, t->states.host + begin, s->count);
            t->device_states[k] = moment_array(format, t->states.device + begin, s->count);
            memset(t->host_states[k].data, 0, moment_bytes(format, s->count));
        }
        bytes = end;
        if (pass == 0)
            t->states = mirror_new(bytes);
    }
    mirror_upload(t->states);
}

twins *twins_new(const fopt_group *groups, size_t group_count, const shape *shapes, size_t tensor_count,
                 size_t grad_sets, uint64_t seed)
{
    size_t param_bytes = 0, grad_bytes = 0;
    for (size_t i = 0; i < tensor_count; i++) {
        place_param(&param_bytes, &shapes[i]);
        place_grad(&grad_bytes, &shapes[i]);
    }
    twins *t = memory(sizeof *t);
    *t = (twins){.groups = groups,
                 .group_count = group_count,
                 .tensor_count = tensor_count,
                 .grad_sets = grad_sets,
                 .grad_stride = (grad_bytes + 63) / 64 * 64,
                 .host = memory(tensor_count * sizeof(fopt_tensor)),
                 .device = memory(tensor_count * sizeof(fopt_tensor)),
                 .host_states = memory(tensor_count * FOPT_STATE_KINDS * sizeof(fopt_array)),
                 .device_states = memory(tensor_count * FOPT_STATE_KINDS * sizeof(fopt_array))};
    t->params = mirror_new(param_bytes);
    t->grads = mirror_new((grad_sets - 1) * t->grad_stride + grad_bytes); /* the last ends where the block does */
    describe(t, shapes);
    describe_states(t, shapes);
    draw_data(t, seed);
    return t;
}

void twins_free(twins *t)
{
    fopt_destroy(t->cpu);
    fopt_destroy(t->cuda);
    mirror_free(t->params);
    mirror_free(t->grads);
    mirror_free(t->states);
    free(t->host);
    free(t->device);
    free(t->host_states);
    free(t->device_states);
    free(t);
}

void *on_device(const twins *t, const void *host)
{
    const uintptr_t address = (uintptr_t)host, grads = (uintptr_t)t->grads.host, params = (uintptr_t)t->params.host;
    if (address - grads < t->grads.bytes)
        return t->grads.device + (address - grads);
    return t->params.device + (address - params);
}

/* ---- calls on both ------------------------------------------------------------------------------------------- */

static fopt_config cpu_config(void)
{
    return (fopt_config){.size = sizeof(fopt_config), .seed = TWINS_SEED, .threads = 1};
}

fopt_config cuda_config(void)
{
    fopt_config config = {.size = sizeof config, .seed = TWINS_SEED, .device = {FOPT_CUDA, 0}};
    CUDA_OK(cudaGetDevice(&config.device.index));
    return config;
}

static fopt_optimizer *create(const twins *t, fopt_config config, const fopt_tensor *tensors, size_t skip)
{
    fopt_optimizer *optimizer;
    fopt_tensor *some = memory(t->tensor_count * sizeof *some);
    memcpy(some, tensors, t->tensor_count * sizeof *some);
    for (size_t i = 0; skip != 0 && i < t->tensor_count; i += skip)
        some[i].grad = NULL;
    expect_ok(fopt_create(&config, t->groups, t->group_count, some, t->tensor_count, &optimizer));
    free(some);
    return optimizer;
}

void twins_create(twins *t, size_t skip)
{
    t->cpu = create(t, cpu_config(), t->host, skip);
    t->cuda = create(t, cuda_config(), t->device, skip);
}

void twins_step(twins *t)
{
    expect_ok(fopt_step(t->cpu, NULL, NULL));
    expect_ok(fopt_step(t->cuda, NULL, t->stream));
}

void twins_set_lr(twins *t, size_t group, double lr)
{
    expect_ok(fopt_set_lr(t->cpu, group, lr, NULL));
    expect_ok(fopt_set_lr(t->cuda, group, lr, t->stream));
}

void twins_set_group(twins *t, size_t group, const fopt_group *value)
{
    expect_ok(fopt_set_group(t->cpu, group, value, NULL));
    expect_ok(fopt_set_group(t->cuda, group, value, t->stream));
}

void twins_set_step(twins *t, size_t tensor, int64_t step)
{
    expect_ok(fopt_set_step(t->cpu, tensor, step, NULL));
    expect_ok(fopt_set_step(t->cuda, tensor, step, t->stream));
}

void twins_zero_grads(twins *t)
{
    expect_ok(fopt_zero_grads(t->cpu, NULL));
    expect_ok(fopt_zero_grads(t->cuda, t->stream));
}

/* Returns the gradient of the tensor in another set. */
static void *grad_of(const twins *t, const fopt_tensor *tensor, size_t set)
{
    return (unsigned char *)tensor->grad + set * t->grad_stride;
}

/* Spoils the pointers after the call: nothing may read them later. */
void twins_set_grads(twins *t, size_t set, size_t skip)
{
    void **host = memory(t->tensor_count * sizeof *host), **device = memory(t->tensor_count * sizeof *device);
    for (size_t i = 0; i < t->tensor_count; i++) {
        const bool skips = skip != 0 && i % skip == set % skip;
        host[i] = skips ? NULL : grad_of(t, &t->host[i], set);
        device[i] = skips ? NULL : grad_of(t, &t->device[i], set);
    }
    expect_ok(fopt_set_grads(t->cpu, host, NULL));
    expect_ok(fopt_set_grads(t->cuda, device, t->stream));
    memset(device, GAP, t->tensor_count * sizeof *device);
    free(host);
    free(device);
}

void twins_update(twins *t, size_t set, int64_t step)
{
    const fopt_config cpu = cpu_config(), cuda = cuda_config();
    for (size_t i = 0; i < t->tensor_count; i++) {
        const fopt_group *group = &t->groups[t->host[i].group];
        fopt_tensor host = t->host[i], device = t->device[i];
        host.grad = grad_of(t, &host, set);
        device.grad = grad_of(t, &device, set);
        expect_ok(fopt_update(&cpu, group, &host, &t->host_states[i * FOPT_STATE_KINDS], step, NULL, NULL));
        expect_ok(fopt_update(&cuda, group, &device, &t->device_states[i * FOPT_STATE_KINDS], step, NULL, t->stream));
    }
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

/* Compares one array of a tensor; afterwards `got` has the host's bits, since a NaN may have others. */
static void compare_array(size_t tensor, const char *array, fopt_format format, void *got, const void *want,
                          size_t count)
{
    char what[64];
    snprintf(what, sizeof what, "tensor=%zu %s", tensor, array);
    expect_same(what, format, got, want, count);
    memcpy(got, want, count * numbers_bytes(format));
}

/* Compares a moment likewise. */
static void compare_moments(size_t tensor, const char *name, fopt_array got, fopt_array want)
{
    compare_array(tensor, name, want.format, got.data, want.data, want.count);
    if (got.absmax && want.absmax)
        compare_array(tensor, "absmax", FOPT_F32, got.absmax, want.absmax, quantized_blocks(want.format, want.count));
}

/* Compares the gaps: with the arrays made equal, what still differs is between them. */
static void compare_gaps(const char *what, mirror m, unsigned char *got)
{
    for (size_t i = 0; i < m.bytes; i++)
        if (got[i] != m.host[i])
            cr_assert_fail("%s: byte %zu of %zu of the %s, between the arrays, is 0x%02x", what_runs(), i, m.bytes,
                           what, got[i]);
    free(got);
}

/* Returns where the optimizer keeps state, from the first array to the end of the last: the emulator is slow at many
 * copies. */
static mirror state_block(const twins *t)
{
    unsigned char *begin = NULL;
    const unsigned char *end = NULL;
    for (size_t k = 0; k < t->tensor_count * FOPT_STATE_KINDS; k++) {
        fopt_array view = {.size = sizeof view};
        expect_ok(fopt_state(t->cuda, k / FOPT_STATE_KINDS, (fopt_state_kind)(k % FOPT_STATE_KINDS), &view));
        unsigned char *const data = view.data;
        if (data && (!begin || data < begin))
            begin = data;
        const unsigned char *last = data ? data + view.bytes : NULL;
        if (data && view.absmax)
            last = (const unsigned char *)(view.absmax + quantized_blocks(view.format, view.count));
        if (last > end)
            end = last;
    }
    return (mirror){.device = begin, .bytes = begin ? (size_t)(end - begin) : 0};
}

/* Compares one moment. `block` is a copy of the optimizer's, which begins at the address. */
static void compare_state(twins *t, size_t tensor, fopt_state_kind kind, unsigned char *block,
                          const unsigned char *begin)
{
    const fopt_group *group = &t->groups[t->host[tensor].group];
    fopt_array want = {.size = sizeof want}, got = want;
    expect_ok(fopt_state(t->cpu, tensor, kind, &want));
    expect_ok(fopt_state(t->cuda, tensor, kind, &got));
    cr_assert(got.count == want.count && got.bytes == want.bytes && got.format == want.format &&
                  !got.data == !want.data && !got.absmax == !want.absmax,
              "%s tensor=%zu: the views of state %d differ", what_runs(), tensor, (int)kind);
    if (!want.data)
        return;
    got.data = block + ((const unsigned char *)got.data - begin);
    if (got.absmax)
        got.absmax = (float *)(void *)(block + ((const unsigned char *)got.absmax - begin));
    compare_moments(tensor, fopt_state_kind_name(group->rule, kind), got, want);
}

static void compare_step(const twins *t, size_t tensor)
{
    int64_t want, got;
    expect_ok(fopt_get_step(t->cpu, tensor, &want, NULL));
    expect_ok(fopt_get_step(t->cuda, tensor, &got, t->stream));
    cr_assert_eq(got, want, "%s tensor=%zu: step is %lld, want %lld", what_runs(), tensor, (long long)got,
                 (long long)want);
}

/* Compares the step counts; of thousands of tensors, some. */
static void compare_optimizers(twins *t)
{
    const mirror states = state_block(t);
    unsigned char *block = mirror_download(states);
    for (size_t i = 0; i < t->tensor_count; i++)
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
            compare_state(t, i, kind, block, states.device);
    free(block);
    for (size_t i = 0; i < t->tensor_count; i += 1 + t->tensor_count / 700)
        compare_step(t, i);
}

/* Compares the state of fopt_update(). */
static void compare_states(twins *t)
{
    unsigned char *got = mirror_download(t->states);
    for (size_t k = 0; k < t->tensor_count * FOPT_STATE_KINDS; k++) {
        const fopt_array *want = &t->host_states[k];
        if (want->data)
            compare_moments(
                k / FOPT_STATE_KINDS, "state",
                moment_array(want->format, got + ((unsigned char *)want->data - t->states.host), want->count), *want);
    }
    compare_gaps("states", t->states, got);
}

void twins_compare(twins *t)
{
    CUDA_OK(cudaStreamSynchronize(t->stream));
    unsigned char *params = mirror_download(t->params), *grads = mirror_download(t->grads);
    for (size_t i = 0; i < t->tensor_count; i++) {
        const fopt_tensor *h = &t->host[i];
        compare_array(i, "param", h->param_format, params + ((unsigned char *)h->param - t->params.host), h->param,
                      h->count);
    }
    compare_gaps("parameters", t->params, params);
    compare_gaps("gradients", t->grads, grads); /* only ever read, or set to zeros: the same bytes throughout */
    if (t->cuda)
        compare_optimizers(t);
    compare_states(t);
}
