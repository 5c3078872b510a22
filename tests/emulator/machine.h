/* What the emulator's files share. Calls of the CUDA runtime hold one lock, so that nothing else here needs any. */
#ifndef EMU_MACHINE_H
#define EMU_MACHINE_H

#include "device_side.h"
#include "emulator.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <memory>
#include <mutex>
#include <vector>

/* ---- settings (settings.cc) ---------------------------------------------------------------------------------- */

struct emu_settings {
    emu_order order;
    emu_streams streams;
    uint64_t seed;
    int device_count;
    bool launches_per_thread;
};
extern emu_settings emu_set;

#define EMU_MAX_DEVICES 8

uint64_t emu_random(uint64_t below); /* the next number under `below`, which is not 0 */

/* Counts a call; the error that it must return, if it was asked to fail. */
cudaError_t emu_injected(emu_call call);
void emu_count_launch(const void *kernel);
extern cudaError_t emu_sticky;

/* ---- reports and symbols (report_fault.cc, symbols.cc) ------------------------------------------------------- */

/* Prints the text and where the device is, and aborts. */
[[noreturn]] void emu_report(const char *format, ...) __attribute__((format(printf, 1, 2)));
void emu_install_handlers(void); /* for faults; once for each host thread */

struct emu_symbol {
    const char *name; /* as the linker sees it */
    uintptr_t begin, end;
};

/* A function or variable that holds an address, or false. */
bool emu_find_symbol(uintptr_t address, emu_symbol *symbol);

/* Tells whether an address is in a part of the program that cannot be written. */
bool emu_is_constant(uintptr_t address);

/* The thread-local memory of the module that a kernel is in: where its shared arrays lie. */
struct emu_arrays {
    uintptr_t begin, end;
    std::vector<emu_symbol> statics; /* variables of functions, sorted */
};
const emu_arrays *emu_shared_arrays(const void *kernel);

/* "void step<float>(int)" and "step": valid for ever. */
const char *emu_kernel_name(const void *kernel);
const char *emu_kernel_base_name(const void *kernel);

/* Threads a block may have by __launch_bounds__, 1024 if it has none. */
unsigned emu_launch_bounds(const void *kernel);

/* ---- memory (memory.cc) -------------------------------------------------------------------------------------- */

struct emu_cell; /* races.cc */

struct emu_allocation {
    uintptr_t begin, end;           /* what was asked for */
    uintptr_t page_begin, page_end; /* what is mapped */
    int device;                     /* -1: pinned host memory */
    bool live;
    emu_cell *cells; /* of each byte, once there was an access to record */
};

cudaError_t emu_allocate(size_t bytes, int device, void **out);
cudaError_t emu_release(void *pointer, bool pinned, const char *call);
/* The allocation that holds or is next to an address of the device, live or not, or NULL. */
emu_allocation *emu_find_allocation(uintptr_t address);
bool emu_in_arena(uintptr_t address);
size_t emu_live_bytes(void); /* device and pinned memory that is not freed */

void emu_open_memory(int device); /* from here on the device works, and the host does not */
void emu_close_memory(void);
void emu_check_patterns(const char *after);

/* Reports a range that is not inside live memory of a device (or the host). */
void emu_check_range(const void *pointer, size_t bytes, bool device, const char *call, const char *what);
void emu_describe(uintptr_t address, char *text, size_t size);

/* ---- running a kernel (block.cc, fiber.cc) ------------------------------------------------------------------- */

struct emu_kernel {
    const void *function;
    dim3 grid, block;
    size_t dynamic_bytes;
    void (*run)(void *closure);
    std::shared_ptr<void> closure;
    size_t closure_bytes;
};

void emu_run_kernel(const emu_kernel *kernel, int device);

struct emu_fiber;
enum emu_thread_state { EMU_NEW, EMU_READY, EMU_AT_BARRIER, EMU_AT_WARP, EMU_DONE };
struct emu_thread {
    emu_thread_state state;
    emu_fiber *fiber;
    uint3 index;
    /* what it waits at, or waited at last */
    emu_collective wait;
    uint64_t result;
    /* races */
    unsigned tick; /* when its part since the last barrier began */
};

/* The kernel that runs, if any. */
struct emu_running {
    const emu_kernel *kernel; /* NULL: none */
    const void *host_thread;  /* by which it runs */
    int device;
    const emu_arrays *arrays;
    uintptr_t dynamic_begin, dynamic_end;
    std::vector<emu_thread> threads;
    emu_thread *current;
    bool meeting; /* in emu_meet(): what is copied now is not the kernel's */
    /* races */
    unsigned first_serial, serial; /* of blocks, over all launches */
    unsigned tick, epoch;          /* tick counts waits of the block that are over; epoch is the last barrier's */
};
extern emu_running emu_run;

inline unsigned emu_number(const emu_thread *thread)
{
    return (unsigned)(thread - emu_run.threads.data());
}

emu_fiber *emu_take_fiber(void);
void emu_give_fiber(emu_fiber *fiber);
void emu_resume(emu_fiber *fiber); /* until it pauses */
void emu_pause(void);
bool emu_in_stack(uintptr_t address);       /* of the fiber that runs */
bool emu_near_any_stack(uintptr_t address); /* of any, its guard included */
void emu_fiber_body(void);                  /* block.cc: what a fiber does; never returns */

/* ---- races (races.cc) ---------------------------------------------------------------------------------------- */

