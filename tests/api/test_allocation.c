/* What the library asks of the caller's allocators: how much, when, and that all of it comes back. */
#include "../reference/numbers.h"
#include "books.h"
#include "callers_threads.h"
#include "model.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static model m;
static books host, device;

static void use_books(void)
{
    model_describe(&m);
    host = (books){.calls = 0};
    device = (books){.calls = 0};
    m.config.host_allocator = books_allocator(&host);
    m.config.device_allocator = books_allocator(&device);
}

TestSuite(allocation, .init = use_books);

static fopt_sizes query(void)
{
    fopt_sizes sizes = {.size = sizeof sizes};
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &sizes));
    return sizes;
}

static void expect_nothing_live(void)
{
    cr_expect_eq(host.live_blocks, 0, "%zu blocks leaked", host.live_blocks);
    cr_expect_eq(device.live_blocks, 0, "%zu blocks leaked", device.live_blocks);
}

/* Creates, expects a failure, and that it left no trace. */
static void expect_failure(fopt_status want, const char *words)
{
    static model_memory memory;
    memcpy(&memory, &m.memory, sizeof memory);
    fopt_optimizer *out = (fopt_optimizer *)&m;
    cr_expect_eq(fopt_create(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &out), want);
    cr_expect(mentions(fopt_last_error(), words), "got '%s' want '%s'", fopt_last_error(), words);
    cr_expect_null(out);
    cr_expect_eq(memcmp(&memory, &m.memory, sizeof memory), 0, "'%s': the model changed", words);
    expect_nothing_live();
}

/* ---- failures ------------------------------------------------------------------------------------------------ */

/* Lets the calls of one allocator fail, each in turn. */
static void fail_in_turn(books *failing, const char *words)
{
    model_create(&m);
    fopt_destroy(m.optimizer);
    const size_t calls = failing->calls;
    cr_expect_gt(calls, 0);
    for (size_t fail_at = 1; fail_at <= calls; fail_at++) {
        use_books();
        failing->fail_at = fail_at;
        expect_failure(FOPT_ERR_MEMORY, words);
    }
}

Test(allocation, host_allocations_fail)
{
    fail_in_turn(&host, "config.host_allocator*bytes");
}

Test(allocation, device_allocations_fail)
{
    fail_in_turn(&device, "config.device_allocator*bytes");
}

Test(allocation, misaligned_blocks_are_refused)
{
    host.misalignment = 8;
    expect_failure(FOPT_ERR_ARGUMENT, "config.host_allocator*0x*aligned");
    use_books();
    device.misalignment = 8;
    expect_failure(FOPT_ERR_ARGUMENT, "config.device_allocator*0x*aligned");
}

static int refuses(void *context, size_t count, void (*function)(void *argument, size_t index), void *argument)
{
    (void)context, (void)count, (void)function, (void)argument;
    return 1;
}

/* What is found out only after something was allocated. */
Test(allocation, other_failures_leak_nothing)
{
    m.tensors[ADAM].param = m.tensors[SGD].param;
    expect_failure(FOPT_ERR_ARGUMENT, "overlaps");
    use_books();
    static float large[300000], gradient[300000]; /* small states are zeroed without other threads */
    m.tensors[ADAM].param = large;
    m.tensors[ADAM].grad = gradient;
    m.tensors[ADAM].count = 300000;
    m.tensors[ADAM].param_format = m.tensors[ADAM].grad_format = FOPT_F32;
    m.config.parallel_for = refuses;
    expect_failure(FOPT_ERR_DEVICE, "config.parallel_for returned 1");
}

/* ---- sizes --------------------------------------------------------------------------------------------------- */

Test(allocation, as_much_as_was_said)
{
    const fopt_sizes sizes = query();
    cr_expect_eq(host.calls + device.calls, 0, "fopt_query_sizes() allocated");
    model_create(&m);
    cr_expect_eq(host.live_bytes, sizes.host_bytes);
    cr_expect_eq(device.live_bytes, sizes.device_bytes);
    cr_expect_eq(sizes.device_bytes, sizes.state_bytes + sizes.padding_bytes);
    cr_expect_geq(sizes.host_bytes, sizes.table_bytes);
    fopt_destroy(m.optimizer);
    expect_nothing_live();
}

