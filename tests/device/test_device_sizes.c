/*
 * Sizes around those of lanes, warps and tiles, at every alignment that the contract allows: the device equals the CPU
 * to the bit and writes nothing between the arrays. Many tensors, shards, and elements beyond number 2^32.
 */
#include "../reference/cases.h"
#include "../reference/quantized.h"
#include "twins.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 2

/* ---- sizes and alignments ------------------------------------------------------------------------------------ */

/* Which arrays are misaligned to 16 bytes, and by how many elements. Eight of 16 bits, or four of 32, are 16 bytes. */
static const struct {
    size_t param, grad, state;
} shifts[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {3, 5, 7}, {8, 4, 2}, {2, 8, 4}};

/* Room for formats of moments, and for triples of formats. */
#define STATES  ((size_t)8)
#define TRIPLES (9 * STATES)

/* Makes all sizes with all triples of formats; alignments take turns, so that each meets each of these. */
static size_t shape_sizes(shape *shapes, const size_t *sizes, size_t size_count)
{
    size_t count = 0;
    cr_assert_leq(case_formats_count(), TRIPLES);
    for (size_t f = 0; f < case_formats_count(); f++)
        for (size_t i = 0; i < size_count * 2; i++) {
            const case_formats formats = case_formats_at(f);
            const size_t s = (count + count / LENGTH(shifts)) % LENGTH(shifts);
            shapes[count++] = (shape){.param = formats.param,
                                      .grad = formats.grad,
                                      .count = sizes[i / 2],
                                      .group = f * case_states_count() / case_formats_count(),
                                      .param_shift = shifts[s].param,
                                      .grad_shift = shifts[s].grad,
                                      .state_shift = shifts[s].state};
        }
    return count;
}

static void compare(size_t case_index, const shape *shapes, size_t count)
{
    char name[CASE_NAME_SIZE];
    fopt_group groups[STATES];
    const size_t group_count = case_states_count();
    cr_assert_leq(group_count, LENGTH(groups));
    for (size_t g = 0; g < group_count; g++) {
        groups[g] = case_group(case_index);
        case_set_state(&groups[g], case_state_at(g));
    }
    case_name(&groups[0], name);
    now_running("%s %s", name, choose_mode(case_index));

    twins *t = twins_new(groups, group_count, shapes, count, STEPS, case_index + 1);
    for (size_t step = 0; step < STEPS; step++)
        twins_update(t, step, (int64_t)step + 1);
    twins_create(t, 0); /* for the next two steps, with state of its own */
    for (size_t step = 0; step < STEPS; step++) {
        twins_set_grads(t, step, 0);
        twins_step(t);
    }
    twins_compare(t);
    twins_free(t);
}

/* 11 is prime to what the cases repeat in, so that all kinds of them take part. */
Test(device_sizes, small)
{
    need_devices(1);
    static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 31, 32, 33, 255, 256, 257, 511, 512, 513};
    static shape shapes[LENGTH(sizes) * 2 * TRIPLES];
    const size_t count = shape_sizes(shapes, sizes, LENGTH(sizes));
    for (size_t i = 0; i < case_count(); i += 11)
        compare(i, shapes, count);
}

/* Spreads the cases of large tensors, of which there is one for each format of moments, over the last two thirds: their
 * rules keep moments, in any format. */
static size_t large_case(size_t shape_index, size_t shape_count)
{
    size_t index = case_count() / 3 + shape_index * case_count() * 2 / 3 / shape_count;
    while (case_group(index).flags & FOPT_CENTERED)
        index++;
    return index;
}

Test(device_sizes, around_65536)
{
    need_devices(1);
    static const size_t sizes[] = {65535, 65536, 65537};
    static shape shapes[LENGTH(sizes) * 2 * TRIPLES];
    const size_t count = shape_sizes(shapes, sizes, LENGTH(sizes));
    for (size_t i = 0; i < count; i += count / case_states_count())
        compare(large_case(i, count), shapes + i, 2 * LENGTH(sizes));
}

Test(device_sizes, a_million)
{
    need_devices(1);
    static const size_t sizes[] = {1000000};
    static shape shapes[2 * TRIPLES];
    const size_t count = shape_sizes(shapes, sizes, LENGTH(sizes));
    for (size_t i = 0; i < count; i += count / 2) /* single precision, and quantized */
        compare(large_case(i, count), shapes + i, 1);
}

