/* What the runtime returns when it is used wrongly, or made to fail. */
#include "test_emulator.h"

#include <cstring>
#include <cudaTypedefs.h>

static void launches_are_checked()
{
    CHECK(launch_bounded(1, 1025, 0, nullptr) == cudaErrorInvalidConfiguration);
    CHECK(launch_bounded(0, 32, 0, nullptr) == cudaErrorInvalidConfiguration);
    CHECK(launch_bounded(1, 0, 0, nullptr) == cudaErrorInvalidConfiguration);
    CHECK(launch_bounded(1, 128, 49 * 1024, nullptr) == cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute(bounded_kernel(), cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024));
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
    CHECK(launch_bounded(1, 128, 49 * 1024, reinterpret_cast<cudaStream_t>(&launch_bounded)) ==
          cudaErrorInvalidResourceHandle);
    OK(launch_bounded(1, 1, 49 * 1024, nullptr));
    OK(cudaDeviceSynchronize());
#if defined(__x86_64__)
    int blocks = 0;
    cudaFuncAttributes attributes;
    CHECK(launch_bounded(1, 129, 0, nullptr) == cudaErrorLaunchOutOfResources);
    OK(cudaFuncGetAttributes(&attributes, bounded_kernel()));
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, bounded_kernel(), 128, 0));
    CHECK(attributes.maxThreadsPerBlock == 128 && blocks == 16);
#endif
}

static void errors_are_remembered()
{
    CHECK(cudaSetDevice(5) == cudaErrorInvalidDevice);
    CHECK(cudaPeekAtLastError() == cudaErrorInvalidDevice && cudaPeekAtLastError() == cudaErrorInvalidDevice);
    CHECK(cudaGetLastError() == cudaErrorInvalidDevice && cudaGetLastError() == cudaSuccess);
    CHECK(strcmp(cudaGetErrorName(cudaErrorInvalidDevice), "cudaErrorInvalidDevice") == 0);
    CHECK(strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory") == 0);
    void *p = &p;
    CHECK(cudaMalloc(&p, (size_t)1 << 60) == cudaErrorMemoryAllocation && !p);
    emu_set_device_count(0);
    int count = 7;
    CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0);
    CHECK(cudaMalloc(&p, 4) == cudaErrorNoDevice);
}

static void calls_can_fail()
{
    float *x = device_ramp(1);
    void *p = nullptr;
    emu_reset_counts();
    emu_fail(EMU_MALLOC, 2, cudaErrorMemoryAllocation);
    emu_fail(EMU_LAUNCH, 1, cudaErrorLaunchFailure);
    emu_fail(EMU_MEMCPY, 1, cudaErrorUnknown);
    OK(cudaMalloc(&p, 4));
    OK(cudaFree(p));
    CHECK(cudaMalloc(&p, 4) == cudaErrorMemoryAllocation && cudaGetLastError() == cudaErrorMemoryAllocation);
    CHECK(launch_scale(x, 2, 1, nullptr) == cudaErrorLaunchFailure && emu_launches(nullptr) == 0);
    OK(launch_scale(x, 2, 1, nullptr));
    CHECK(cudaMemcpy(&p, x, 4, cudaMemcpyDeviceToHost) == cudaErrorUnknown);
    CHECK(read_back(x, 1)[0] == 2 && emu_count(EMU_MALLOC) == 2 && emu_launches("scale") == 1);

    emu_fail(EMU_EXECUTION, 1, cudaErrorIllegalAddress);
    OK(launch_scale(x, 2, 1, nullptr));
    CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress && cudaGetLastError() == cudaErrorIllegalAddress);
    CHECK(cudaGetLastError() == cudaErrorIllegalAddress && cudaFree(x) == cudaErrorIllegalAddress);
    emu_clear_errors();
    CHECK(cudaGetLastError() == cudaErrorIllegalAddress && cudaGetLastError() == cudaSuccess);
    OK(cudaFree(x));
}

