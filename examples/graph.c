/*
 * A CUDA graph of a training step, replayed with a schedule of learning rates. It prints
 * "after 3 steps: 0.1875 0.375 0.75 1.5".
 *
 *     nvcc -Iinclude examples/graph.c build/library/libfusedopt.a -Xcompiler -fopenmp && ./a.out
 */
#include "fusedopt.h"
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

static void need(int good, const char *why)
{
    if (!good) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
}

static void cuda(cudaError_t error)
{
    need(error == cudaSuccess, cudaGetErrorString(error));
}

static void fopt(fopt_status status)
{
    need(status == FOPT_OK, fopt_last_error());
}

/* Minimizes w^2 / 2, of which w is the gradient: copying it is the backward pass. */
int main(void)
{
    float w[4] = {1, 2, 4, 8}, *param, *grad;
    cuda(cudaMalloc((void **)&param, sizeof w));
    cuda(cudaMalloc((void **)&grad, sizeof w));
    cuda(cudaMemcpy(param, w, sizeof w, cudaMemcpyHostToDevice));

    fopt_group group;
    fopt(fopt_group_init(&group, sizeof group, FOPT_SGD));
    fopt_tensor tensor = {0};
    tensor.size = sizeof tensor;
    tensor.param = param;
    tensor.grad = grad;
    tensor.count = 4;
    fopt_config config = {0};
    config.size = sizeof config;
    config.device.kind = FOPT_CUDA;
    fopt_optimizer *optimizer;
    fopt(fopt_create(&config, &group, 1, &tensor, 1, &optimizer));

    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    cuda(cudaStreamCreate(&stream));
    cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    cuda(cudaMemcpyAsync(grad, param, sizeof w, cudaMemcpyDeviceToDevice, stream));
    fopt(fopt_step(optimizer, NULL, stream)); /* recorded, not done */
    cuda(cudaStreamEndCapture(stream, &graph));
    cuda(cudaGraphInstantiate(&replay, graph, 0));

    for (int step = 0; step < 3; step++) {
        fopt(fopt_set_lr(optimizer, 0, step < 2 ? 0.5 : 0.25, stream)); /* a schedule */
        cuda(cudaGraphLaunch(replay, stream));
    }

    int64_t steps;
    fopt(fopt_get_step(optimizer, 0, &steps, stream)); /* waits for the stream */
    cuda(cudaMemcpy(w, param, sizeof w, cudaMemcpyDeviceToHost));
    printf("after %d steps: %g %g %g %g\n", (int)steps, w[0], w[1], w[2], w[3]);

    fopt_destroy(optimizer);
    cuda(cudaGraphExecDestroy(replay));
    cuda(cudaGraphDestroy(graph));
    cuda(cudaStreamDestroy(stream));
    cuda(cudaFree(grad));
    cuda(cudaFree(param));
    return 0;
}