/* A group keeps its place when no tensor of it has elements. */
Test(device_sizes, nothing_at_all)
{
    need_devices(1);
    const fopt_config config = cuda_config();
    for (size_t i = 0; i < case_count(); i += 7) {
        const fopt_group group = case_group(i);
        const fopt_tensor empty[] = {{.size = sizeof(fopt_tensor)}, {.size = sizeof(fopt_tensor)}};
        for (size_t count = 0; count <= LENGTH(empty); count++) {
            fopt_optimizer *optimizer;
            void *grads[LENGTH(empty)] = {NULL};
            int64_t step = -1;
            now_running("case %zu, %zu empty tensors", i, count);
            expect_ok(fopt_create(&config, &group, 1, empty, count, &optimizer));
            expect_ok(fopt_step(optimizer, NULL, NULL));
            expect_ok(fopt_set_grads(optimizer, grads, NULL));
            expect_ok(fopt_set_lr(optimizer, 0, 0.5, NULL));
            expect_ok(fopt_zero_grads(optimizer, NULL));
            expect_ok(fopt_step(optimizer, NULL, NULL));
            if (count > 0) {
                expect_ok(fopt_get_step(optimizer, count - 1, &step, NULL));
                cr_expect_eq(step, 0);
            }
            fopt_destroy(optimizer);
        }
        expect_ok(fopt_update(&config, &group, &empty[0], NULL, 1, NULL, NULL));
    }
    CUDA_OK(cudaDeviceSynchronize());
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

/* Several sets, of which the one in use becomes zero, but for the tensors that have none at the time. */
Test(device_sizes, zero_grads)
{
    need_devices(1);
    static const size_t sizes[] = {0, 1, 2, 3, 31, 33, 255, 256, 257, 511, 512, 513, 2000};
    static shape shapes[LENGTH(sizes) * 2 * TRIPLES];
    const size_t count = shape_sizes(shapes, sizes, LENGTH(sizes));
    fopt_group groups[STATES]; /* what they are does not matter */
    const size_t group_count = case_states_count();
    for (size_t g = 0; g < group_count; g++)
        groups[g] = case_group(g * (case_count() - 1) / group_count);
    for (size_t mode = 0; mode < mode_count(); mode++) {
        now_running("zero_grads %s", choose_mode(mode));
        twins *t = twins_new(groups, group_count, shapes, count, 3, 1);
        twins_create(t, 0);
        twins_set_grads(t, 1, 3);
        twins_zero_grads(t);
        twins_compare(t);
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < shapes[i].count; k++) {
                const unsigned char *grad = (const unsigned char *)t->host[i].grad + t->grad_stride;
                cr_assert(i % 3 == 1 || numbers_get(shapes[i].grad, grad, k) == 0, "the CPU left a gradient");
            }
        twins_set_grads(t, 2, 0);
        twins_step(t);
        twins_zero_grads(t);
        twins_step(t); /* momentum alone moves */
        twins_compare(t);
        twins_free(t);
    }
}

/* ---- many tensors -------------------------------------------------------------------------------------------- */

#define TENSORS 10000

/* More than pointers fit the arguments of a kernel, and more than a block has threads. */
Test(device_sizes, ten_thousand_tensors)
{
    need_devices(1);
    static shape shapes[TENSORS];
    static fopt_group groups[1000];
    const size_t group_count = case_states_count() * case_count();
    cr_assert(group_count > 0 && group_count <= LENGTH(groups));
    for (size_t i = 0; i < group_count; i++) {
        groups[i] = case_group(i / case_states_count());
        case_set_state(&groups[i], case_state_at(i % case_states_count()));
    }
    for (size_t i = 0; i < TENSORS; i++) {
        const case_formats formats = case_formats_at(i % case_formats_count());
        shapes[i] = (shape){.param = formats.param,
                            .grad = formats.grad,
                            .count = i % 97 == 0 ? 600 : i % 41,
                            .group = i * 31 % group_count,
                            .param_shift = i % 3,
                            .grad_shift = i % 2};
    }
    now_running("%d tensors %s", TENSORS, choose_mode(5));
    twins *t = twins_new(groups, group_count, shapes, TENSORS, STEPS, 1);
    twins_create(t, 5);
    twins_step(t);
    twins_set_grads(t, 1, 0);
    twins_step(t);
    twins_set_grads(t, 0, 7);
    twins_step(t);
    twins_zero_grads(t);
    twins_compare(t);
    twins_free(t);
}

