/* Streams, events and captured graphs. */
#include "test_emulator.h"

/* Scales x in one stream and reads it in another, with a wait between or without. */
static float through_two_streams(bool wait)
{
    cudaStream_t a = new_stream(cudaStreamNonBlocking), b = new_stream(cudaStreamNonBlocking);
    cudaEvent_t event = nullptr;
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    float *x = device_ramp(1), got = 0;
    OK(launch_scale(x, 10, 1, a));
    OK(cudaEventRecord(event, a));
    if (wait)
        OK(cudaStreamWaitEvent(b, event, 0));
    OK(cudaMemcpyAsync(&got, x, sizeof got, cudaMemcpyDeviceToHost, b));
    OK(cudaStreamSynchronize(b));
    OK(cudaEventDestroy(event));
    OK(cudaStreamDestroy(a));
    OK(cudaStreamDestroy(b));
    OK(cudaFree(x));
    return got;
}

static void events_order_streams()
{
    in_all_orders([] { CHECK(through_two_streams(true) == 10); });
}

static void missing_wait_shows()
{
    CHECK(through_two_streams(false) == 1);
}

static void missing_synchronize_shows()
{
    float *x = device_ramp(1), got = 0;
    cudaStream_t stream = new_stream(0);
    OK(cudaMemcpyAsync(&got, x, sizeof got, cudaMemcpyDeviceToHost, stream));
    CHECK(got == 0);
    CHECK(cudaStreamQuery(stream) == cudaErrorNotReady && cudaStreamQuery(stream) == cudaSuccess);
    CHECK(got == 1 && cudaGetLastError() == cudaErrorNotReady && cudaGetLastError() == cudaSuccess);
    OK(cudaFree(x));
}

static void copies_read_late()
{
    float *x = device_floats(1), value = 1;
    cudaStream_t stream = new_stream(0);
    OK(cudaMemcpyAsync(x, &value, sizeof value, cudaMemcpyHostToDevice, stream));
    value = 2;
    CHECK(read_back(x, 1)[0] == 2);
    OK(cudaFree(x));
}

static void default_stream_rules()
{
    in_all_orders([] {
        cudaStream_t blocking = new_stream(0);
        float *x = device_ramp(1), got = 0;
        OK(launch_scale(x, 3, 1, blocking));
        OK(launch_scale(x, 5, 1, nullptr));
        OK(cudaMemcpyAsync(&got, x, sizeof got, cudaMemcpyDeviceToHost, blocking));
        OK(cudaStreamSynchronize(blocking));
        CHECK(got == 15);
        OK(cudaFree(x));
    });
    emu_set_streams(EMU_LAZY);
    cudaStream_t free_stream = new_stream(cudaStreamNonBlocking);
    float *x = device_ramp(1);
    OK(launch_scale(x, 3, 1, free_stream));
    CHECK(read_back(x, 1)[0] == 1);
    OK(cudaDeviceSynchronize());
    CHECK(read_back(x, 1)[0] == 3);
    OK(cudaFree(x));
}

/* A kernel is loaded before a capture, or spoils it. */
static void load_scale()
{
    cudaFuncAttributes attributes;
    OK(cudaFuncGetAttributes(&attributes, scale_kernel()));
}

static void kernels_are_loaded_lazily()
{
    cudaStream_t stream = new_stream(cudaStreamNonBlocking);
    cudaGraph_t graph = nullptr;
    float *x = device_ramp(1);
    emu_reset_counts();
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    CHECK(launch_scale(x, 2, 1, stream) == cudaErrorStreamCaptureUnsupported && emu_count(EMU_LOAD) == 1);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    emu_fail(EMU_LOAD, 1, cudaErrorNoKernelImageForDevice);
    CHECK(launch_scale(x, 2, 1, stream) == cudaErrorNoKernelImageForDevice);
    load_scale();
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    OK(launch_scale(x, 2, 1, stream));
    OK(cudaStreamEndCapture(stream, &graph));
    CHECK(emu_count(EMU_LOAD) == 3);
    OK(cudaGraphDestroy(graph));
    OK(cudaFree(x));
}

