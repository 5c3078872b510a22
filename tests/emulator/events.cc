/* The runtime's calls on events: places in streams, or in the graph that is recorded. */
#include "machine.h"

struct event_entry {
    emu_event event;
    bool destroyed;
};

static std::vector<event_entry *> &events()
{
    static auto *const all = new std::vector<event_entry *>;
    return *all;
}

static event_entry *find_entry(cudaEvent_t handle)
{
    for (event_entry *entry : events())
        if (reinterpret_cast<cudaEvent_t>(entry) == handle) {
            if (entry->destroyed)
                emu_report("event %p was destroyed", static_cast<void *>(handle));
            return entry;
        }
    return nullptr;
}

emu_event *emu_find_event(cudaEvent_t handle)
{
    event_entry *entry = find_entry(handle);
    return entry ? &entry->event : nullptr;
}

static bool is_over(const emu_event *event)
{
    return !event->stream || event->stream->done >= event->sequence;
}

#define FIND_EVENT(handle)                                                                                             \
    emu_event *event = emu_find_event(handle);                                                                         \
    if (!event)                                                                                                        \
        return emu_failed(cudaErrorInvalidResourceHandle);

extern "C" {

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    EMU_BEGIN(EMU_EVENT)
    if (!out)
        return emu_failed(cudaErrorInvalidValue);
    event_entry *entry = new event_entry();
    entry->event.flags = flags;
    entry->event.device = emu_current_device();
    events().push_back(entry);
    *out = reinterpret_cast<cudaEvent_t>(entry);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle)
{
    EMU_BEGIN(EMU_EVENT)
    event_entry *entry = find_entry(handle);
    if (!entry)
        return emu_failed(cudaErrorInvalidResourceHandle);
    entry->destroyed = true;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle)
{
    EMU_BEGIN(EMU_EVENT)
    FIND_EVENT(handle)
    EMU_FIND_STREAM(stream_handle)
    if (event->device != stream->device)
        return emu_failed(cudaErrorInvalidResourceHandle);
    if (stream->capture)
        return emu_failed(emu_capture_record(stream, event));
    if (cudaError_t error = emu_forbid_legacy(stream))
        return emu_failed(error);
    event->captured = false;
    emu_operation operation = {};
    operation.record = event;
    emu_push(stream, std::move(operation));
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned)
{
    EMU_BEGIN(EMU_EVENT)
    FIND_EVENT(handle)
    EMU_FIND_STREAM(stream_handle)
    if (event->captured || stream->capture)
        return emu_failed(emu_capture_wait(stream, event));
    if (cudaError_t error = emu_forbid_legacy(stream))
        return emu_failed(error);
    emu_operation operation = {};
    operation.wait_stream = event->stream;
    operation.wait_sequence = event->sequence;
    emu_push(stream, std::move(operation));
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle)
{
    EMU_BEGIN(EMU_WAIT)
    FIND_EVENT(handle)
    if (event->captured)
        return emu_failed(cudaErrorCapturedEvent);
    if (event->stream)
        emu_wait_for(event->stream, event->sequence);
    return emu_failed(emu_sticky);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first, cudaEvent_t last)
{
    EMU_BEGIN(EMU_EVENT)
    const emu_event *a = emu_find_event(first), *b = emu_find_event(last);
    if (!a || !b || !milliseconds || !a->stream || !b->stream || (a->flags | b->flags) & cudaEventDisableTiming)
        return emu_failed(cudaErrorInvalidResourceHandle);
    if (!is_over(a) || !is_over(b))
        return emu_failed(cudaErrorNotReady);
    *milliseconds = (float)(b->time - a->time);
    return cudaSuccess;
}
}
