/*
 * What codec.cuh does, faster, to a lane's eight elements of an ordinary tile (arithmetic.h), and how such a tile is
 * known. Formats other than bf16 and q8 have nothing of their own here.
 */
#ifndef FOPT_I_ORDINARY_CUH
#define FOPT_I_ORDINARY_CUH

#include "codec.cuh"

/* ---- what is ordinary ------------------------------------------------------------------------------------------ */

/* Tells whether a lane's gradients are zero or no smaller than the least ordinary one (arithmetic.h). Of bf16 all
 * pairs are compared at once. */
__device__ __forceinline__ bool fopt_i_are_none_small(const fopt_i_raw &raw, unsigned format, const float *x)
{
    if (format != FOPT_BF16)
        return fopt_i_range_of(x, true).least >= fopt_i_bits(FOPT_I_LEAST_ORDINARY) - 1;
    uint32_t least = UINT32_MAX;
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH / 2; i++)
        least = __viaddmin_u16x2(raw.word[i] & 0x7fff7fffu, UINT32_MAX, least);
    return min(least & 0xffffu, least >> 16) >= (fopt_i_bits(FOPT_I_LEAST_ORDINARY) >> 16) - 1;
}

__device__ __forceinline__ bool fopt_i_is_within(fopt_i_range r, float least, float most)
{
    return (r.least >= fopt_i_bits(least) - 1) & (r.most <= fopt_i_bits(most)); /* `&&` would branch */
}

/* Tells whether a lane's new moments are ordinary. */
__device__ __forceinline__ bool fopt_i_are_ordinary_moments(fopt_i_range r, fopt_state_kind kind)
{
    return fopt_i_has_sign(kind) ? fopt_i_is_within(r, FOPT_I_LEAST_ORDINARY_MOMENT, FOPT_I_MOST_ORDINARY_MOMENT)
                                 : fopt_i_is_within(r, FOPT_I_LEAST_ORDINARY_SQUARE, FOPT_I_MOST_ORDINARY_SQUARE);
}

/* ---- FOPT_BF16 -------------------------------------------------------------------------------------------------- */

/* Rounds parameters to bf16, where none is NaN; sets *good to false where one is. The instruction for two makes another
 * NaN than the library has: as a signed half the largest that there is. */
__device__ __forceinline__ fopt_i_raw fopt_i_bf16_encode_lane(const float *x, bool *good)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    fopt_i_raw raw = {{0}};
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH / 2; i++)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(raw.word[i]) : "f"(x[2 * i + 1]), "f"(x[2 * i]));
    const uint32_t most = __vimax3_s16x2(__vimax3_s16x2(0, raw.word[0], raw.word[1]), raw.word[2], raw.word[3]);
    *good &= ((most + 0x00010001u) & 0x80008000u) == 0;
    return raw;
#else
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        *good &= x[i] == x[i];
    return fopt_i_encode(x, FOPT_BF16);
#endif
}

/* Rounds moments to bf16, where none is NaN or too large to be rounded up. */
__device__ __forceinline__ fopt_i_raw fopt_i_bf16_encode_moments_lane(const float *x, fopt_state_kind kind,
                                                                      uint32_t random)
{
    fopt_i_raw raw = {{0}};
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i += 2) {
        const bool is_random = fopt_i_bf16_is_random(kind);
        const uint32_t low = is_random ? fopt_i_random_of(random, i) : fopt_i_bf16_half_unit(x[i]);
        const uint32_t high = is_random ? fopt_i_random_of(random, i + 1) : fopt_i_bf16_half_unit(x[i + 1]);
        raw.word[i / 2] = __byte_perm(fopt_i_bits(x[i]) + low, fopt_i_bits(x[i + 1]) + high, 0x7632);
    }
    return raw;
}

/* ---- FOPT_Q8 ---------------------------------------------------------------------------------------------------- */

/* Returns byte i of a word: by one instruction, whose result the address of a look-up takes as it is. */
__device__ __forceinline__ uint32_t fopt_i_byte(uint32_t word, uint32_t i)
{
    return __byte_perm(word, 0, 0x4440 + i);
}

__device__ __forceinline__ void fopt_i_q8_decode_lane(const fopt_i_q8_maps *maps, const fopt_i_raw &raw, float absmax,
                                                      fopt_state_kind kind, float *x)
{
    const float *const values = fopt_i_has_sign(kind) ? maps->signed_value : maps->unsigned_value;
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        x[i] = values[fopt_i_byte(raw.word[i / 4], i % 4)] * absmax;
}

/* Returns byte 2 of four words. */
__device__ __forceinline__ uint32_t fopt_i_third_bytes(const uint32_t *w)
{
    return __byte_perm(__byte_perm(w[0], w[1], 0x0062), __byte_perm(w[2], w[3], 0x0062), 0x5410);
}