/* ---- shards -------------------------------------------------------------------------------------------------- */

/* The whole tensor on the CPU, and shards of it on the device, in one optimizer and by fopt_update(). */
#define WHOLE (9 * TILE + 77)
static const size_t cuts[] = {0, TILE, 4 * TILE, 4 * TILE, 8 * TILE, WHOLE};

static void cut(fopt_tensor shards[LENGTH(cuts) - 1], const fopt_tensor *whole)
{
    for (size_t i = 0; i < LENGTH(cuts) - 1; i++) {
        shards[i] = *whole;
        shards[i].param = (unsigned char *)whole->param + cuts[i] * numbers_bytes(whole->param_format);
        shards[i].grad = (unsigned char *)whole->grad + cuts[i] * numbers_bytes(whole->grad_format);
        shards[i].count = cuts[i + 1] - cuts[i];
        shards[i].first_element = cuts[i];
        shards[i].full_count = WHOLE;
    }
}

Test(device_sizes, shards)
{
    need_devices(1);
    for (size_t index = 0; index < case_count(); index += 3) {
        const case_formats formats = case_formats_at(index * 5 % case_formats_count());
        const fopt_config cpu = {.size = sizeof cpu, .seed = TWINS_SEED}, cuda = cuda_config();
        const shape whole = {.param = formats.param, .grad = formats.grad, .count = WHOLE, .global_id = 99};
        fopt_group group = case_group(index);
        fopt_tensor shards[LENGTH(cuts) - 1];
        case_set_state(&group, index % 2 == 0 ? FOPT_BF16 : FOPT_Q8);
        now_running("shards of case %zu %s", index, choose_mode(index));
        twins *t = twins_new(&group, 1, &whole, 1, 1, index);
        cut(shards, &t->device[0]);

        fopt_optimizer *optimizer;
        expect_ok(fopt_create(&cuda, &group, 1, shards, LENGTH(shards), &optimizer));
        for (int64_t step = 1; step <= STEPS; step++) {
            expect_ok(fopt_update(&cpu, &group, &t->host[0], t->host_states, step, NULL, NULL));
            expect_ok(fopt_step(optimizer, NULL, NULL));
        }
        for (size_t i = 0; i < LENGTH(shards); i++) /* to where twins_compare() looks */
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                fopt_array view = {.size = sizeof view};
                expect_ok(fopt_state(optimizer, i, kind, &view));
                if (!view.data)
                    continue;
                const fopt_array part = moment_part(t->device_states[kind], cuts[i], view.count);
                CUDA_OK(cudaMemcpy(part.data, view.data, view.bytes, cudaMemcpyDeviceToDevice));
                if (view.absmax)
                    CUDA_OK(cudaMemcpy(part.absmax, view.absmax,
                                       quantized_blocks(view.format, view.count) * sizeof(float),
                                       cudaMemcpyDeviceToDevice));
            }
        twins_compare(t);
        fopt_destroy(optimizer);
        twins_free(t);
    }
}

/* ---- beyond 2^32 --------------------------------------------------------------------------------------------- */

/* Shards from the far end of a huge tensor: the number of their tiles, on which random bits depend, exceeds 32 bits. */
Test(device_sizes, far_shards)
{
    need_devices(1);
    const size_t firsts[] = {(size_t)1 << 32, ((size_t)1 << 32) - TILE, (size_t)1 << 40, ((size_t)1 << 56) + TILE};
    fopt_group group;
    shape shapes[LENGTH(firsts)];
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_ADAMW));
    group.state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    for (size_t i = 0; i < LENGTH(firsts); i++)
        shapes[i] =
            (shape){.count = 3 * TILE + 5, .global_id = 1 + i % 2, .first_element = firsts[i], .param_shift = i % 2};
    now_running("far shards");
    twins *t = twins_new(&group, 1, shapes, LENGTH(shapes), 1, 1);
    for (int64_t step = 1; step <= STEPS; step++)
        twins_update(t, 0, step);
    twins_create(t, 0);
    twins_step(t);
    twins_compare(t);
    twins_free(t);
}

