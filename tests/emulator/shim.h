/*
 * Makes a kernel file that nvcc compiles a C++17 file for the emulator: compile it with -x c++ -include shim.h. See
 * emulator.h for what is modelled.
 */
#ifndef EMU_SHIM_H
#define EMU_SHIM_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include <cuda_runtime.h>

#include "device_side.h"

/* ---- keywords ------------------------------------------------------------------------------------------------ */

/* thread_local is the one C++ specifier that can stand for __shared__ both in `__shared__ float a[32];`, which it makes
 * static, and in `extern __shared__ float b[];`. All of a block's threads are fibers of one host thread. */
#undef __shared__
#define __shared__ thread_local

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

#define __builtin_assume(condition) emu_assume((condition), #condition, __FILE__, __LINE__)

inline bool __isGlobal(const void *pointer)
{
    return emu_is_global(pointer);
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

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* These check and record their access themselves, so that they do so in a build without instrumentation too. */
#if defined(__clang__)
#define EMU_RAW static inline __attribute__((no_sanitize("thread", "alignment")))
#else
#define EMU_RAW static inline __attribute__((no_sanitize_thread, no_sanitize("alignment")))
#endif

template <class T> EMU_RAW T __ldcs(const T *pointer)
{
    emu_access(pointer, sizeof(T), alignof(T), EMU_READ);
    return *pointer;
}

template <class T> EMU_RAW void __stcs(T *pointer, T value)
{
    emu_access(pointer, sizeof(T), alignof(T), EMU_WRITE);
    *pointer = value;
}

/* Returns the old value. CUDA has it for fewer types. */
template <class T> EMU_RAW T atomicAdd(T *pointer, T x)
{
    emu_access(pointer, sizeof(T), alignof(T), EMU_ATOMIC);
    const T old = *pointer;
    *pointer = old + x;
    return old;
}

/* ---- integers ------------------------------------------------------------------------------------------------ */

inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

/* Compares integers of one type alone; floats have fminf. */
template <class T> constexpr typename std::enable_if<std::is_integral<T>::value, T>::type min(T x, T y)
{
    return y < x ? y : x;
}
template <class T> constexpr typename std::enable_if<std::is_integral<T>::value, T>::type max(T x, T y)
{
    return x < y ? y : x;
}

/* Puts a word together of bytes of high:low, by their numbers, the digits of `selector`, the last one first. */
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector)
{
    const uint64_t bytes = (uint64_t)high << 32 | low;
    unsigned word = 0;
    for (unsigned i = 0; i < 4; i++)
        word |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7u) & 0xffu) << 8 * i;
    return word;
}

/* Returns 0xff in the bytes that are equal. */
inline unsigned __vcmpeq4(unsigned x, unsigned y)
{
    unsigned word = 0;
    for (unsigned i = 0; i < 32; i += 8)
        word |= ((x ^ y) >> i & 0xffu) == 0 ? 0xffu << i : 0;
    return word;
}

/* Returns min(x + y, z) of each half. */
inline unsigned __viaddmin_u16x2(unsigned x, unsigned y, unsigned z)
{
    const unsigned low = min((x + y) & 0xffffu, z & 0xffffu), high = min(((x >> 16) + (y >> 16)) & 0xffffu, z >> 16);
    return high << 16 | low;
}

/* ---- barriers, shuffles and votes ---------------------------------------------------------------------------- */

/* They know where they are written, for reports and to tell one barrier from another. */
#define EMU_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMU_WHERE)
{
    emu_meet({EMU_BARRIER, 0xffffffffu, 0, 0, file, line});
}

inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_WHERE)
{
    emu_meet({EMU_SYNCWARP, mask, 0, 0, file, line});
}

template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int distance, EMU_WHERE)
{
    static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8), "what CUDA shuffles");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emu_meet({EMU_SHUFFLE, mask, distance, bits, file, line});
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __all_sync(unsigned mask, int predicate, EMU_WHERE)
{
    return emu_meet({EMU_VOTE, mask, 0, predicate != 0, file, line}) != 0;
}

#undef EMU_WHERE

#endif
