/* What shim.h needs of the emulator: the device's side, seen from a kernel file. */
#ifndef EMU_DEVICE_SIDE_H
#define EMU_DEVICE_SIDE_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

/* threadIdx and the like. Plain variables: one thread runs at a time. */
struct emu_position {
    uint3 thread, block;
    dim3 block_size, grid_size;
};
extern emu_position emu_here;

/* What threads of a block or warp do together. */
enum emu_meeting { EMU_BARRIER, EMU_SYNCWARP, EMU_SHUFFLE, EMU_VOTE };
struct emu_collective {
    emu_meeting kind;
    unsigned mask;
    int distance;   /* of a shuffle's lanes: by xor */
    uint64_t value; /* that is shuffled, or voted */
    const char *file;
    int line;
};

/* Returns the value that the thread gets: a shuffle's, or whether no vote was 0. */
uint64_t emu_meet(const emu_collective &collective);

/* Checks an access, in every build. */
enum { EMU_READ = 0, EMU_WRITE = 1, EMU_ATOMIC = 2 };
void emu_access(const volatile void *pointer, size_t bytes, size_t alignment, unsigned kind);

bool emu_is_global(const volatile void *pointer);
void emu_assume(bool holds, const char *text, const char *file, int line);
[[noreturn]] void emu_trap(const char *text);

/* A launch: the kernel's arguments are in a closure, which the emulator destroys after the last use. */
struct emu_launch_request {
    const cudaLaunchConfig_t *config;
    const void *function;
    void *closure;
    size_t closure_bytes;
    void (*run)(void *closure);
    void (*destroy)(void *closure);
};
cudaError_t emu_launch(const emu_launch_request &request);

#endif