void emu_begin_races(void); /* of a launch */
void emu_begin_block_races(void);
void emu_join_warp(unsigned first, unsigned mask);                    /* __syncwarp of these lanes is over */
void emu_spare_cells(emu_allocation *a);                              /* it is freed */
void emu_describe_device(uintptr_t address, char *text, size_t size); /* as a running kernel sees it */
extern "C" __attribute__((weak)) const bool emu_hooks_are_linked;

/* ---- streams (streams.cc, capture.cc) ------------------------------------------------------------------------ */

struct emu_graph;

/* Something that a stream or a graph does. */
enum emu_work_kind { EMU_NOTHING, EMU_KERNEL, EMU_COPY, EMU_SET, EMU_HOST_FUNCTION, EMU_REPLAY };
struct emu_work {
    emu_work_kind kind;
    emu_kernel kernel;
    void *to;
    const void *from;
    size_t bytes;
    bool to_device, from_device;
    int value;
    cudaHostFn_t function;
    void *argument;
    std::shared_ptr<const emu_graph> graph;
};

struct emu_node {
    emu_work work;
    std::vector<unsigned> after; /* nodes before this one */
};

struct emu_graph {
    std::vector<emu_node> nodes;
};

struct emu_capture {
    emu_graph graph;
    struct emu_stream *origin;
    cudaStreamCaptureMode mode;
    const void *host_thread;
    bool invalid;
};

struct emu_operation {
    uint64_t sequence;
    emu_work work;
    struct emu_stream *wait_stream; /* before it: that stream up to that operation */
    uint64_t wait_sequence;
    struct emu_event *record;
};

struct emu_stream {
    int device;
    CUcontext context; /* of that device */
    unsigned flags;
    bool destroyed, legacy;
    std::vector<emu_operation> queue; /* from `head` on */
    size_t head;
    uint64_t done; /* sequence number of the last operation that is over */
    std::shared_ptr<emu_capture> capture;
    std::vector<unsigned> capture_last; /* the nodes that the next one comes after */
};

struct emu_event {
    int device;
    unsigned flags;
    emu_stream *stream; /* of the last record, or NULL */
    uint64_t sequence;
    double time; /* of the last that is over, in milliseconds */
    std::weak_ptr<emu_capture> capture;
    std::vector<unsigned> capture_nodes;
    bool captured;
};

emu_stream *emu_find_stream(cudaStream_t handle); /* NULL: no such */
emu_event *emu_find_event(cudaEvent_t handle);
/* Puts work into a stream, or into the graph that it records. */
cudaError_t emu_enqueue(emu_stream *stream, emu_work work);
void emu_push(emu_stream *stream, emu_operation operation);
emu_stream *emu_make_stream(unsigned flags, bool legacy); /* of the current context */
void emu_wait_for(emu_stream *stream, uint64_t sequence);
void emu_wait_for_stream(emu_stream *stream);
void emu_wait_for_context(CUcontext context); /* NULL: all */
bool emu_step_stream(emu_stream *stream);     /* runs one operation; false if there is none */
void emu_do_work(const emu_work *work, int device);
void emu_do_graph(const emu_graph *graph, int device);
std::vector<emu_stream *> &emu_streams_of_all(void);

/* An error if this call may not be made now because of a capture, which it then invalidates. */
cudaError_t emu_forbid_capture(emu_stream *stream);
cudaError_t emu_forbid_any_capture(bool relaxed_too);
cudaError_t emu_forbid_legacy(const emu_stream *stream); /* use of the legacy stream during a capture */
cudaError_t emu_capture_work(emu_stream *stream, emu_work work);
cudaError_t emu_capture_record(emu_stream *stream, emu_event *event);
cudaError_t emu_capture_wait(emu_stream *stream, emu_event *event);

/* ---- contexts (contexts.cc) ---------------------------------------------------------------------------------- */

struct CUctx_st {
    int device;
    bool active;       /* a primary one: whether anybody has needed it */
    bool kept;         /* a primary one: whether the runtime made it, and keeps it for ever */
    unsigned retained; /* a primary one: how often it was retained, and not yet released */
    emu_stream *legacy;
};

int emu_current_device(void);
CUcontext emu_current_context(void); /* NULL: none yet */
CUcontext emu_need_context(void);    /* if there is none, that of the device that was chosen */

/* ---- the runtime (runtime.cc) -------------------------------------------------------------------------------- */

/* Held by every call of the runtime; when it ends, device memory is closed to the host. */
struct emu_call_scope {
    std::lock_guard<std::recursive_mutex> lock;
    emu_call_scope();
    ~emu_call_scope();
};

cudaError_t emu_failed(cudaError_t error); /* remembers it as this thread's last, and returns it */
cudaError_t emu_begin_call(emu_call call); /* no device, sticky and injected errors, remembered */
const void *emu_host_thread(void);         /* something that tells host threads apart */

/* How a call of the runtime begins. */
#define EMU_BEGIN(call)                                                                                                \
    emu_call_scope scope;                                                                                              \
    if (cudaError_t error = emu_begin_call(call))                                                                      \
        return error;

#define EMU_FIND_STREAM(handle)                                                                                        \
    emu_stream *stream = emu_find_stream(handle);                                                                      \
    if (!stream)                                                                                                       \
        return emu_failed(cudaErrorInvalidResourceHandle);

#endif