/* The moments lie in the device allocator's memory, zeroed, each at a multiple of 64 bytes. */
Test(allocation, moments)
{
    const fopt_sizes sizes = query();
    size_t bytes = 0, arrays = 0;
    model_create(&m);
    cr_assert_eq(device.live_blocks, 1);
    const unsigned char *begin = device.blocks[0].pointer, *end = begin + device.blocks[0].bytes;
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            ASSERT_OK(fopt_state(m.optimizer, i, (fopt_state_kind)kind, &view));
            const unsigned char *data = view.data;
            if (!data)
                continue;
            cr_expect(data >= begin && data + view.bytes <= end);
            cr_expect_eq((uintptr_t)data % 64, 0);
            for (size_t byte = 0; byte < view.bytes; byte++)
                cr_assert_eq(data[byte], 0);
            bytes += view.bytes;
            arrays++;
        }
    cr_expect_eq(bytes, sizes.state_bytes);
    cr_expect_lt(sizes.padding_bytes, 64 * arrays + 19712 + 1);
    fopt_destroy(m.optimizer);
}

/* A byte an element and four a block; for the same parameters a quarter of what single precision takes. */
Test(allocation, quantized_state)
{
    static const size_t counts[] = {0, 1, 255, 256, 257, 700, (size_t)1 << 33};
    for (size_t c = 0; c < 2 * LENGTH(counts); c++) {
        const size_t count = counts[c / 2], block = c % 2 == 0 ? 256 : 64;
        fopt_group group = m.groups[ADAMW];
        fopt_tensor tensor = m.tensors[ADAMW];
        fopt_sizes sizes = {.size = sizeof sizes};
        group.state_format[FOPT_FIRST_MOMENT] = group.state_format[FOPT_SECOND_MOMENT] =
            c % 2 == 0 ? FOPT_Q8 : FOPT_Q8_64;
        tensor.count = count;
        tensor.group = 0;
        ASSERT_OK(fopt_query_sizes(&m.config, &group, 1, &tensor, 1, &sizes));
        cr_expect_eq(sizes.state_bytes, 2 * (count + 4 * ((count + block - 1) / block)), "%zu bytes for %zu elements",
                     sizes.state_bytes, count);
        cr_expect_lt(sizes.padding_bytes, 4 * 64 + 19712 + 1);
    }
}

/* No two moments begin at the same place in a page, and none where the block does: there parameters and gradients may
 * begin, and CPUs are slow at walking them side by side. */
Test(allocation, kinds_begin_apart)
{
    static float array[1 << 20];
    static const struct {
        fopt_rule rule;
        unsigned flags;
        double momentum;
    } rules[] = {{FOPT_SGD, 0, 0.9}, {FOPT_RMSPROP, FOPT_CENTERED, 0.9}, {FOPT_ADAM, FOPT_AMSGRAD, 0}};
    for (size_t i = 0; i < LENGTH(rules); i++) {
        fopt_group group;
        ASSERT_OK(fopt_group_init(&group, sizeof group, rules[i].rule));
        group.flags |= rules[i].flags;
        group.momentum = rules[i].momentum;
        const fopt_tensor tensor = {.size = sizeof tensor, .param = array, .count = LENGTH(array)};
        fopt_optimizer *optimizer;
        ASSERT_OK(fopt_create(&m.config, &group, 1, &tensor, 1, &optimizer));
        uintptr_t places[1 + FOPT_STATE_KINDS] = {(uintptr_t)device.blocks[0].pointer % 4096};
        size_t count = 1;
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            ASSERT_OK(fopt_state(optimizer, 0, kind, &view));
            if (!view.data)
                continue;
            places[count] = (uintptr_t)view.data % 4096;
            for (size_t other = 0; other < count; other++)
                cr_expect_neq(places[count], places[other], "%s: array %zu begins where %zu does",
                              fopt_rule_name(group.rule), count, other);
            count++;
        }
        cr_expect_gt(count, 1);
        fopt_destroy(optimizer);
    }
}

/* The bytes of state that a parameter costs, by group of the model. */
Test(allocation, state_bytes_are_exact)
{
    static const size_t bytes_per_element[MODEL_TENSORS] = {
        [SGD] = 0, [MOMENTUM] = 4, [RMSPROP] = 4 + 4 + 4, [ADAM] = 4 + 4 + 4, [ADAMW] = 2 + 2};
    static const size_t counts[] = {0, 1, 255, 256, 257, 700, (size_t)1 << 33};
    for (size_t group = 0; group < MODEL_TENSORS; group++)
        for (size_t c = 0; c < LENGTH(counts); c++) {
            fopt_tensor tensor = m.tensors[group];
            fopt_sizes sizes = {.size = sizeof sizes};
            tensor.count = counts[c];
            ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, &tensor, 1, &sizes));
            cr_expect_eq(sizes.state_bytes, counts[c] * bytes_per_element[group], "%s: %zu bytes for %zu elements",
                         model_names[group], sizes.state_bytes, counts[c]);
        }
}