/* The copy waits for the legacy stream's launch alone. */
static void launches_per_thread()
{
    cudaStream_t free_stream = new_stream(cudaStreamNonBlocking);
    for (int per_thread = 0; per_thread <= 1; per_thread++) {
        float *x = device_ramp(1), got = 0;
        emu_set_launches_per_thread(per_thread != 0);
        OK(launch_scale(x, 3, 1, nullptr));
        OK(cudaStreamSynchronize(nullptr));
        OK(cudaMemcpyAsync(&got, x, sizeof got, cudaMemcpyDeviceToHost, free_stream));
        OK(cudaStreamSynchronize(free_stream));
        CHECK(got == 3);
        OK(launch_scale(x, 3, 1, nullptr));
        OK(cudaStreamSynchronize(cudaStreamPerThread));
        OK(cudaMemcpyAsync(&got, x, sizeof got, cudaMemcpyDeviceToHost, free_stream));
        OK(cudaStreamSynchronize(free_stream));
        CHECK(got == (per_thread ? 9 : 3));
        OK(cudaDeviceSynchronize());
        OK(cudaFree(x));
    }
}

static void graph_replays()
{
    load_scale();
    in_all_orders([] {
        cudaStream_t a = new_stream(cudaStreamNonBlocking), b = new_stream(cudaStreamNonBlocking);
        cudaEvent_t fork = nullptr, join = nullptr;
        OK(cudaEventCreate(&fork));
        OK(cudaEventCreate(&join));
        float *x = device_ramp(1), *y = device_ramp(1);
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t executable = nullptr;
        size_t nodes = 0;
        OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
        OK(launch_scale(x, 2, 1, a));
        OK(cudaEventRecord(fork, a));
        OK(cudaStreamWaitEvent(b, fork, 0));
        OK(launch_scale(y, 3, 1, b));
        OK(cudaEventRecord(join, b));
        OK(cudaStreamWaitEvent(a, join, 0));
        OK(cudaMemcpyAsync(x, y, sizeof *x, cudaMemcpyDeviceToDevice, a));
        OK(cudaStreamEndCapture(a, &graph));
        OK(cudaGraphGetNodes(graph, nullptr, &nodes));
        OK(cudaGraphInstantiate(&executable, graph, 0));
        OK(cudaGraphDestroy(graph));
        CHECK(nodes == 3 && read_back(x, 1)[0] == 1);
        emu_reset_counts();
        for (int i = 0; i < 3; i++)
            OK(cudaGraphLaunch(executable, a));
        OK(cudaStreamSynchronize(a));
        CHECK(read_back(x, 1)[0] == 27 && emu_launches("scale") == 6 && emu_launches(nullptr) == 6);
        OK(cudaGraphExecDestroy(executable));
        OK(cudaFree(x));
        OK(cudaFree(y));
    });
}

static void capture_refuses()
{
    load_scale();
    cudaStream_t a = new_stream(0), b = new_stream(0);
    cudaEvent_t event = nullptr;
    OK(cudaEventCreate(&event));
    float *x = device_ramp(1);
    void *p = nullptr;
    cudaGraph_t graph = nullptr;
    cudaStreamCaptureStatus status;

    OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
    CHECK(cudaMalloc(&p, 4) == cudaErrorStreamCaptureUnsupported);
    OK(cudaStreamIsCapturing(a, &status));
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    CHECK(launch_scale(x, 2, 1, a) == cudaErrorStreamCaptureInvalidated);
    CHECK(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated && !graph);

    OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed));
    OK(cudaMalloc(&p, 4));
    CHECK(cudaStreamSynchronize(a) == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated);

    OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal));
    CHECK(cudaMemset(x, 0, 4) == cudaErrorStreamCaptureImplicit);
    CHECK(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated);

    OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal));
    OK(cudaEventRecord(event, a));
    OK(cudaStreamWaitEvent(b, event, 0));
    OK(launch_scale(x, 2, 1, b));
    CHECK(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureUnjoined);
    OK(cudaStreamIsCapturing(b, &status));
    CHECK(status == cudaStreamCaptureStatusNone && read_back(x, 1)[0] == 1);
    OK(cudaFree(x));
    OK(cudaFree(p));
}

const test_case stream_cases[] = {
    {"events order streams", events_order_streams, nullptr, ANY},
    {"a missing wait between streams shows", missing_wait_shows, nullptr, ANY},
    {"a missing synchronization shows, and polling ends", missing_synchronize_shows, nullptr, ANY},
    {"asynchronous copies read host memory late", copies_read_late, nullptr, ANY},
    {"the legacy default stream's rules", default_stream_rules, nullptr, ANY},
    {"a captured graph with a fork replays", graph_replays, nullptr, ANY},
    {"what a capture forbids", capture_refuses, nullptr, ANY},
    {"kernels are loaded when they are first needed", kernels_are_loaded_lazily, nullptr, ANY},
    {"launches in the calling thread's default stream", launches_per_thread, nullptr, ANY},
    {nullptr, nullptr, nullptr, ANY},
};
