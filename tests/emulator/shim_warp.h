/* Barriers, shuffles and votes. They know where they are written, for reports and to tell one barrier from another. */
#ifndef EMU_SHIM_WARP_H
#define EMU_SHIM_WARP_H

#define EMU_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMU_WHERE)
{
    emu_barrier(false, file, line);
}

inline int __syncthreads_count(int predicate, EMU_WHERE)
{
    return static_cast<int>(emu_barrier(predicate != 0, file, line));
}

inline int __syncthreads_and(int predicate, EMU_WHERE)
{
    return emu_barrier(predicate == 0, file, line) == 0;
}

inline int __syncthreads_or(int predicate, EMU_WHERE)
{
    return emu_barrier(predicate != 0, file, line) != 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_WHERE)
{
    emu_meet({EMU_SYNCWARP, mask, 0, 0, 0, file, line});
}

/* ---- shuffles ------------------------------------------------------------------------------------------------ */

template <class T>
inline T emu_shuffle(emu_meeting kind, unsigned mask, T value, int operand, int width, const char *file, int line)
{
    static_assert(std::is_trivially_copyable<T>::value && (sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2),
                  "CUDA shuffles values of 2 (half types), 4 and 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emu_meet({kind, mask, operand, width, bits, file, line});
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T> inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMU_WHERE)
{
    return emu_shuffle(EMU_SHUFFLE, mask, value, lane, width, file, line);
}

template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_WHERE)
{
    return emu_shuffle(EMU_SHUFFLE_UP, mask, value, static_cast<int>(delta), width, file, line);
}

template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_WHERE)
{
    return emu_shuffle(EMU_SHUFFLE_DOWN, mask, value, static_cast<int>(delta), width, file, line);
}

template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, EMU_WHERE)
{
    return emu_shuffle(EMU_SHUFFLE_XOR, mask, value, lane_mask, width, file, line);
}

/* ---- votes --------------------------------------------------------------------------------------------------- */

inline unsigned emu_ballot(unsigned mask, bool predicate, const char *file, int line)
{
    return static_cast<unsigned>(emu_meet({EMU_BALLOT, mask, 0, 0, predicate, file, line}));
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_WHERE)
{
    return emu_ballot(mask, predicate != 0, file, line);
}

inline int __any_sync(unsigned mask, int predicate, EMU_WHERE)
{
    return emu_ballot(mask, predicate != 0, file, line) != 0;
}

inline int __all_sync(unsigned mask, int predicate, EMU_WHERE)
{
    return emu_ballot(mask, predicate == 0, file, line) == 0;
}

/* CUDA promises no more than that the calling lane is in it, and so it is alone. */
inline unsigned __activemask()
{
    return 1u << emu_lane();
}

#undef EMU_WHERE

#endif
