/* Loads and stores with a cache hint, atomics, fences. */
#ifndef EMU_SHIM_MEMORY_H
#define EMU_SHIM_MEMORY_H

/* They check and record their access themselves, so that they do so in a build without instrumentation too. */
#if defined(__clang__)
#define EMU_RAW static inline __attribute__((no_sanitize("thread", "alignment")))
#else
#define EMU_RAW static inline __attribute__((no_sanitize_thread, no_sanitize("alignment")))
#endif

template <class T> EMU_RAW T emu_load(const T *pointer)
{
    emu_access(pointer, sizeof(T), alignof(T), EMU_READ);
    return *pointer;
}

template <class T> EMU_RAW void emu_store(T *pointer, const T &value)
{
    emu_access(pointer, sizeof(T), alignof(T), EMU_WRITE);
    *pointer = value;
}

template <class T> struct emu_same {
    typedef T type;
};

#define EMU_LOAD(name)                                                                                                 \
    template <class T> inline T name(const T *pointer)                                                                 \
    {                                                                                                                  \
        return emu_load(pointer);                                                                                      \
    }
EMU_LOAD(__ldg)
EMU_LOAD(__ldca)
EMU_LOAD(__ldcg)
EMU_LOAD(__ldcs)
EMU_LOAD(__ldlu)
EMU_LOAD(__ldcv)
#undef EMU_LOAD

#define EMU_STORE(name)                                                                                                \
    template <class T> inline void name(T *pointer, typename emu_same<T>::type value)                                  \
    {                                                                                                                  \
        emu_store(pointer, value);                                                                                     \
    }
EMU_STORE(__stwb)
EMU_STORE(__stcg)
EMU_STORE(__stcs)
EMU_STORE(__stwt)
#undef EMU_STORE

/* Each returns the old value. CUDA has them for fewer types than these templates. */
#define EMU_ATOMIC_FUNCTION(name, new_value)                                                                           \
    template <class T> EMU_RAW T name(T *pointer, typename emu_same<T>::type x)                                        \
    {                                                                                                                  \
        emu_access(pointer, sizeof(T), alignof(T), EMU_ATOMIC);                                                        \
        const T old = *pointer;                                                                                        \
        *pointer = static_cast<T>(new_value);                                                                          \
        return old;                                                                                                    \
    }
EMU_ATOMIC_FUNCTION(atomicAdd, old + x)
EMU_ATOMIC_FUNCTION(atomicSub, old - x)
EMU_ATOMIC_FUNCTION(atomicExch, x)
EMU_ATOMIC_FUNCTION(atomicMin, x < old ? x : old)
EMU_ATOMIC_FUNCTION(atomicMax, x > old ? x : old)
EMU_ATOMIC_FUNCTION(atomicAnd, old &x)
EMU_ATOMIC_FUNCTION(atomicOr, old | x)
EMU_ATOMIC_FUNCTION(atomicXor, old ^ x)
EMU_ATOMIC_FUNCTION(atomicInc, old >= x ? 0 : old + 1)
EMU_ATOMIC_FUNCTION(atomicDec, old == 0 || old > x ? x : old - 1)
#undef EMU_ATOMIC_FUNCTION

template <class T>
EMU_RAW T atomicCAS(T *pointer, typename emu_same<T>::type expected, typename emu_same<T>::type value)
{
    emu_access(pointer, sizeof(T), alignof(T), EMU_ATOMIC);
    const T old = *pointer;
    if (old == expected)
        *pointer = value;
    return old;
}

inline void __threadfence()
{
    emu_fence();
}

/* Orders nothing that a barrier would not: __syncthreads() and __syncwarp() are what the race check knows. */
inline void __threadfence_block()
{
}

inline void __threadfence_system()
{
    emu_fence();
}

#endif
