/* Stream capture: work is recorded as the nodes of a graph, which a launch does again. */
#include "machine.h"

#include <algorithm>
#include <set>

/* ---- what may not be done meanwhile -------------------------------------------------------------------------- */

static std::vector<std::weak_ptr<emu_capture>> &captures()
{
    static auto *const all = new std::vector<std::weak_ptr<emu_capture>>;
    return *all;
}

static cudaError_t invalidate(emu_capture *capture, cudaError_t error)
{
    capture->invalid = true;
    return error;
}

cudaError_t emu_forbid_capture(emu_stream *stream)
{
    return stream->capture ? invalidate(stream->capture.get(), cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

/* What this thread asked for by cudaThreadExchangeStreamCaptureMode(). */
static thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

/* Forbids allocations and the like, which are unsafe during a capture of this thread, unless it is relaxed, and of any
 * thread if it is global. */
cudaError_t emu_forbid_any_capture(bool relaxed_too)
{
    if (!relaxed_too && thread_mode == cudaStreamCaptureModeRelaxed)
        return cudaSuccess;
    for (const auto &weak : captures()) {
        const std::shared_ptr<emu_capture> c = weak.lock();
        if (!c)
            continue;
        const bool mine = c->host_thread == emu_host_thread();
        if (relaxed_too || c->mode == cudaStreamCaptureModeGlobal ||
            (c->mode == cudaStreamCaptureModeThreadLocal && mine))
            return invalidate(c.get(), cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
}

/* Returns the capture for which the legacy stream would have to wait, or NULL. */
static emu_capture *capture_before_legacy(const emu_stream *stream)
{
    if (stream->legacy)
        for (emu_stream *other : emu_streams_of_all())
            if (other->capture && other->context == stream->context && !(other->flags & cudaStreamNonBlocking))
                return other->capture.get();
    return nullptr;
}

cudaError_t emu_forbid_legacy(const emu_stream *stream)
{
    emu_capture *capture = capture_before_legacy(stream);
    return capture ? invalidate(capture, cudaErrorStreamCaptureImplicit) : cudaSuccess;
}

/* ---- recording ----------------------------------------------------------------------------------------------- */

cudaError_t emu_capture_work(emu_stream *stream, emu_work work)
{
    emu_capture *c = stream->capture.get();
    if (c->invalid)
        return cudaErrorStreamCaptureInvalidated;
    c->graph.nodes.push_back({std::move(work), stream->capture_last});
    stream->capture_last.assign(1, (unsigned)c->graph.nodes.size() - 1);
    return cudaSuccess;
}

cudaError_t emu_capture_record(emu_stream *stream, emu_event *event)
{
    if (stream->capture->invalid)
        return cudaErrorStreamCaptureInvalidated;
    event->captured = true;
    event->capture = stream->capture;
    event->capture_nodes = stream->capture_last;
    return cudaSuccess;
}

/* Joins a stream to a capture, when it waits for a captured event. */
cudaError_t emu_capture_wait(emu_stream *stream, emu_event *event)
{
    if (!event->captured)
        return event->stream ? invalidate(stream->capture.get(), cudaErrorStreamCaptureIsolation) : cudaSuccess;
    const std::shared_ptr<emu_capture> c = event->capture.lock();
    if (!c)
        return cudaErrorCapturedEvent;
    if (c->invalid)
        return cudaErrorStreamCaptureInvalidated;
    if (stream->legacy)
        return invalidate(c.get(), cudaErrorStreamCaptureImplicit);
    if (stream->capture && stream->capture != c) {
        invalidate(c.get(), cudaSuccess);
        return invalidate(stream->capture.get(), cudaErrorStreamCaptureMerge);
    }
    if (!stream->capture)
        stream->capture_last.clear();
    stream->capture = c;
    for (unsigned node : event->capture_nodes)
        if (std::find(stream->capture_last.begin(), stream->capture_last.end(), node) == stream->capture_last.end())
            stream->capture_last.push_back(node);
    return cudaSuccess;
}

/* Tells whether all that was recorded comes before what the first stream recorded last. */
static bool is_joined(const emu_capture *c)
{
    std::set<unsigned> before;
    std::vector<unsigned> left = c->origin->capture_last;
    while (!left.empty()) {
        const unsigned node = left.back();
        left.pop_back();
        if (before.insert(node).second)
            left.insert(left.end(), c->graph.nodes[node].after.begin(), c->graph.nodes[node].after.end());
    }
    for (const emu_stream *stream : emu_streams_of_all())
        if (stream->capture.get() == c)
            for (unsigned node : stream->capture_last)
                if (!before.count(node))
                    return false;
    return true;
}

/* ---- replay -------------------------------------------------------------------------------------------------- */

/* Does each node once those before it are done: the first in the list, the last, or any. */
void emu_do_graph(const emu_graph *graph, int device)
{
    std::vector<bool> done(graph->nodes.size());
    for (size_t count = 0; count < graph->nodes.size(); count++) {
        std::vector<size_t> ready;
        for (size_t i = 0; i < graph->nodes.size(); i++) {
            const std::vector<unsigned> &after = graph->nodes[i].after;
            if (!done[i] && std::all_of(after.begin(), after.end(), [&](unsigned n) { return done[n]; }))
                ready.push_back(i);
        }
        const size_t next = emu_set.order == EMU_FORWARD   ? ready.front()
                            : emu_set.order == EMU_REVERSE ? ready.back()
                                                           : ready[emu_random(ready.size())];
        emu_do_work(&graph->nodes[next].work, device);
        done[next] = true;
    }
}

static void count_launches(const emu_graph *graph)
{
    for (const emu_node &node : graph->nodes) {
        if (node.work.kind == EMU_KERNEL)
            emu_count_launch(node.work.kernel.function);
        if (node.work.kind == EMU_REPLAY)
            count_launches(node.work.graph.get());
    }
}

/* ---- the runtime's calls ------------------------------------------------------------------------------------- */

/* What both kinds of handle point to. An executable graph is a copy: the other may be destroyed. */
struct CUgraph_st {
    std::shared_ptr<const emu_graph> graph;
};
struct CUgraphExec_st {
    std::shared_ptr<const emu_graph> graph;
};

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode)
{
    EMU_BEGIN(EMU_STREAM)
    EMU_FIND_STREAM(handle)
    if (stream->legacy)
        return emu_failed(cudaErrorStreamCaptureUnsupported);
    if (stream->capture)
        return emu_failed(cudaErrorIllegalState);
    stream->capture = std::make_shared<emu_capture>();
    stream->capture->origin = stream;
    stream->capture->mode = mode;
    stream->capture->host_thread = emu_host_thread();
    stream->capture_last.clear();
    captures().push_back(stream->capture);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out)
{
    EMU_BEGIN(EMU_STREAM)
    EMU_FIND_STREAM(handle)
    *out = nullptr;
    const std::shared_ptr<emu_capture> c = stream->capture;
    if (!c)
        return emu_failed(cudaErrorIllegalState);
    if (c->origin != stream)
        return emu_failed(invalidate(c.get(), cudaErrorStreamCaptureUnmatched));
    if (c->mode != cudaStreamCaptureModeRelaxed && c->host_thread != emu_host_thread())
        return emu_failed(invalidate(c.get(), cudaErrorStreamCaptureWrongThread));
    const bool joined = is_joined(c.get());
    for (emu_stream *other : emu_streams_of_all())
        if (other->capture == c)
            other->capture = nullptr;
    if (c->invalid)
        return emu_failed(cudaErrorStreamCaptureInvalidated);
    if (!joined)
        return emu_failed(cudaErrorStreamCaptureUnjoined);
    *out = new CUgraph_st{std::make_shared<emu_graph>(std::move(c->graph))};
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode)
{
    EMU_BEGIN(EMU_STREAM)
    std::swap(*mode, thread_mode);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status)
{
    EMU_BEGIN(EMU_STREAM)
    EMU_FIND_STREAM(handle)
    if (capture_before_legacy(stream)) /* the question alone does not invalidate that capture */
        return emu_failed(cudaErrorStreamCaptureImplicit);
    *status = !stream->capture           ? cudaStreamCaptureStatusNone
              : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

/* Tells the number of nodes alone. */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    EMU_BEGIN(EMU_GRAPH)
    if (!graph || nodes || !count)
        return emu_failed(nodes ? cudaErrorNotSupported : cudaErrorInvalidValue);
    *count = graph->graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    EMU_BEGIN(EMU_GRAPH)
    if (!out || !graph)
        return emu_failed(cudaErrorInvalidValue);
    *out = new CUgraphExec_st{graph->graph};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle)
{
    EMU_BEGIN(EMU_GRAPH)
    EMU_FIND_STREAM(handle)
    if (!executable)
        return emu_failed(cudaErrorInvalidValue);
    emu_work work = {};
    work.kind = EMU_REPLAY;
    work.graph = executable->graph;
    if (!stream->capture)
        count_launches(work.graph.get());
    return emu_failed(emu_enqueue(stream, work));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    EMU_BEGIN(EMU_GRAPH)
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    EMU_BEGIN(EMU_GRAPH)
    delete graph;
    return cudaSuccess;
}
}
