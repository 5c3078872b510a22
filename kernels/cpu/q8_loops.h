/* The CPU's loops for FOPT_Q8: part of codec.h. */
#ifndef FOPT_I_Q8_LOOPS_H
#define FOPT_I_Q8_LOOPS_H

#include "../formats/q8.h"
#include "moments.h"
#ifdef __AVX512BW__
#include <immintrin.h>
#endif

#ifdef __AVX512BW__
/* Looks 32 halves of floats up in a table of 128 or 256, which lie in registers of 32. */
FOPT_FN __m512i fopt_i_q8_permute(const __m512i *table, int entries, __m512i index, __mmask32 bit6, __mmask32 bit7)
{
    const __m512i low = _mm512_mask_blend_epi16(bit6, _mm512_permutex2var_epi16(table[0], index, table[1]),
                                                _mm512_permutex2var_epi16(table[2], index, table[3]));
    if (entries == 128)
        return low;
    return _mm512_mask_blend_epi16(bit7, low,
                                   _mm512_mask_blend_epi16(bit6, _mm512_permutex2var_epi16(table[4], index, table[5]),
                                                           _mm512_permutex2var_epi16(table[6], index, table[7])));
}

/* Return index vectors: fopt_i_q8_halves() picks the even or odd 16-bit halves of 64, fopt_i_q8_pairs() interleaves two
 * vectors. */
FOPT_FN __m512i fopt_i_q8_halves(int first)
{
    uint16_t place[32];
    for (int i = 0; i < 32; i++)
        place[i] = (uint16_t)(2 * i + first);
    return _mm512_loadu_si512(place);
}

FOPT_FN __m512i fopt_i_q8_pairs(int first)
{
    uint16_t place[32];
    for (int i = 0; i < 32; i++)
        place[i] = (uint16_t)(first + i / 2 + (i % 2) * 32);
    return _mm512_loadu_si512(place);
}
#endif

/* Computes out[i] = table[index[i]] * factor, in the one loop that compilers leave to scalar loads. AVX-512 permutes
 * the table instead, in halves of its floats, by 32 indices at once: both arrays have room for a tile. */
FOPT_FN void fopt_i_q8_look_up(const float *table, int entries, const uint16_t *index, float factor, size_t count,
                               float *out)
{
#ifdef __AVX512BW__
    const __m512 factors = _mm512_set1_ps(factor);
    __m512i low[8], high[8];
    for (int i = 0; i < entries / 32; i++) {
        const __m512i some = _mm512_loadu_si512(table + (size_t)i * 32),
                      more = _mm512_loadu_si512(table + (size_t)i * 32 + 16);
        low[i] = _mm512_permutex2var_epi16(some, fopt_i_q8_halves(0), more);
        high[i] = _mm512_permutex2var_epi16(some, fopt_i_q8_halves(1), more);
    }
    for (size_t i = 0; i < count; i += 32) {
        const __m512i at = _mm512_loadu_si512(index + i);
        const __mmask32 bit6 = _mm512_test_epi16_mask(at, _mm512_set1_epi16(64));
        const __mmask32 bit7 = _mm512_test_epi16_mask(at, _mm512_set1_epi16(128));
        const __m512i l = fopt_i_q8_permute(low, entries, at, bit6, bit7);
        const __m512i h = fopt_i_q8_permute(high, entries, at, bit6, bit7);
        const __m512i first = _mm512_permutex2var_epi16(l, fopt_i_q8_pairs(0), h);
        const __m512i second = _mm512_permutex2var_epi16(l, fopt_i_q8_pairs(16), h);
        _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_castsi512_ps(first), factors));
        _mm512_storeu_ps(out + i + 16, _mm512_mul_ps(_mm512_castsi512_ps(second), factors));
    }
#else
    (void)entries;
    for (size_t i = 0; i < count; i++)
        out[i] = table[index[i]] * factor;
#endif
}

/* Fills the indices up to the next multiple of 32. */
static inline void fopt_i_q8_fill_up(uint16_t *index, size_t count)
{
    for (; count % 32 != 0; count++)
        index[count] = 0;
}

/* Decodes a tile; `out` has room for a whole one. Bytes are widened and narrowed by loops that do nothing else: mixed
 * with arithmetic on 32 bits they cost more than that does. */
static inline void fopt_i_q8_load_moments(const fopt_i_moments *from, size_t count, float *restrict out)
{
    _Alignas(64) uint16_t codes[FOPT_I_TILE];
    const fopt_i_q8 *in = from->data;
    for (size_t i = 0; i < count; i++)
        codes[i] = in[i];
    fopt_i_q8_fill_up(codes, count);
    fopt_i_q8_look_up(fopt_i_q8_map_of(&fopt_i_q8_literals, from->kind)->value, 256, codes, *from->absmax, count, out);
}

/* Encodes a tile in passes, each of which vectorises: `has_sign` is a constant wherever this is inlined. */
FOPT_FN void fopt_i_q8_encode_tile(bool has_sign, const fopt_i_q8_map *map, float scale, size_t count,
                                   const float *restrict in, fopt_i_q8 *restrict out)
{
    _Alignas(64) uint16_t guesses[FOPT_I_TILE], codes[FOPT_I_TILE];
    _Alignas(64) float next[FOPT_I_TILE];
    for (size_t i = 0; i < count; i++)
        guesses[i] = (uint16_t)fopt_i_q8_guess(has_sign, fabsf(in[i]) * scale);
    fopt_i_q8_fill_up(guesses, count);
    fopt_i_q8_look_up(map->next, has_sign ? 128 : 256, guesses, 1.0f, count, next);
    for (size_t i = 0; i < count; i++)
        codes[i] = (uint16_t)fopt_i_q8_code(has_sign, guesses[i], next[i], in[i], fabsf(in[i]) * scale);
    for (size_t i = 0; i < count; i++)
        out[i] = (fopt_i_q8)codes[i];
}

static inline void fopt_i_q8_store_moments(const fopt_i_moments *to, size_t count, const float *restrict in)
{
    const fopt_i_q8_map *map = fopt_i_q8_map_of(&fopt_i_q8_literals, to->kind);
    const float scale = fopt_i_q8_scale(*to->absmax);
    if (fopt_i_has_sign(to->kind))
        fopt_i_q8_encode_tile(true, map, scale, count, in, to->data);
    else
        fopt_i_q8_encode_tile(false, map, scale, count, in, to->data);
}

#endif
