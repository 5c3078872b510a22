/* The CPU's loops for FOPT_Q8: part of walk.h. */
#ifndef FOPT_I_Q8_LOOPS_H
#define FOPT_I_Q8_LOOPS_H

#include "../formats/q8_tables.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* out[i] = table[index[i]] * factor. The one loop that compilers leave to scalar loads; with AVX-512's 32 registers the
 * table can be permuted instead, by 16 indices at once: both arrays have room for a tile. */
FOPT_FN void fopt_i_q8_look_up(const float *table, int entries, const uint32_t *index, float factor, size_t count,
                               float *out)
{
#ifdef __AVX512F__
    const __m512 factors = _mm512_set1_ps(factor);
    __m512 part[16];
    for (int i = 0; i < entries / 16; i++)
        part[i] = _mm512_loadu_ps(table + (size_t)i * 16);
    for (size_t i = 0; i < count; i += 16) {
        const __m512i at = _mm512_loadu_si512(index + i);
        const __mmask16 bit5 = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
        const __mmask16 bit6 = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
        const __mmask16 bit7 = _mm512_test_epi32_mask(at, _mm512_set1_epi32(128));
        __m512 of_32[8], of_128[2];
        for (int j = 0; j < entries / 32; j++)
            of_32[j] = _mm512_permutex2var_ps(part[2 * j], at, part[2 * j + 1]);
        for (int j = 0; j < entries / 128; j++)
            of_128[j] = _mm512_mask_blend_ps(bit6, _mm512_mask_blend_ps(bit5, of_32[4 * j], of_32[4 * j + 1]),
                                             _mm512_mask_blend_ps(bit5, of_32[4 * j + 2], of_32[4 * j + 3]));
        const __m512 found = entries == 128 ? of_128[0] : _mm512_mask_blend_ps(bit7, of_128[0], of_128[1]);
        _mm512_storeu_ps(out + i, _mm512_mul_ps(found, factors));
    }
#else
    (void)entries;
    for (size_t i = 0; i < count; i++)
        out[i] = table[index[i]] * factor;
#endif
}

/* Indices for the elements up to the next multiple of 16. */
static inline void fopt_i_q8_fill_up(uint32_t *index, size_t count)
{
    for (; count % 16 != 0; count++)
        index[count] = 0;
}

static inline const fopt_i_q8_map *fopt_i_q8_map_of(fopt_state_kind kind)
{
    return fopt_i_q8_has_sign(kind) ? &fopt_i_q8_literals.with_sign : &fopt_i_q8_literals.without_sign;
}

/* Bytes are widened and narrowed by loops that do nothing else: mixed with arithmetic on 32 bits they cost more than
 * that. `out` has room for a tile. */
static inline void fopt_i_q8_load_moments(const fopt_i_moments *from, size_t count, float *FOPT_I_RESTRICT out)
{
    _Alignas(64) uint32_t codes[FOPT_I_TILE];
    const fopt_i_q8 *in = from->data;
    for (size_t i = 0; i < count; i++)
        codes[i] = in[i];
    fopt_i_q8_fill_up(codes, count);
    fopt_i_q8_look_up(fopt_i_q8_map_of(from->kind)->value, 256, codes, *from->absmax, count, out);
}

static inline float fopt_i_q8_absmax(const float *in, size_t count)
{
    uint32_t most = 0; /* finite magnitudes are ordered as their bits are */
    for (size_t i = 0; i < count; i++) {
        const uint32_t magnitude = fopt_i_bits(in[i]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return fopt_i_float(most);
}

/* In passes, each of which vectorises: `has_sign` is a constant wherever this is inlined. */
FOPT_FN void fopt_i_q8_encode_tile(bool has_sign, const fopt_i_q8_map *map, float scale, size_t count,
                                   const float *FOPT_I_RESTRICT in, fopt_i_q8 *FOPT_I_RESTRICT out)
{
    _Alignas(64) uint32_t guesses[FOPT_I_TILE], codes[FOPT_I_TILE];
    _Alignas(64) float next[FOPT_I_TILE];
    for (size_t i = 0; i < count; i++)
        guesses[i] = fopt_i_q8_guess(has_sign, fabsf(in[i]) * scale);
    fopt_i_q8_fill_up(guesses, count);
    fopt_i_q8_look_up(map->next, has_sign ? 128 : 256, guesses, 1.0f, count, next);
    for (size_t i = 0; i < count; i++)
        codes[i] = fopt_i_q8_code(has_sign, guesses[i], next[i], in[i], fabsf(in[i]) * scale);
    for (size_t i = 0; i < count; i++)
        out[i] = (fopt_i_q8)codes[i];
}

static inline void fopt_i_q8_store_moments(const fopt_i_moments *to, size_t count, const float *FOPT_I_RESTRICT in)
{
    const fopt_i_q8_map *map = fopt_i_q8_map_of(to->kind);
    const float absmax = fopt_i_q8_absmax(in, count), scale = fopt_i_q8_scale(absmax);
    *to->absmax = absmax;
    if (fopt_i_q8_has_sign(to->kind))
        fopt_i_q8_encode_tile(true, map, scale, count, in, to->data);
    else
        fopt_i_q8_encode_tile(false, map, scale, count, in, to->data);
}

static const fopt_i_format_loops fopt_i_q8_loops = {NULL, NULL, fopt_i_q8_load_moments, fopt_i_q8_store_moments};

#endif
