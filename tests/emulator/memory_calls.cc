/* The runtime's calls on memory. */
#include "machine.h"

#include <cstring>

/* ---- memory of the host that is registered ------------------------------------------------------------------ */

struct registered {
    uintptr_t begin, end, device_begin;
};

static std::vector<registered> &all_registered()
{
    static auto *const all = new std::vector<registered>;
    return *all;
}

void emu_register_host(void *host, size_t bytes, void *device)
{
    emu_call_scope scope;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(host);
    all_registered().push_back({begin, begin + bytes, reinterpret_cast<uintptr_t>(device)});
}

static bool find_registered(const void *pointer, cudaPointerAttributes *attributes)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    for (const registered &r : all_registered())
        if (address >= r.begin && address < r.end) {
            attributes->type = cudaMemoryTypeHost;
            attributes->device = emu_current_device();
            attributes->hostPointer = const_cast<void *>(pointer);
            attributes->devicePointer = reinterpret_cast<void *>(address - r.begin + r.device_begin);
            return true;
        }
    return false;
}

/* ---- calls --------------------------------------------------------------------------------------------------- */

/* Allocates; memory may not come and go while a stream is captured. */
static cudaError_t allocate(emu_call call, void **out, size_t bytes, int device)
{
    EMU_BEGIN(call)
    if (!out)
        return emu_failed(cudaErrorInvalidValue);
    if (cudaError_t error = emu_forbid_any_capture(false))
        return emu_failed(error);
    return emu_failed(emu_allocate(bytes, device, out));
}

static cudaError_t release(void *pointer, bool pinned, const char *name)
{
    EMU_BEGIN(EMU_FREE)
    if (!pointer)
        return cudaSuccess;
    if (cudaError_t error = emu_forbid_any_capture(false))
        return emu_failed(error);
    emu_wait_for_context(nullptr);
    return emu_failed(emu_release(pointer, pinned, name));
}

static bool is_device(const void *pointer)
{
    const emu_allocation *a = emu_find_allocation(reinterpret_cast<uintptr_t>(pointer));
    return a && a->device >= 0;
}

static bool set_direction(emu_work *work, cudaMemcpyKind kind)
{
    switch (kind) {
    case cudaMemcpyHostToHost:
        return true;
    case cudaMemcpyHostToDevice:
        return work->to_device = true;
    case cudaMemcpyDeviceToHost:
        return work->from_device = true;
    case cudaMemcpyDeviceToDevice:
        return work->to_device = work->from_device = true;
    case cudaMemcpyDefault:
        work->to_device = is_device(work->to);
        work->from_device = is_device(work->from);
        return true;
    }
    return false;
}

/* Copies. The calls without Async are in the legacy default stream, and wait unless both ends are on the device. */
static cudaError_t copy(const char *name, void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                        cudaStream_t handle, bool async)
{
    EMU_BEGIN(EMU_MEMCPY)
    EMU_FIND_STREAM(handle)
    emu_work work = {};
    work.kind = EMU_COPY;
    work.to = to;
    work.from = from;
    work.bytes = bytes;
    if (!set_direction(&work, kind))
        return emu_failed(cudaErrorInvalidMemcpyDirection);
    emu_check_range(to, bytes, work.to_device, name, "destination");
    emu_check_range(from, bytes, work.from_device, name, "source");
    const bool wait = !async && !(work.to_device && work.from_device);
    if (cudaError_t error = emu_enqueue(stream, work))
        return emu_failed(error);
    if (wait)
        emu_wait_for_stream(stream);
    return emu_failed(emu_sticky);
}

static cudaError_t set(const char *name, void *to, int value, size_t bytes, cudaStream_t handle)
{
    EMU_BEGIN(EMU_MEMSET)
    EMU_FIND_STREAM(handle)
    emu_check_range(to, bytes, true, name, "destination");
    emu_work work = {};
    work.kind = EMU_SET;
    work.to = to;
    work.value = value;
    work.bytes = bytes;
    return emu_failed(emu_enqueue(stream, work));
}

extern "C" {

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    return allocate(EMU_MALLOC, out, bytes, emu_current_device());
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    return allocate(EMU_MALLOC_HOST, out, bytes, -1);
}

cudaError_t cudaFree(void *pointer)
{
    return release(pointer, false, "cudaFree");
}

cudaError_t cudaFreeHost(void *pointer)
{
    return release(pointer, true, "cudaFreeHost");
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return copy("cudaMemcpy", to, from, bytes, kind, cudaStreamLegacy, false);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy("cudaMemcpyAsync", to, from, bytes, kind, stream, true);
}

/* Sets bytes of device memory: without waiting, as cudaMemsetAsync(). */
cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return set("cudaMemset", to, value, bytes, cudaStreamLegacy);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    return set("cudaMemsetAsync", to, value, bytes, stream);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    EMU_BEGIN(EMU_DEVICE)
    emu_need_context();
    *total = (size_t)16 << 30;
    *free_bytes = *total - emu_live_bytes();
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer)
{
    EMU_BEGIN(EMU_DEVICE)
    emu_need_context();
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    const emu_allocation *a = emu_find_allocation(address);
    memset(attributes, 0, sizeof *attributes);
    attributes->device = cudaInvalidDeviceId;
    attributes->type = cudaMemoryTypeUnregistered;
    if (find_registered(pointer, attributes))
        return cudaSuccess;
    if (!a || !a->live || address < a->begin || address >= a->end) {
        attributes->hostPointer = const_cast<void *>(pointer);
        return cudaSuccess;
    }
    attributes->type = a->device < 0 ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
    attributes->device = a->device < 0 ? emu_current_device() : a->device;
    attributes->devicePointer = const_cast<void *>(pointer);
    attributes->hostPointer = a->device < 0 ? const_cast<void *>(pointer) : nullptr;
    return cudaSuccess;
}
}
