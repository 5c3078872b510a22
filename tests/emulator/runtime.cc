/* The runtime's calls on devices, kernels and errors. */
#include "machine.h"

#include <cstdio>
#include <cstring>
#include <map>
#include <set>

static std::recursive_mutex &the_lock()
{
    static auto *const lock = new std::recursive_mutex;
    return *lock;
}

static unsigned depth; /* of calls within calls */

emu_call_scope::emu_call_scope() : lock(the_lock())
{
    depth++;
    emu_install_handlers();
}

emu_call_scope::~emu_call_scope()
{
    if (--depth == 0)
        emu_close_memory();
}

static thread_local cudaError_t last_error;

const void *emu_host_thread(void)
{
    return &last_error;
}

cudaError_t emu_failed(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

cudaError_t emu_begin_call(emu_call call)
{
    const cudaError_t injected = emu_injected(call);
    if (emu_set.device_count == 0)
        return emu_failed(cudaErrorNoDevice);
    if (call != EMU_DEVICE)
        emu_need_context();
    return emu_failed(emu_sticky ? emu_sticky : injected);
}

/* ---- errors -------------------------------------------------------------------------------------------------- */

struct error_text {
    cudaError_t error;
    const char *name, *text;
};

#define TEXT(name, text)                                                                                               \
    {                                                                                                                  \
        name, #name, text                                                                                              \
    }
static const error_text error_texts[] = {
    TEXT(cudaSuccess, "no error"),
    TEXT(cudaErrorInvalidValue, "invalid argument"),
    TEXT(cudaErrorMemoryAllocation, "out of memory"),
    TEXT(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    TEXT(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    TEXT(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    TEXT(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    TEXT(cudaErrorInvalidDevice, "invalid device ordinal"),
    TEXT(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    TEXT(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    TEXT(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    TEXT(cudaErrorNotReady, "device not ready"),
    TEXT(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    TEXT(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    TEXT(cudaErrorLaunchFailure, "unspecified launch failure"),
    TEXT(cudaErrorNotSupported, "operation not supported"),
    TEXT(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    TEXT(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    TEXT(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    TEXT(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    TEXT(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    TEXT(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    TEXT(cudaErrorStreamCaptureImplicit,
         "operation would make the legacy stream depend on a capturing blocking stream"),
    TEXT(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread"),
    TEXT(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    TEXT(cudaErrorUnknown, "unknown error"),
};
#undef TEXT

static const error_text *find_text(cudaError_t error)
{
    for (const error_text &t : error_texts)
        if (t.error == error)
            return &t;
    return nullptr;
}

extern "C" {

const char *cudaGetErrorName(cudaError_t error)
{
    const error_text *t = find_text(error);
    return t ? t->name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    const error_text *t = find_text(error);
    return t ? t->text : "unrecognized error code";
}

/* Takes the last error; a sticky one stays. */
cudaError_t cudaGetLastError(void)
{
    emu_call_scope scope;
    const cudaError_t error = last_error;
    last_error = emu_sticky;
    return error ? error : emu_sticky;
}

cudaError_t cudaPeekAtLastError(void)
{
    emu_call_scope scope;
    return last_error ? last_error : emu_sticky;
}

/* ---- devices ------------------------------------------------------------------------------------------------- */

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    emu_call_scope scope;
    *count = emu_set.device_count;
    return emu_begin_call(EMU_DEVICE);
}

static const size_t MOST_DYNAMIC_BYTES = 227 * 1024, L2_BYTES = (size_t)1 << 18;
static const int MULTIPROCESSORS = 4;

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr wanted, int device)
{
    EMU_BEGIN(EMU_DEVICE)
    if (device < 0 || device >= emu_set.device_count)
        return emu_failed(cudaErrorInvalidDevice);
    switch ((int)wanted) {
    case cudaDevAttrMultiProcessorCount:
        *value = MULTIPROCESSORS;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)MOST_DYNAMIC_BYTES;
        return cudaSuccess;
    case cudaDevAttrL2CacheSize:
        *value = (int)L2_BYTES;
        return cudaSuccess;
    case cudaDevAttrPageableMemoryAccess:
        *value = 0;
        return cudaSuccess;
    }
    emu_report("cudaDeviceGetAttribute: attribute %d is not modelled; add it to runtime.cc", (int)wanted);
}

/* Fills in what the library asks for. */
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    EMU_BEGIN(EMU_DEVICE)
    if (device < 0 || device >= emu_set.device_count)
        return emu_failed(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated device %d", device);
    p->totalGlobalMem = (size_t)16 << 30;
    p->major = 9;
    p->multiProcessorCount = MULTIPROCESSORS;
    return cudaSuccess;
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

static std::map<const void *, size_t> &dynamic_limits()
{
    static auto *const all = new std::map<const void *, size_t>;
    return *all;
}

static size_t dynamic_limit(const void *function)
{
    auto found = dynamic_limits().find(function);
    return found == dynamic_limits().end() ? 48 * 1024 : found->second;
}

/* Kernels are loaded as they are first asked about or launched, into one context. */
static std::set<std::pair<CUcontext, const void *>> &loaded()
{
    static auto *const all = new std::set<std::pair<CUcontext, const void *>>;
    return *all;
}

/* Memory may have to be allocated for it. */
static cudaError_t load(const void *function)
{
    const std::pair<CUcontext, const void *> kernel = {emu_need_context(), function};
    if (loaded().count(kernel))
        return cudaSuccess;
    if (cudaError_t error = emu_injected(EMU_LOAD))
        return error;
    if (cudaError_t error = emu_forbid_any_capture(false))
        return error;
    loaded().insert(kernel);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute wanted, int value)
{
    EMU_BEGIN(EMU_DEVICE)
    if (cudaError_t error = load(function))
        return emu_failed(error);
    if (wanted == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if (value < 0 || value > (int)MOST_DYNAMIC_BYTES)
            return emu_failed(cudaErrorInvalidValue);
        dynamic_limits()[function] = (size_t)value;
    }
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *function)
{
    EMU_BEGIN(EMU_DEVICE)
    if (cudaError_t error = load(function))
        return emu_failed(error);
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = (int)emu_launch_bounds(function);
    a->maxDynamicSharedSizeBytes = (int)dynamic_limit(function);
    a->numRegs = 32;
    a->ptxVersion = a->binaryVersion = 90;
    return cudaSuccess;
}

/* Answers by threads alone, as for a kernel of few registers. */
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int threads, size_t)
{
    EMU_BEGIN(EMU_DEVICE)
    if (threads <= 0 || (unsigned)threads > emu_launch_bounds(function))
        return emu_failed(cudaErrorInvalidValue);
    *blocks = 2048 / threads > 32 ? 32 : 2048 / threads;
    return cudaSuccess;
}
}

static cudaError_t check_launch(const cudaLaunchConfig_t *c, const void *function)
{
    const dim3 g = c->gridDim, b = c->blockDim;
    const uint64_t threads = (uint64_t)b.x * b.y * b.z;
    if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (threads == 0 || b.x > 1024 || b.y > 1024 || b.z > 64 || threads > 1024)
        return cudaErrorInvalidConfiguration;
    if (threads > emu_launch_bounds(function))
        return cudaErrorLaunchOutOfResources;
    if (c->dynamicSmemBytes > dynamic_limit(function))
        return cudaErrorInvalidValue;
    return c->numAttrs == 0 ? cudaSuccess : cudaErrorNotSupported;
}

cudaError_t emu_launch(const emu_launch_request &request)
{
    const std::shared_ptr<void> closure(request.closure, request.destroy);
    EMU_BEGIN(EMU_LAUNCH)
    /* What nvcc's --default-stream=per-thread does to a file. */
    const bool per_thread = !request.config->stream && emu_set.launches_per_thread;
    EMU_FIND_STREAM(per_thread ? cudaStreamPerThread : request.config->stream)
    if (cudaError_t error = load(request.function))
        return emu_failed(error);
    if (cudaError_t error = check_launch(request.config, request.function))
        return emu_failed(error);
    if (stream->context != emu_current_context())
        return emu_failed(cudaErrorInvalidResourceHandle);
    emu_work work = {};
    work.kind = EMU_KERNEL;
    work.kernel = {request.function,
                   request.config->gridDim,
                   request.config->blockDim,
                   request.config->dynamicSmemBytes,
                   request.run,
                   closure,
                   request.closure_bytes};
    if (!stream->capture)
        emu_count_launch(request.function);
    return emu_failed(emu_enqueue(stream, work));
}
