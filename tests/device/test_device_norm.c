/* Norms of gradients on the device: the CPU's to the bit, for any formats, sizes and alignments, and of any tensors. */
#include "../reference/cases.h"
#include "twins.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const size_t sizes[] = {0, 1, 7, 8, 255, 256, 257, 1024, 3000};
static const fopt_format formats[] = {FOPT_F32, FOPT_BF16, FOPT_F16};
#define TENSORS (LENGTH(sizes) * LENGTH(formats) * 2)

/* Makes tensors of all sizes in all formats, aligned and not. With several groups, whose loops are not in the order of
 * the tensors, the device's tiles are not either. */
static twins *new_twins(fopt_group groups[2], uint64_t seed)
{
    shape shapes[TENSORS];
    for (size_t i = 0; i < TENSORS; i++)
        shapes[i] = (shape){.grad = formats[i / 2 % LENGTH(formats)],
                            .count = sizes[i / 2 / LENGTH(formats)],
                            .group = i % 2,
                            .grad_shift = i % 2 ? i % 7 : 0};
    expect_ok(fopt_group_init(&groups[0], sizeof groups[0], FOPT_ADAM));
    expect_ok(fopt_group_init(&groups[1], sizeof groups[1], FOPT_SGD));
    return twins_new(groups, 2, shapes, TENSORS, 2, seed);
}

/* Replaces what is infinite or NaN in the gradients, which would hide the rest. */
static void make_finite(twins *t)
{
    for (size_t i = 0; i < t->tensor_count; i++)
        for (size_t set = 0; set < t->grad_sets; set++)
            for (size_t k = 0; k < t->host[i].count; k++) {
                unsigned char *grad = (unsigned char *)t->host[i].grad + set * t->grad_stride;
                const uint32_t bits = numbers_get(t->host[i].grad_format, grad, k);
                if (!isfinite(numbers_value(t->host[i].grad_format, bits)))
                    numbers_set(t->host[i].grad_format, grad, k, 1);
            }
    mirror_upload(t->grads);
}

static void compare_norms(twins *t, mirror results, size_t first, size_t count)
{
    double *host = (double *)(void *)results.host, *device = (double *)(void *)results.device;
    memset(host, 0xff, results.bytes);
    mirror_upload(results);
    expect_ok(fopt_grad_norm(t->cpu, first, count, host, host + 1, NULL));
    expect_ok(fopt_grad_norm(t->cuda, first, count, device, device + 1, t->stream));
    CUDA_OK(cudaStreamSynchronize(t->stream));
    unsigned char *got = mirror_download(results);
    for (size_t i = 0; i <= TENSORS; i++) {
        double one, want = host[i];
        memcpy(&one, got + i * sizeof one, sizeof one);
        cr_assert(memcmp(&one, &want, sizeof one) == 0 || (isnan(one) && isnan(want)),
                  "%s: tensors %zu and %zu more: result %zu is %a on the device, %a on the CPU", what_runs(), first,
                  count, i, one, want);
    }
    free(got);
}

Test(device_norm, the_cpus_bits)
{
    need_devices(1);
    const mirror results = mirror_new((TENSORS + 1) * sizeof(double));
    for (size_t mode = 0; mode < mode_count(); mode++) {
        fopt_group groups[2];
        twins *t = new_twins(groups, mode);
        now_running("norms %s, seed %zu", choose_mode(mode), mode);
        if (mode % 2 == 0)
            make_finite(t);
        twins_create(t, 5);
        compare_norms(t, results, 0, TENSORS);
        compare_norms(t, results, 0, TENSORS); /* the first has left nothing behind */
        twins_set_grads(t, 1, 3);
        for (size_t i = 0; i < 6; i++) {
            const size_t first = i * 11 % (TENSORS + 1);
            compare_norms(t, results, first, (TENSORS - first) * i / 5);
        }
        twins_compare(t);
        twins_free(t);
    }
    mirror_free(results);
}

/* More tiles than warps, so that each takes several, of the same tensor and of others. */
Test(device_norm, many_tiles)
{
    need_devices(1);
    fopt_group group;
    shape shapes[60];
    for (size_t i = 0; i < LENGTH(shapes); i++)
        shapes[i] = (shape){.count = i == 7 ? 150 * TILE : i % 5 * TILE + i, .grad = FOPT_BF16};
    expect_ok(fopt_group_init(&group, sizeof group, FOPT_SGD));
    twins *t = twins_new(&group, 1, shapes, LENGTH(shapes), 2, 3);
    const mirror results = mirror_new((TENSORS + 1) * sizeof(double));
    now_running("many tiles %s", choose_mode(2));
    make_finite(t);
    twins_create(t, 0);
    compare_norms(t, results, 0, TENSORS);
    compare_norms(t, results, 5, 4);
    mirror_free(results);
    twins_free(t);
}

/* Captured, it is made at each replay. */
Test(device_norm, captured)
{
    need_devices(1);
    fopt_group groups[2];
    twins *t = new_twins(groups, 1);
    const mirror results = mirror_new(sizeof(double));
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    now_running("a captured norm %s", choose_mode(0));
    make_finite(t);
    CUDA_OK(cudaStreamCreate(&t->stream));
    twins_create(t, 0);
    CUDA_OK(cudaStreamBeginCapture(t->stream, cudaStreamCaptureModeGlobal));
    expect_ok(fopt_grad_norm(t->cuda, 0, TENSORS, (double *)(void *)results.device, NULL, t->stream));
    CUDA_OK(cudaStreamEndCapture(t->stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&replay, graph, 0));
    for (size_t set = 0; set < 2; set++) {
        double want;
        twins_set_grads(t, set, 0);
        expect_ok(fopt_grad_norm(t->cpu, 0, TENSORS, &want, NULL, NULL));
        CUDA_OK(cudaGraphLaunch(replay, t->stream));
        CUDA_OK(cudaStreamSynchronize(t->stream));
        unsigned char *got = mirror_download(results);
        cr_expect(memcmp(got, &want, sizeof want) == 0, "set %zu", set);
        free(got);
    }
    CUDA_OK(cudaGraphExecDestroy(replay));
    CUDA_OK(cudaGraphDestroy(graph));
    CUDA_OK(cudaStreamDestroy(t->stream));
    t->stream = NULL;
    mirror_free(results);
    twins_free(t);
}

/* A result must be where the device can write it, and where nothing is that a step uses. */
Test(device_norm, results_that_cannot_be)
{
    need_devices(1);
    fopt_group groups[2];
    twins *t = new_twins(groups, 1);
    twins_create(t, 0);
    double *const on_host = malloc(64);
    cr_expect_eq(fopt_grad_norm(t->cuda, 0, TENSORS, on_host, NULL, NULL), FOPT_ERR_ARGUMENT);
    cr_expect(strstr(fopt_last_error(), "norm"), "%s", fopt_last_error());
    free(on_host);
    twins_step(t);
    twins_compare(t);
    twins_free(t);
}
