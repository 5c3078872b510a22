/*
 * Streams that put off their work until something waits for it.
 *
 * Every operation has a sequence number, by which it was asked for. What an operation waits for always has a smaller
 * one, so that waiting ends.
 */
#include "machine.h"

#include <cstring>
#include <ctime>
#include <map>

std::vector<emu_stream *> &emu_streams_of_all(void)
{
    static auto *const all = new std::vector<emu_stream *>;
    return *all;
}

static uint64_t last_sequence;

/* ---- doing --------------------------------------------------------------------------------------------------- */

static void copy(const emu_work *w)
{
    if (w->bytes == 0)
        return;
    emu_check_range(w->to, w->bytes, w->to_device, "a copy that runs now", "destination");
    emu_check_range(w->from, w->bytes, w->from_device, "a copy that runs now", "source");
    emu_open_memory(-1);
    memmove(w->to, w->from, w->bytes);
}

static void set(const emu_work *w)
{
    if (w->bytes == 0)
        return;
    emu_check_range(w->to, w->bytes, true, "a memset that runs now", "destination");
    emu_open_memory(-1);
    memset(w->to, w->value, w->bytes);
}

void emu_do_work(const emu_work *work, int device)
{
    switch (work->kind) {
    case EMU_NOTHING:
        break;
    case EMU_KERNEL:
        if (cudaError_t error = emu_injected(EMU_EXECUTION))
            emu_sticky = error;
        else
            emu_run_kernel(&work->kernel, device);
        break;
    case EMU_COPY:
        copy(work);
        break;
    case EMU_SET:
        set(work);
        break;
    case EMU_HOST_FUNCTION:
        emu_close_memory();
        work->function(work->argument);
        break;
    case EMU_REPLAY:
        emu_do_graph(work->graph.get(), device);
        break;
    }
}

static double now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ---- what waits for what ------------------------------------------------------------------------------------- */

/* Waits as the legacy default stream does for all streams but those that were made non-blocking, and these for it. */
static void wait_for_legacy_rule(const emu_stream *stream, uint64_t sequence)
{
    if (stream->flags & cudaStreamNonBlocking)
        return;
    for (emu_stream *other : emu_streams_of_all())
        if (other != stream && other->context == stream->context && !(other->flags & cudaStreamNonBlocking) &&
            other->legacy != stream->legacy)
            emu_wait_for(other, sequence);
}

/* Runs one operation. What it waits for is done while it is still in the queue: on the way another may need it, and run
 * it. */
bool emu_step_stream(emu_stream *stream)
{
    if (stream->head == stream->queue.size())
        return false;
    const uint64_t sequence = stream->queue[stream->head].sequence;
    emu_stream *const wait_stream = stream->queue[stream->head].wait_stream;
    const uint64_t wait_sequence = stream->queue[stream->head].wait_sequence;
    wait_for_legacy_rule(stream, sequence - 1);
    if (wait_stream)
        emu_wait_for(wait_stream, wait_sequence);
    if (stream->done >= sequence)
        return true;

    emu_operation operation = std::move(stream->queue[stream->head]);
    if (++stream->head == stream->queue.size()) {
        stream->queue.clear();
        stream->head = 0;
    }
    if (emu_sticky == cudaSuccess)
        emu_do_work(&operation.work, stream->device);
    if (operation.record)
        operation.record->time = now();
    stream->done = sequence;
    return true;
}

/* Waits for an operation. Only who waits first may let others run in between; what these wait for is done straight
 * away. */
void emu_wait_for(emu_stream *stream, uint64_t sequence)
{
    static unsigned depth;
    const auto &all = emu_streams_of_all();
    depth++;
    while (stream->head < stream->queue.size() && stream->queue[stream->head].sequence <= sequence)
        emu_step_stream(emu_set.streams == EMU_SHUFFLED && depth == 1 ? all[emu_random(all.size())] : stream);
    depth--;
}

/* Waits for a stream. The legacy default stream is done when those it waits for are. */
void emu_wait_for_stream(emu_stream *stream)
{
    emu_wait_for(stream, UINT64_MAX);
    if (stream->legacy)
        wait_for_legacy_rule(stream, UINT64_MAX);
}

void emu_wait_for_context(CUcontext context)
{
    for (size_t i = 0; i < emu_streams_of_all().size(); i++) {
        emu_stream *stream = emu_streams_of_all()[i];
        if (!context || stream->context == context)
            emu_wait_for(stream, UINT64_MAX);
    }
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

void emu_push(emu_stream *stream, emu_operation operation)
{
    operation.sequence = ++last_sequence;
    if (operation.record) {
        operation.record->stream = stream;
        operation.record->sequence = operation.sequence;
    }
    stream->queue.push_back(std::move(operation));
    if (emu_set.streams == EMU_EAGER)
        emu_wait_for_context(nullptr);
}

cudaError_t emu_enqueue(emu_stream *stream, emu_work work)
{
    if (stream->capture)
        return emu_capture_work(stream, std::move(work));
    if (cudaError_t error = emu_forbid_legacy(stream))
        return error;
    emu_operation operation = {};
    operation.work = std::move(work);
    emu_push(stream, std::move(operation));
    return cudaSuccess;
}

emu_stream *emu_make_stream(unsigned flags, bool legacy)
{
    emu_stream *stream = new emu_stream();
    stream->device = emu_current_device();
    stream->context = emu_need_context();
    stream->flags = flags;
    stream->legacy = legacy;
    emu_streams_of_all().push_back(stream);
    return stream;
}

/* Each thread's own default stream, of the context that it was first asked for in. */
static thread_local std::map<CUcontext, emu_stream *> *per_thread;

/* Streams are kept for ever, so that a handle that is no longer valid is recognized. */
emu_stream *emu_find_stream(cudaStream_t handle)
{
    const bool mine = handle == cudaStreamPerThread;
    if (!handle || handle == cudaStreamLegacy || mine) {
        const CUcontext context = emu_need_context();
        if (!per_thread)
            per_thread = new std::map<CUcontext, emu_stream *>;
        emu_stream *&known = mine ? (*per_thread)[context] : context->legacy;
        if (!known)
            known = emu_make_stream(0, !mine);
        return known;
    }
    for (emu_stream *stream : emu_streams_of_all())
        if (reinterpret_cast<cudaStream_t>(stream) == handle) {
            if (stream->destroyed)
                emu_report("stream %p was destroyed", static_cast<void *>(handle));
            return stream;
        }
    return nullptr;
}
