/* Bits, conversions, and arithmetic that is rounded correctly on a GPU too. */
#ifndef EMU_SHIM_NUMBERS_H
#define EMU_SHIM_NUMBERS_H

template <class To, class From> inline To emu_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "a value of the same size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

inline unsigned __float_as_uint(float x)
{
    return emu_bits<unsigned>(x);
}
inline int __float_as_int(float x)
{
    return emu_bits<int>(x);
}
inline float __uint_as_float(unsigned x)
{
    return emu_bits<float>(x);
}
inline float __int_as_float(int x)
{
    return emu_bits<float>(x);
}
inline long long __double_as_longlong(double x)
{
    return emu_bits<long long>(x);
}
inline double __longlong_as_double(long long x)
{
    return emu_bits<double>(x);
}

/* ---- counting and moving bits -------------------------------------------------------------------------------- */

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __clzll(long long x)
{
    return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x)
{
    unsigned reversed = 0;
    for (int i = 0; i < 32; i++)
        reversed |= (x >> i & 1u) << (31 - i);
    return reversed;
}
/* The upper 32 bits of (high:low) << shift, and the lower of (high:low) >> shift. */
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both >> (shift & 31));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector)
{
    const unsigned long long both = static_cast<unsigned long long>(y) << 32 | x;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; i++)
        result |= static_cast<unsigned>(both >> (selector >> (4 * i) & 7u) * 8 & 0xffu) << (8 * i);
    return result;
}
inline unsigned __umulhi(unsigned x, unsigned y)
{
    return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
inline int __mulhi(int x, int y)
{
    return static_cast<int>(static_cast<long long>(x) * y >> 32);
}
__extension__ typedef unsigned __int128 emu_uint128;
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y)
{
    return static_cast<unsigned long long>(static_cast<emu_uint128>(x) * y >> 64);
}

/* ---- arithmetic ---------------------------------------------------------------------------------------------- */

inline float __fadd_rn(float x, float y)
{
    return x + y;
}
inline float __fsub_rn(float x, float y)
{
    return x - y;
}
inline float __fmul_rn(float x, float y)
{
    return x * y;
}
inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}
inline float __fdiv_rn(float x, float y)
{
    return x / y;
}
inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
inline double __dadd_rn(double x, double y)
{
    return x + y;
}
inline double __dmul_rn(double x, double y)
{
    return x * y;
}
inline double __ddiv_rn(double x, double y)
{
    return x / y;
}
inline double __dsqrt_rn(double x)
{
    return sqrt(x);
}
inline double __fma_rn(double x, double y, double z)
{
    return fma(x, y, z);
}

/* ---- conversions --------------------------------------------------------------------------------------------- */

/* To an integer a GPU saturates, and gives 0 for NaN. */
template <class T> inline T emu_to_integer(float x, T lowest, T highest)
{
    if (x != x)
        return 0;
    if (x <= static_cast<float>(lowest))
        return lowest;
    return x >= static_cast<float>(highest) ? highest : static_cast<T>(x);
}
inline int __float2int_rn(float x)
{
    return emu_to_integer<int>(nearbyintf(x), INT32_MIN, INT32_MAX);
}
inline int __float2int_rz(float x)
{
    return emu_to_integer<int>(x, INT32_MIN, INT32_MAX);
}
inline int __float2int_rd(float x)
{
    return emu_to_integer<int>(floorf(x), INT32_MIN, INT32_MAX);
}
inline unsigned __float2uint_rn(float x)
{
    return emu_to_integer<unsigned>(nearbyintf(x), 0, UINT32_MAX);
}
inline unsigned __float2uint_rz(float x)
{
    return emu_to_integer<unsigned>(x, 0, UINT32_MAX);
}
inline unsigned __float2uint_rd(float x)
{
    return emu_to_integer<unsigned>(floorf(x), 0, UINT32_MAX);
}
inline float __int2float_rn(int x)
{
    return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x)
{
    return static_cast<float>(x);
}
inline float __double2float_rn(double x)
{
    return static_cast<float>(x);
}

/* ---- smaller and larger: only of equal integer types; floats have fminf --------------------------------------- */

template <class T> constexpr typename std::enable_if<std::is_integral<T>::value, T>::type min(T x, T y)
{
    return y < x ? y : x;
}
template <class T> constexpr typename std::enable_if<std::is_integral<T>::value, T>::type max(T x, T y)
{
    return x < y ? y : x;
}

#endif
