/*
 * The emulator: a small CUDA runtime on the CPU, for tests. Kernel files are compiled unchanged by a C++ compiler with
 * -include shim.h; what calls the CUDA runtime links with these sources in place of cudart. It has the functions that
 * kernels/, host/, bench/, the README and the tests use, and no others: what is missing does not compile or link, and
 * is added when it is needed. This header is what a test may ask of it besides.
 *
 * It models
 *  - one thread at a time: a block's threads are fibers that give way only where they wait, blocks run one after
 *    another, in an order to choose. A float operation is the CPU's, with IEEE modes whatever the caller's;
 *  - __syncthreads, __syncwarp, __shfl_xor_sync, __all_sync: all must come who have to, in the form that CUDA asks for.
 *    Barriers must be met by all threads of the block, at one line of source, although some GPUs are content with less;
 *  - static and dynamic shared memory, full of 0xff when a block begins; __launch_bounds__ at launch;
 *  - device memory full of 0xff when allocated. It is accessible only while the device works, lies between guard pages
 *    and ends at one, as far as 256-byte alignment of its start allows; the rest is a pattern that is checked after
 *    each kernel. Freed memory is never given out again. What is not freed at exit ends the program with status 1;
 *  - streams that do nothing until something waits for them, and then only what it must wait for: a dependency that
 *    the program did not state is not kept. Host memory is read and written when a copy runs, not when it is asked for,
 *    pageable memory too. The legacy default stream waits for blocking streams and they for it. A query runs one
 *    operation, so that polling ends. cudaFree() waits for all work, as NVIDIA's does;
 *  - capture, forks and joins through events included, and replay: argument values are those of the recording, memory
 *    is read at replay. Calls that are forbidden during a capture fail and invalidate it;
 *  - contexts: a primary one for each device, made by the first call that needs it, and others by the driver's
 *    functions. Streams belong to one, and memory to all of a device;
 *  - lazy loading: a kernel is loaded when it is first launched or asked about, which a capture does not allow;
 *  - errors as the runtime's documentation has them: last error for each host thread, sticky errors.
 *
 * A fault ends the program by abort() after a report on stderr that names kernel, block and thread. Three builds of a
 * kernel file see different faults:
 *  - in every build: waiting faults (divergent barrier, lanes that do not come or are not there, wrong masks), guard
 *    pages, damaged patterns, device pointers dereferenced by the host, memory of another device; misaligned and
 *    out-of-bounds access through __ldcs, __stcs and atomicAdd; wrong copies, frees and handles; __builtin_assume() of
 *    what is false;
 *  - with -fsanitize=address,undefined: besides, every byte past the end of device memory, and what these sanitizers
 *    find; a line from the emulator says which thread it was;
 *  - instrumented, that is compiled with -fsanitize=thread,alignment and linked with hooks.cc but without a sanitizer:
 *    every load and store is checked exactly. Bounds of device and shared memory, host pointers and other threads'
 *    locals in kernels, misalignment, use after cudaFree, and races: two threads of a launch, at least one writing, not
 *    both by atomics, and no barrier or __syncwarp between them. Shuffles and votes order nothing.
 * clang (14) checks no alignment where a whole structure like float4 is copied: that takes g++, or __ldcs and __stcs.
 *
 * It does not model, so none of these is found here
 *  - code under #if __CUDA_ARCH__, inline PTX, <<<>>> (does not compile), textures, clusters, cooperative launches,
 *    cp.async, memory pools, peers, managed memory, cudaMemcpy2D;
 *  - writable __device__ variables: in the instrumented build they are reported as host memory;
 *  - blocks at the same time, and what they could hand to each other: two blocks that touch the same bytes, one
 *    writing, are a race unless both do so by atomics;
 *  - weak memory: other threads' writes are seen at once, races or not. Races between kernels of different streams;
 *  - registers, occupancy, timing, contraction of a * b + c by nvcc, its approximate functions;
 *  - __launch_bounds__ on anything but x86-64, nor finer than 32 threads, nor its second argument; with clang the first
 *    may not depend on a template's parameters. Names of kernels, and names and exact bounds of shared arrays, need a
 *    program that is not stripped;
 *  - other host threads while a kernel runs: device memory is open to them, and what they do to it is not seen.
 *
 * Dynamic shared memory must be declared at global scope, or in a kernel at global scope, by the name dynamic_shared.
 *
 * Environment: EMU_ORDER=forward|reverse|random, EMU_STREAMS=lazy|shuffled|eager, EMU_SEED=number. A report prints
 * them, so that a failure can be repeated.
 */
#ifndef EMU_EMULATOR_H
#define EMU_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The order of a grid's blocks, and of a block's threads whenever several could go on. */
typedef enum emu_order { EMU_FORWARD = 0, EMU_REVERSE = 1, EMU_RANDOM = 2 } emu_order;
void emu_set_order(emu_order order, uint64_t seed);

/* When work in streams runs: only what must be waited for, as late as possible; also any other that may, in random
 * order; at once. */
typedef enum emu_streams { EMU_LAZY = 0, EMU_SHUFFLED = 1, EMU_EAGER = 2 } emu_streams;
void emu_set_streams(emu_streams streams);

/* The calls that are counted and can be made to fail. */
typedef enum emu_call {
    EMU_MALLOC = 0,
    EMU_MALLOC_HOST,
    EMU_FREE,      /* of both */
    EMU_LAUNCH,    /* cudaLaunchKernelEx */
    EMU_MEMCPY,    /* with and without Async */
    EMU_MEMSET,    /* likewise */
    EMU_WAIT,      /* synchronize and query, of device, streams and events */
    EMU_STREAM,    /* other calls on streams, capture included */
    EMU_EVENT,     /* other calls on events */
    EMU_GRAPH,     /* other calls on graphs */
    EMU_DEVICE,    /* properties of the device and its kernels, contexts */
    EMU_LOAD,      /* a kernel that is loaded: when it is first launched or asked about */
    EMU_EXECUTION, /* a kernel when it runs: the error is sticky and comes back from every later call */
    EMU_CALLS
} emu_call;

/* Makes the nth such call from now, from 1, do nothing and return that cudaError_t. 0: none does any more. */
void emu_fail(emu_call call, size_t nth, int error);

/* Counts the calls since the start or emu_reset_counts(). Calls that failed count. */
size_t emu_count(emu_call call);

/* Counts the kernels launched: by name, without namespace and template arguments, or all if NULL. Captured launches
 * count at each replay. */
size_t emu_launches(const char *kernel);
void emu_reset_counts(void);

/* Clears injected and sticky errors. */
void emu_clear_errors(void);

/* Sets the number of devices from the next call on; 1 of compute capability 9.0 to begin with. At most 8; 0 makes calls
 * fail as they do on a machine without a GPU. */
void emu_set_device_count(int count);

/* Tells whether launches in NULL's stream go to the calling thread's own default stream, as they do in files that nvcc
 * compiles with --default-stream=per-thread, while the runtime's other calls take NULL to be the legacy one. */
void emu_set_launches_per_thread(bool per_thread);

/* Tells whether the device's primary context was made, and how often it is retained at present. */
bool emu_has_context(int device);
unsigned emu_holders(int device);

/* Registers memory of the host that the device sees at another address. */
void emu_register_host(void *host, size_t bytes, void *device);

/* Counts the allocations of device and pinned memory that are not freed. */
size_t emu_live_allocations(void);

/* Tells whether hooks.cc is linked. */
bool emu_instrumented(void);

#ifdef __cplusplus
}
#endif

#endif
