/* Memory, the clock and the roofs on CUDA. */
#include "machine/hardware.h"
#include "program/options.h"
#include "program/stopwatch.h"
#include <cstdio>
#include <cuda_runtime.h>

enum { BLOCK = 256, WIDTH = 4 /* floats that a thread loads at once */ };

static cudaStream_t queue;
static cudaEvent_t start, stop;

static bool good(cudaError_t error)
{
    return error == cudaSuccess;
}

static bool open_cuda(const char *command)
{
    const bool opened = good(cudaSetDevice(0)) &&
                        (queue || good(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking))) &&
                        (start || good(cudaEventCreate(&start))) && (stop || good(cudaEventCreate(&stop)));
    if (!opened)
        complain(command, "CUDA: %s", cudaGetErrorString(cudaGetLastError()));
    return opened;
}

static const char *driver(void)
{
    static char text[64];
    int known = 0, used = 0;
    cudaDriverGetVersion(&known);
    cudaRuntimeGetVersion(&used);
    if (known == 0)
        snprintf(text, sizeof text, "no CUDA driver, runtime %d.%d", used / 1000, used % 1000 / 10);
    else
        snprintf(text, sizeof text, "CUDA driver %d.%d, runtime %d.%d", known / 1000, known % 1000 / 10, used / 1000,
                 used % 1000 / 10);
    return text;
}

static fopt_stream queue_of_library(void)
{
    return queue;
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

static void release(void *memory)
{
    cudaFree(memory);
}

static void *allocate(size_t bytes, size_t index)
{
    (void)index; /* there is nothing to be kept apart */
    void *memory = NULL;
    if (!good(cudaMalloc(&memory, bytes > 0 ? bytes : 1))) {
        cudaGetLastError();
        return NULL;
    }
    if (good(cudaMemsetAsync(memory, 0, bytes, queue)) && good(cudaStreamSynchronize(queue)))
        return memory;
    release(memory);
    return NULL;
}

static size_t available(void)
{
    size_t free_bytes = 0, all = 0;
    return good(cudaMemGetInfo(&free_bytes, &all)) ? free_bytes : 0;
}

static bool write(void *to, const void *from, size_t bytes)
{
    return good(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, queue)) && good(cudaStreamSynchronize(queue));
}

static bool read(void *to, const void *from, size_t bytes)
{
    return good(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, queue)) && good(cudaStreamSynchronize(queue));
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

/* Times work. The device is still at what came before when the work is enqueued (hardware_evict() sees to that), so
 * that the time between the events is that of the work alone, unless the host cannot keep up. */
static bool time_work(bool (*work)(void *context), void *context, hardware_timing *timing)
{
    float milliseconds = 0;
    if (!good(cudaEventRecord(start, queue)))
        return false;
    const double begin = stopwatch();
    if (!work(context))
        return false;
    timing->host_seconds = stopwatch() - begin;
    if (!good(cudaEventRecord(stop, queue)) || !good(cudaEventSynchronize(stop)) ||
        !good(cudaEventElapsedTime(&milliseconds, start, stop)))
        return false;
    timing->seconds = (double)milliseconds * 1e-3;
    return true;
}

/* Counts launches in a recording, which is not run. What is counted so launches kernels and does nothing else. */
static int launches(bool (*work)(void *context), void *context)
{
    cudaGraph_t graph = NULL;
    size_t nodes = 0;
    if (!good(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal)))
        return -1;
    const bool worked = work(context);
    const bool recorded = good(cudaStreamEndCapture(queue, &graph)) && good(cudaGraphGetNodes(graph, NULL, &nodes));
    if (graph)
        cudaGraphDestroy(graph);
    cudaGetLastError();
    return worked && recorded ? (int)nodes : -1;
}

/* ---- roofs --------------------------------------------------------------------------------------------------- */

static bool copy(const hardware_roof *roof)
{
    return good(cudaMemcpyAsync(roof->a, roof->b, roof->count * sizeof(float), cudaMemcpyDeviceToDevice, queue));
}

static __global__ void __launch_bounds__(BLOCK) scale_add(float *a, const float *b, size_t count)
{
    const size_t begin = ((size_t)blockIdx.x * BLOCK + threadIdx.x) * WIDTH;
    if (begin + WIDTH <= count) {
        const float4 x = *(const float4 *)(a + begin), y = *(const float4 *)(b + begin);
        *(float4 *)(a + begin) = make_float4(x.x * 0.5f + y.x, x.y * 0.5f + y.y, x.z * 0.5f + y.z, x.w * 0.5f + y.w);
        return;
    }
    for (size_t i = begin; i < count; i++)
        a[i] = a[i] * 0.5f + b[i];
}

static bool scale_add_arrays(float *a, const float *b, size_t count)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)((count + BLOCK * WIDTH - 1) / (BLOCK * WIDTH)));
    config.blockDim = dim3(BLOCK);
    config.stream = queue;
    return count == 0 || good(cudaLaunchKernelEx(&config, scale_add, a, b, count));
}

static bool stream(const hardware_roof *roof)
{
    return scale_add_arrays(roof->a, roof->b, roof->count);
}

/* ---- caches -------------------------------------------------------------------------------------------------- */

static size_t cache_bytes(void)
{
    int bytes = 0;
    return good(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, 0)) ? (size_t)bytes : 0;
}

/* Walks the array, whose halves stay zeros. */
static void evict(void *array, size_t bytes)
{
    const size_t half = bytes / sizeof(float) / 2 / WIDTH * WIDTH;
    scale_add_arrays((float *)array, (const float *)array + half, half);
}

const hardware_operations hardware_cuda = {
    open_cuda, driver,    queue_of_library, allocate, release, available,   write,
    read,      time_work, launches,         copy,     stream,  cache_bytes, evict,
};