/* More than 2^32 elements, of which pieces are compared with the CPU's. The data are bytes that repeat. */
#define HUGE_COUNT (((size_t)1 << 32) + 2 * TILE + 3)
#define PIECE      (4 * TILE)

static void *huge_array(int byte)
{
    void *array = NULL;
    CUDA_OK(cudaMalloc(&array, HUGE_COUNT * 2));
    CUDA_OK(cudaMemset(array, byte, HUGE_COUNT * 2));
    return array;
}

/* Compares a piece of the device's tensor with one that the CPU makes of the same bytes. */
static void compare_piece(const fopt_group *group, const void *param, const void *second, size_t first)
{
    static unsigned char want[3][PIECE * 2], got[PIECE * 2];
    const size_t count = HUGE_COUNT - first < PIECE ? HUGE_COUNT - first : PIECE;
    const fopt_config config = {.size = sizeof config, .seed = TWINS_SEED};
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = want[0],
                                .grad = want[1],
                                .count = count,
                                .param_format = FOPT_BF16,
                                .grad_format = FOPT_BF16,
                                .global_id = 1,
                                .first_element = first,
                                .full_count = HUGE_COUNT};
    memset(want[0], 0x3f, sizeof want[0]);
    memset(want[1], 0x3e, sizeof want[1]);
    memset(want[2], 0, sizeof want[2]);
    for (int64_t step = 1; step <= STEPS; step++)
        update_tensor(&config, group, &tensor, want[2], 0, step); /* its one moment */
    CUDA_OK(cudaMemcpy(got, (const unsigned char *)param + first * 2, count * 2, cudaMemcpyDeviceToHost));
    expect_same("param", FOPT_BF16, got, want[0], count);
    CUDA_OK(cudaMemcpy(got, (const unsigned char *)second + first * 2, count * 2, cudaMemcpyDeviceToHost));
    expect_same("square_avg", FOPT_BF16, got, want[2], count);
}

Test(device_sizes, more_than_2_32_elements, .timeout = 300)
{
    need_devices(1);
    size_t available, total;
    CUDA_OK(cudaMemGetInfo(&available, &total));
    if (available / 6 < HUGE_COUNT + HUGE_COUNT / 8)
        cr_skip_test("needs %zu GiB of device memory, found %zu", (HUGE_COUNT * 27 / 4) >> 30, available >> 30);

    const size_t firsts[] = {0, ((size_t)1 << 31) - 2 * TILE, ((size_t)1 << 32) - 2 * TILE,
                             ((size_t)1 << 32) / 3 / TILE * TILE, HUGE_COUNT / TILE * TILE};
    const fopt_config config = cuda_config();
    void *param = huge_array(0x3f), *grad = huge_array(0x3e);
    fopt_array view = {.size = sizeof view};
    fopt_optimizer *optimizer;
    fopt_group group;
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_RMSPROP));
    group.state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = param,
                                .grad = grad,
                                .count = HUGE_COUNT,
                                .param_format = FOPT_BF16,
                                .grad_format = FOPT_BF16};
    expect_ok(fopt_create(&config, &group, 1, &tensor, 1, &optimizer));
    for (int64_t step = 1; step <= STEPS; step++)
        expect_ok(fopt_step(optimizer, NULL, NULL));
    expect_ok(fopt_state(optimizer, 0, FOPT_SECOND_MOMENT, &view));
    for (size_t i = 0; i < LENGTH(firsts); i++) {
        now_running("first=%zu", firsts[i]);
        compare_piece(&group, param, view.data, firsts[i]);
    }
    expect_ok(fopt_zero_grads(optimizer, NULL));
    uint16_t last = 1;
    CUDA_OK(cudaMemcpy(&last, (unsigned char *)grad + (HUGE_COUNT - 1) * 2, sizeof last, cudaMemcpyDeviceToHost));
    cr_expect_eq(last, 0, "the last gradient is 0x%04x", last);
    fopt_destroy(optimizer);
    CUDA_OK(cudaFree(param));
    CUDA_OK(cudaFree(grad));
}