Test(allocation, tables_are_small)
{
    enum { COUNT = 10000 };
    static fopt_tensor tensors[COUNT];
    static float params[COUNT];
    fopt_sizes none = {.size = sizeof none}, named = none, nameless = none;
    for (size_t i = 0; i < COUNT; i++)
        tensors[i] =
            (fopt_tensor){.size = sizeof *tensors, .param = &params[i], .count = 1, .name = "a name", .group = 3};
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, NULL, 0, &none));
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, tensors, COUNT, &named));
    for (size_t i = 0; i < COUNT; i++)
        tensors[i].name = NULL;
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, tensors, COUNT, &nameless));

    cr_expect_leq(named.table_bytes - none.table_bytes, (size_t)168 * COUNT);
    cr_expect_leq(none.table_bytes, 2 * sizeof m.groups);
    cr_expect_eq(named.table_bytes, nameless.table_bytes);
    cr_expect_eq(named.host_bytes - nameless.host_bytes, COUNT * sizeof "a name");

    fopt_optimizer *optimizer;
    ASSERT_OK(fopt_create(&m.config, m.groups, MODEL_TENSORS, tensors, COUNT, &optimizer));
    cr_expect_eq(host.live_bytes, nameless.host_bytes);
    cr_expect_eq(device.live_bytes, nameless.device_bytes);
    fopt_destroy(optimizer);
    expect_nothing_live();
}

/* Nothing is asked of an allocator that is not needed. */
Test(allocation, no_state)
{
    fopt_optimizer *optimizer;
    ASSERT_OK(fopt_create(&m.config, m.groups, MODEL_TENSORS, m.tensors, 1, &optimizer));
    cr_expect_eq(device.calls, 0);
    fopt_destroy(optimizer);
    ASSERT_OK(fopt_create(&m.config, NULL, 0, NULL, 0, &optimizer));
    cr_expect_eq(device.calls, 0);
    fopt_destroy(optimizer);
    expect_nothing_live();
}

Test(allocation, one_allocator_of_two)
{
    m.config.host_allocator = (fopt_allocator){NULL, NULL, NULL};
    model_create(&m);
    cr_expect_eq(device.live_blocks, 1);
    fopt_destroy(m.optimizer);
    use_books();
    m.config.device_allocator = (fopt_allocator){NULL, NULL, NULL};
    model_create(&m);
    cr_expect_gt(host.live_blocks, 0);
    fopt_destroy(m.optimizer);
    expect_nothing_live();
}

/* ---- no allocation after creation ---------------------------------------------------------------------------- */

Test(allocation, none_in_other_calls)
{
    fopt_array states[FOPT_STATE_KINDS];
    fopt_device_info info = {.size = sizeof info};
    void *grads[MODEL_TENSORS];
    int64_t step;
    int devices;
    m.config.parallel_for = forwards; /* OpenMP allocates its threads */
    model_create(&m);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        grads[i] = m.tensors[i].grad;
    ASSERT_OK(fopt_device_query(m.config.device, &info)); /* asked for its threads, some OpenMPs allocate once */
    const size_t calls = host.calls + device.calls;
    const struct mallinfo2 before = mallinfo2();

    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    ASSERT_OK(fopt_set_group(m.optimizer, ADAM, &m.groups[ADAM], NULL));
    ASSERT_OK(fopt_set_lr(m.optimizer, ADAM, 0.1, NULL));
    ASSERT_OK(fopt_set_grads(m.optimizer, grads, NULL));
    ASSERT_OK(fopt_zero_grads(m.optimizer, NULL));
    ASSERT_OK(fopt_get_step(m.optimizer, ADAM, &step, NULL));
    ASSERT_OK(fopt_set_step(m.optimizer, ADAM, step, NULL));
    model_states(&m, ADAM, states);
    ASSERT_OK(fopt_update(&m.config, &m.groups[ADAM], &m.tensors[ADAM], states, 1, NULL, NULL));
    ASSERT_OK(fopt_device_count(FOPT_CPU, &devices));
    ASSERT_OK(fopt_device_query(m.config.device, &info));
    cr_expect_eq(fopt_set_lr(m.optimizer, ADAM, -1, NULL), FOPT_ERR_ARGUMENT);
    cr_expect_eq(fopt_step(NULL, NULL, NULL), FOPT_ERR_ARGUMENT);

    const struct mallinfo2 after = mallinfo2();
    cr_expect_eq(after.uordblks, before.uordblks, "malloc's bytes in use went from %zu to %zu", before.uordblks,
                 after.uordblks);
    cr_expect_eq(host.calls + device.calls, calls, "an allocator was called");
    fopt_destroy(m.optimizer);
    expect_nothing_live();
}