static void devices_are_apart()
{
    emu_set_device_count(2);
    int device = 7;
    cudaPointerAttributes attributes;
    OK(cudaSetDevice(1));
    float *x = device_ramp(1);
    OK(launch_scale(x, 2, 1, nullptr));
    cudaStream_t stream = new_stream(0);
    OK(cudaSetDevice(0));
    OK(cudaGetDevice(&device));
    OK(cudaPointerGetAttributes(&attributes, x));
    CHECK(device == 0 && attributes.device == 1 && attributes.type == cudaMemoryTypeDevice);
    OK(cudaPointerGetAttributes(&attributes, &device));
    CHECK(attributes.type == cudaMemoryTypeUnregistered);
    CHECK(launch_scale(x, 2, 1, stream) == cudaErrorInvalidResourceHandle);
    OK(cudaFree(x));
}

template <class Function> static Function driver_function(const char *name, unsigned version)
{
    void *found = nullptr;
    cudaDriverEntryPointQueryResult result;
    OK(cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, &result));
    CHECK(result == cudaDriverEntryPointSuccess);
    return reinterpret_cast<Function>(found);
}

/* What needs no context makes none; one that is pushed is the one that counts, and a pop leaves nothing behind. */
static void contexts_are_made_as_needed()
{
    emu_set_device_count(3);
    const auto push = driver_function<PFN_cuCtxPushCurrent_v4000>("cuCtxPushCurrent", 4000);
    const auto pop = driver_function<PFN_cuCtxPopCurrent_v4000>("cuCtxPopCurrent", 4000);
    const auto retain = driver_function<PFN_cuDevicePrimaryCtxRetain_v7000>("cuDevicePrimaryCtxRetain", 7000);
    const auto release = driver_function<PFN_cuDevicePrimaryCtxRelease_v11000>("cuDevicePrimaryCtxRelease", 11000);
    const auto make = driver_function<PFN_cuCtxCreate_v3020>("cuCtxCreate", 3020);
    CUcontext primary = nullptr, own = nullptr, popped = nullptr;
    int device = 7;
    float *x = nullptr;
    CHECK(retain(&primary, 1) == CUDA_SUCCESS && push(primary) == CUDA_SUCCESS);
    OK(cudaGetDevice(&device));
    CHECK(device == 1);
    x = device_ramp(1);
    CHECK(pop(&popped) == CUDA_SUCCESS && popped == primary);
    OK(cudaGetDevice(&device));
    CHECK(device == 0 && emu_has_context(1) && !emu_has_context(0) && emu_holders(1) == 1);
    CHECK(retain(&primary, 1) == CUDA_SUCCESS && emu_holders(1) == 2);
    CHECK(release(1) == CUDA_SUCCESS && emu_holders(1) == 1);
    OK(cudaFree(x)); /* in device 0's, which it makes */
    CHECK(emu_has_context(0) && !emu_has_context(2));
    OK(cudaSetDevice(2));
    CHECK(emu_has_context(2));

    cudaStream_t stream = new_stream(0);
    x = device_ramp(1);
    CHECK(make(&own, 0, 2) == CUDA_SUCCESS);
    OK(cudaGetDevice(&device));
    CHECK(device == 2);
    CHECK(launch_scale(x, 2, 1, stream) == cudaErrorInvalidResourceHandle);
    CHECK(pop(&popped) == CUDA_SUCCESS && popped == own);
    OK(launch_scale(x, 2, 1, stream));
    OK(cudaDeviceSynchronize());
    CHECK(read_back(x, 1)[0] == 2);
    OK(cudaFree(x));
}

static void context_ends()
{
    const auto retain = driver_function<PFN_cuDevicePrimaryCtxRetain_v7000>("cuDevicePrimaryCtxRetain", 7000);
    const auto release = driver_function<PFN_cuDevicePrimaryCtxRelease_v11000>("cuDevicePrimaryCtxRelease", 11000);
    CUcontext primary = nullptr;
    CHECK(retain(&primary, 0) == CUDA_SUCCESS);
    (void)release(0);
}

const test_case error_cases[] = {
    {"launch configurations are checked", launches_are_checked, nullptr, ANY},
    {"the last error is remembered and cleared", errors_are_remembered, nullptr, ANY},
    {"calls fail on demand, and are counted", calls_can_fail, nullptr, ANY},
    {"two devices", devices_are_apart, nullptr, ANY},
    {"contexts", contexts_are_made_as_needed, nullptr, ANY},
    {"a context that ends", context_ends, "the context of device 0 ends", ANY},
    {nullptr, nullptr, nullptr, ANY},
};
