/* Checkpoints from the host to the device and back: either goes on with what the other has written, to the bit. */
#include "../files/net.h"
#include "twins.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(call) cr_assert_eq(call, FOPT_OK, "%s: %s", #call, fopt_last_error())

static void *give(size_t bytes)
{
    void *block = NULL;
    CUDA_OK(cudaMalloc(&block, bytes));
    return block;
}

static void take(void *block)
{
    CUDA_OK(cudaFree(block));
}

static void copy(void *to, const void *from, size_t bytes)
{
    CUDA_OK(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}

static const net_place device = {{FOPT_CUDA, 0}, give, take, copy};
static const net_place *const places[] = {&net_host, &device};

enum { SAVED_AT = 3, END = 13, PARAM_BYTES = NET_TENSORS * NET_BYTES };
static const fopt_checkpoint_options options = {.size = sizeof options,
                                                .flags = FOPT_CHECKPOINT_PARAMS | FOPT_CHECKPOINT_UNEXPECTED};
static char folder[64], paths[NET_RANKS][96];
static const char *const all_paths[] = {paths[0], paths[1], paths[2], paths[3], paths[4], paths[5], paths[6], paths[7]};

static void save(const net *n, fopt_stream stream)
{
    fopt_checkpoint_options saved = options;
    saved.flags = FOPT_CHECKPOINT_PARAMS;
    for (size_t r = 0; r < n->rank_count; r++)
        OK(fopt_checkpoint_save(&n->ranks[r].run, paths[r], &saved, stream));
}

static void load(const net *n, size_t writers, fopt_stream stream)
{
    for (size_t r = 0; r < n->rank_count; r++)
        OK(fopt_checkpoint_load(&n->ranks[r].run, all_paths, writers, &options, stream));
}

static void go_on(size_t writers, size_t readers, const net_place *from, const net_place *to, const unsigned char *want)
{
    static unsigned char got[PARAM_BYTES];
    net n;
    net_open(&n, from, writers);
    net_train(&n, 0, SAVED_AT);
    save(&n, NULL);
    net_close(&n);
    net_open(&n, to, readers);
    net_train(&n, 500, 501);
    load(&n, writers, NULL);
    net_train(&n, SAVED_AT, END);
    net_read_params(&n, got);
    cr_expect_eq(memcmp(got, want, sizeof got), 0, "%s", what_runs());
    net_close(&n);
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/fusedopt.XXXXXX");
    cr_assert(mkdtemp(folder));
    for (size_t i = 0; i < NET_RANKS; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%zu.safetensors", folder, i);
}

static void remove_folder(void)
{
    for (size_t i = 0; i < NET_RANKS; i++)
        unlink(paths[i]);
    cr_expect_eq(rmdir(folder), 0);
}

TestSuite(device_checkpoint, .init = make_folder, .fini = remove_folder);

Test(device_checkpoint, host_and_device)
{
    static const size_t ranks[][2] = {{1, 1}, {3, 2}, {2, 8}, {8, 1}};
    static unsigned char want[PARAM_BYTES];
    need_devices(1);
    net n;
    net_open(&n, &net_host, 1);
    net_train(&n, 0, END);
    net_read_params(&n, want);
    net_close(&n);
    for (size_t i = 0; i < LENGTH(ranks); i++)
        for (size_t from = 0; from < 2; from++)
            for (size_t to = 0; to < 2; to++) {
                if (from == 0 && to == 0)
                    continue;
                now_running("%zu ranks on %s, %zu on %s", ranks[i][0], from ? "the device" : "the host", ranks[i][1],
                            to ? "the device" : "the host");
                go_on(ranks[i][0], ranks[i][1], places[from], places[to], want);
            }
}

/* What is enqueued on the stream before a call is done before, and what is enqueued after it, after. */
Test(device_checkpoint, streams)
{
    static unsigned char want[PARAM_BYTES], got[PARAM_BYTES];
    need_devices(1);
    for (size_t i = 0; i < mode_count(); i++) {
        cudaStream_t stream;
        net n;
        now_running("a stream %s", choose_mode(i));
        CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        net_open(&n, &device, 1);
        net_train(&n, 0, 2);
        save(&n, NULL);
        net_train(&n, 2, 3);
        net_read_params(&n, want); /* which waits: the stream does not */
        const net_rank *rank = &n.ranks[0];
        OK(fopt_step(rank->run.optimizer, NULL, stream)); /* which the load must not overtake */
        load(&n, 1, stream);
        OK(fopt_step(rank->run.optimizer, NULL, stream)); /* with the gradients of step 2 */
        save(&n, stream);
        OK(fopt_step(rank->run.optimizer, NULL, stream));
        load(&n, 1, stream);
        CUDA_OK(cudaStreamSynchronize(stream));
        net_read_params(&n, got);
        cr_expect_eq(memcmp(got, want, sizeof got), 0, "%s", what_runs());
        net_close(&n);
        CUDA_OK(cudaStreamDestroy(stream));
    }
}

/* A stream that is captured can be neither saved nor loaded on, and the capture goes on. */
Test(device_checkpoint, captures)
{
    need_devices(1);
    cudaStream_t stream;
    cudaGraph_t graph;
    net n;
    net_open(&n, &device, 1);
    save(&n, NULL);
    CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cr_expect_eq(fopt_checkpoint_save(&n.ranks[0].run, paths[1], NULL, stream), FOPT_ERR_DEVICE);
    cr_expect(strstr(fopt_last_error(), "fopt_checkpoint_save: fopt_copy: nothing can be copied while the stream"),
              "%s", fopt_last_error());
    cr_expect_neq(access(paths[1], F_OK), 0);
    cr_expect_eq(fopt_checkpoint_load(&n.ranks[0].run, all_paths, 1, &options, stream), FOPT_ERR_DEVICE);
    CUDA_OK(cudaStreamEndCapture(stream, &graph));
    CUDA_OK(cudaGraphDestroy(graph));
    CUDA_OK(cudaStreamDestroy(stream));
    net_close(&n);
}
