/*
 * Makes a kernel file that nvcc compiles a C++17 file for the emulator: compile it with -x c++ -include shim.h. See
 * emulator.h for what is modelled.
 */
#ifndef EMU_SHIM_H
#define EMU_SHIM_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory> /* before __noinline__ is a macro: there it is an attribute's name */
#include <tuple>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "device.h"

/* ---- keywords ------------------------------------------------------------------------------------------------ */

/* thread_local is the one C++ specifier that can stand for __shared__ both in `__shared__ float a[32];`, which it makes
 * static, and in `extern __shared__ float b[];`. All of a block's threads are fibers of one host thread. */
#undef __shared__
#define __shared__ thread_local

#define __noinline__ __attribute__((noinline))

/* Written into the code as that many bytes of no-operation, by which emu_launch_bounds() finds it: this works for
 * templates, and with any constant expression. */
#if defined(__x86_64__)
#define EMU_FIRST(first, ...)  first
#define __launch_bounds__(...) __attribute__((patchable_function_entry((EMU_FIRST(__VA_ARGS__, 0) + 31) / 32 + 1)))
#else
#define __launch_bounds__(...)
#endif

static constexpr const uint3 &threadIdx = emu_here.thread;
static constexpr const uint3 &blockIdx = emu_here.block;
static constexpr const dim3 &blockDim = emu_here.block_size;
static constexpr const dim3 &gridDim = emu_here.grid_size;
static constexpr int warpSize = 32;

#define __builtin_assume(condition) emu_assume((condition), #condition, __FILE__, __LINE__)

inline bool __isGlobal(const void *pointer)
{
    return emu_is_global(pointer);
}

inline bool __isShared(const void *pointer)
{
    return emu_is_shared(pointer);
}

inline void __trap()
{
    emu_trap("__trap()");
}

/* ---- launches ------------------------------------------------------------------------------------------------ */

template <class... P> struct emu_closure {
    void (*kernel)(P...);
    std::tuple<P...> arguments;

    static void run(void *closure)
    {
        emu_closure *self = static_cast<emu_closure *>(closure);
        std::apply(self->kernel, self->arguments);
    }
    static void destroy(void *closure)
    {
        delete static_cast<emu_closure *>(closure);
    }
};

template <class... P, class... A>
cudaError_t emu_launch_kernel(const cudaLaunchConfig_t *config, void (*kernel)(P...), A &&...arguments)
{
    static_assert(sizeof...(P) == sizeof...(A), "a kernel takes exactly its arguments");
    static_assert((std::is_trivially_copyable<P>::value && ...), "a kernel's arguments are copied as bytes");
    auto *closure = new emu_closure<P...>{kernel, std::tuple<P...>(static_cast<P>(arguments)...)};
    return emu_launch({config, reinterpret_cast<const void *>(kernel), closure, sizeof *closure, emu_closure<P...>::run,
                       emu_closure<P...>::destroy});
}

#define cudaLaunchKernelEx emu_launch_kernel

/* A launch that follows another in its stream begins when that one is over: nothing to wait for. */
inline void cudaGridDependencySynchronize()
{
}

inline void cudaTriggerProgrammaticLaunchCompletion()
{
}

#include "shim_memory.h"
#include "shim_numbers.h"
#include "shim_warp.h"

#endif