/* Returns `drawn` in the bytes in which `nearest` equals `old`, else `nearest`. */
__device__ __forceinline__ uint32_t fopt_i_leave(uint32_t nearest, uint32_t old, uint32_t drawn)
{
    const uint32_t same = __vcmpeq4(nearest, old);
    return (drawn & same) | (nearest & ~same);
}

/* Returns x >> n. To the compiler it is no shift that another one could be joined to: looking up adds to it, and
 * shifts, at once. */
__device__ __forceinline__ uint32_t fopt_i_shifted(uint32_t x, uint32_t n)
{
#ifdef __CUDA_ARCH__
    uint32_t result;
    asm("shr.u32 %0, %1, %2;" : "=r"(result) : "r"(x), "r"(n));
    return result;
#else
    return x >> n;
#endif
}

/* Returns the place among the values of a map as fopt_i_q8_place() does, doubled: of its bits, 16 are a fraction, and
 * byte 2 is the code. All that is looked up has the same highest bits, 011: these are subtracted, not masked. */
__device__ __forceinline__ uint32_t fopt_i_q8_doubled_place(const fopt_i_q8_maps *maps, bool has_sign, float x,
                                                            float scale)
{
    const uint32_t mantissa_bits = has_sign ? FOPT_I_Q8_SIGNED_BITS : FOPT_I_Q8_UNSIGNED_BITS;
    const fopt_i_q8_bin *const bins = has_sign ? maps->signed_bins : maps->unsigned_bins;
    const float y = fopt_i_q8_argument(x, scale);
    const fopt_i_q8_bin bin =
        bins[(int)fopt_i_shifted(fopt_i_bits(y), 23 - mantissa_bits) - (int)(96u << mantissa_bits)];
    const float least = fminf(fmaf(y, bin.slope, bin.offset), fmaf(y, bin.other_slope, bin.other_offset));
    return 2 * fopt_i_bits(has_sign ? 256.0f + FOPT_I_Q8_ZERO + copysignf(least, x) : least);
}

/* Does what fopt_i_q8_encode_scaled() does, to finite moments that are not negative if they have no sign. */
__device__ __forceinline__ fopt_i_raw fopt_i_q8_encode_lane(const fopt_i_q8_maps *maps, const float *x,
                                                            const fopt_i_raw &old, float largest, fopt_state_kind kind,
                                                            uint32_t random)
{
    const bool has_sign = fopt_i_has_sign(kind);
    const float scale = fopt_i_q8_scale(largest, kind);
    fopt_i_raw raw = {{0}};
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t nearest[4], drawn[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t element = 4 * half + i;
            const uint32_t place = fopt_i_q8_doubled_place(maps, has_sign, x[element], scale);
            nearest[i] = place + (1u << 15);
            drawn[i] = place + fopt_i_random_of(random, element);
            if (!has_sign) { /* zero has the code 0; the bits of other numbers are above those of a code */
                const uint32_t w = kind == FOPT_SECOND_MOMENT ? drawn[i] : nearest[i];
                drawn[i] = min(w - 2 * fopt_i_bits(256.0f), fopt_i_bits(x[element]));
            }
        }
        const uint32_t d = fopt_i_third_bytes(drawn);
        raw.word[half] = has_sign ? fopt_i_leave(fopt_i_third_bytes(nearest), old.word[half], d) : d;
    }
    return raw;
}

/* ---- by format -------------------------------------------------------------------------------------------------- */

/* Sets *good to false where a parameter is NaN, if it must not be. */
__device__ __forceinline__ fopt_i_raw fopt_i_encode_ordinary(const float *x, unsigned format, bool *good)
{
    return format == FOPT_BF16 ? fopt_i_bf16_encode_lane(x, good) : fopt_i_encode(x, format);
}

__device__ __forceinline__ fopt_i_raw fopt_i_encode_ordinary_moment(const float *x, unsigned format,
                                                                    fopt_state_kind kind, uint32_t random)
{
    return format == FOPT_BF16 ? fopt_i_bf16_encode_moments_lane(x, kind, random)
                               : fopt_i_encode_moment(x, format, kind, random);
}

__device__ __forceinline__ void fopt_i_decode_ordinary_scaled(const fopt_i_raw &raw, unsigned format, float absmax,
                                                              fopt_state_kind kind, float *x)
{
    if (format == FOPT_Q8 || format == FOPT_Q8_64)
        fopt_i_q8_decode_lane(&fopt_i_shared_maps()->q8, raw, absmax, kind, x);
    else
        fopt_i_decode_scaled(raw, format, absmax, kind, x);
}

__device__ __forceinline__ fopt_i_raw fopt_i_encode_ordinary_scaled(const float *x, const fopt_i_raw &old,
                                                                    unsigned format, float largest,
                                                                    fopt_state_kind kind, uint32_t random)
{
    return format == FOPT_Q8 || format == FOPT_Q8_64
               ? fopt_i_q8_encode_lane(&fopt_i_shared_maps()->q8, x, old, largest, kind, random)
               : fopt_i_encode_scaled(x, old, format, largest, kind, random);
}

#endif
