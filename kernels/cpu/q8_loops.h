/*
 * The CPU's loops for FOPT_Q8 in vector registers, with the results of formats/q8.h to the bit: part of codec.h.
 * Registers permute few floats, so that what q8.h takes from its maps is found otherwise. Without AVX2, the loops of
 * codec.h are as good.
 */
#ifndef FOPT_I_Q8_LOOPS_H
#define FOPT_I_Q8_LOOPS_H

#include "../formats/q8.h"
#include "moments.h"

#if defined(__AVX2__) && defined(__FMA__)
#define FOPT_I_Q8_LOOPS
#include <immintrin.h>

/* ---- registers: of floats, of words, of the bytes of four such ------------------------------------------------- */

#if FOPT_I_Q8_CELLS == 16
typedef __m512 fopt_i_floats;
typedef __m512i fopt_i_words, fopt_i_bytes;
#define FOPT_I_V(operation)      _mm512_##operation
#define FOPT_I_V_BITS(operation) _mm512_##operation##_si512
#define FOPT_I_AS_WORDS(floats)  _mm512_castps_si512(floats)
#define FOPT_I_AS_FLOATS(words)  _mm512_castsi512_ps(words)

FOPT_FN fopt_i_floats fopt_i_q8_permute(const float *table, fopt_i_words index)
{
    return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table));
}

FOPT_FN fopt_i_words fopt_i_q8_widened(const uint8_t *bytes)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes));
}

FOPT_FN fopt_i_words fopt_i_q8_widened_halves(const uint16_t *halves)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)halves));
}

/* Returns the sign of one and the rest of the other. */
FOPT_FN fopt_i_floats fopt_i_q8_with_sign(fopt_i_floats x, fopt_i_floats sign)
{
    const __m512i mask = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(mask, _mm512_castps_si512(sign), _mm512_castps_si512(x), 0xca));
}

FOPT_FN fopt_i_words fopt_i_q8_if_positive(fopt_i_floats x, fopt_i_words word)
{
    return _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), word);
}

FOPT_FN fopt_i_bytes fopt_i_q8_if_equal(fopt_i_bytes a, fopt_i_bytes b, fopt_i_bytes yes, fopt_i_bytes no)
{
    return _mm512_mask_blend_epi8(_mm512_cmpeq_epi8_mask(a, b), no, yes);
}

/* Returns a register whose four parts have been dealt out to words in turn, in order again. */
FOPT_FN fopt_i_bytes fopt_i_q8_collected(fopt_i_bytes dealt)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), dealt);
}
#else
typedef __m256 fopt_i_floats;
typedef __m256i fopt_i_words, fopt_i_bytes;
#define FOPT_I_V(operation)      _mm256_##operation
#define FOPT_I_V_BITS(operation) _mm256_##operation##_si256
#define FOPT_I_AS_WORDS(floats)  _mm256_castps_si256(floats)
#define FOPT_I_AS_FLOATS(words)  _mm256_castsi256_ps(words)

FOPT_FN fopt_i_floats fopt_i_q8_permute(const float *table, fopt_i_words index)
{
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
}

FOPT_FN fopt_i_words fopt_i_q8_widened(const uint8_t *bytes)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
}

FOPT_FN fopt_i_words fopt_i_q8_widened_halves(const uint16_t *halves)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)halves));
}

FOPT_FN fopt_i_floats fopt_i_q8_with_sign(fopt_i_floats x, fopt_i_floats sign)
{
    return _mm256_or_ps(x, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}

FOPT_FN fopt_i_words fopt_i_q8_if_positive(fopt_i_floats x, fopt_i_words word)
{
    return _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ)), word);
}

FOPT_FN fopt_i_bytes fopt_i_q8_if_equal(fopt_i_bytes a, fopt_i_bytes b, fopt_i_bytes yes, fopt_i_bytes no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_cmpeq_epi8(a, b));
}

FOPT_FN fopt_i_bytes fopt_i_q8_collected(fopt_i_bytes dealt)
{
    return _mm256_permutevar8x32_epi32(dealt, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
#endif

enum {
    FOPT_I_Q8_REGISTER = sizeof(fopt_i_floats) / sizeof(float),
    FOPT_I_Q8_GROUP = sizeof(fopt_i_bytes), /* elements that are decoded or encoded together */
};

/* Returns byte 2 of each word of four registers. Byte 3 is the same in all of these, or zero with byte 2. */
#if FOPT_I_Q8_CELLS == 16 && defined(__AVX512VBMI__)
FOPT_FN fopt_i_bytes fopt_i_q8_narrowed(const fopt_i_words *words)
{
    _Alignas(64) static const uint8_t places[64] = {
        2,  6,  10, 14, 18, 22, 26, 30, 34, 38,  42,  46,  50,  54,  58,  62,
        66, 70, 74, 78, 82, 86, 90, 94, 98, 102, 106, 110, 114, 118, 122, 126,
    };
    const __m512i place = _mm512_load_si512(places);
    return _mm512_inserti64x4(_mm512_permutex2var_epi8(words[0], place, words[1]),
                              _mm512_castsi512_si256(_mm512_permutex2var_epi8(words[2], place, words[3])), 1);
}
#else
FOPT_FN fopt_i_bytes fopt_i_q8_narrowed(const fopt_i_words *words)
{
    fopt_i_words half[4]; /* in turn of both parts of a register, the bytes 2 and 3 */
    for (int i = 0; i < 4; i++)
        half[i] = FOPT_I_V(srli_epi32)(words[i], 16);
    const fopt_i_words byte = FOPT_I_V(set1_epi16)(0xff);
    const fopt_i_words a = FOPT_I_V_BITS(and)(FOPT_I_V(packus_epi32)(half[0], half[1]), byte);
    const fopt_i_words b = FOPT_I_V_BITS(and)(FOPT_I_V(packus_epi32)(half[2], half[3]), byte);
    return fopt_i_q8_collected(FOPT_I_V(packus_epi16)(a, b));
}
#endif

/* ---- decoding -------------------------------------------------------------------------------------------------- */

#if FOPT_I_Q8_CELLS == 16 && defined(__AVX512VBMI__)
/* Returns entries of a table of 256 bytes. */
FOPT_FN __m512i fopt_i_q8_look_up(const uint8_t *table, __m512i index)
{
    const __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 64));
    const __m512i high =
        _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 128), index, _mm512_loadu_si512(table + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

/* Looks the values' bytes up. Dealt out, the codes are where putting bytes together, part of a register by part, puts
 * them in order again. */
FOPT_FN void fopt_i_q8_decode(bool has_sign, const fopt_i_q8 *codes, float absmax, float *out)
{
    const __m512i deal = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i code = _mm512_permutexvar_epi32(deal, _mm512_loadu_si512(codes));
    __m512i byte[4];
    for (int i = 0; i < 4; i++)
        byte[i] = fopt_i_q8_look_up(has_sign ? fopt_i_q8_signed_bytes[i] : fopt_i_q8_unsigned_bytes[i], code);
    const __m512i a = _mm512_unpacklo_epi8(byte[0], byte[1]), b = _mm512_unpacklo_epi8(byte[2], byte[3]);
    const __m512i c = _mm512_unpackhi_epi8(byte[0], byte[1]), d = _mm512_unpackhi_epi8(byte[2], byte[3]);
    const __m512i value[4] = {_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b), _mm512_unpacklo_epi16(c, d),
                              _mm512_unpackhi_epi16(c, d)};
    for (size_t i = 0; i < 4; i++)
        _mm512_storeu_ps(out + 16 * i, _mm512_mul_ps(_mm512_castsi512_ps(value[i]), _mm512_set1_ps(absmax)));
}

/* Tells whether the codes are more than fopt_i_q8_decode() knows. */
FOPT_FN bool fopt_i_q8_has_one(const fopt_i_q8 *codes, size_t count)
{
    (void)codes;
    (void)count;
    return false;
}
#else
/* Number the magnitudes k. With p the power of two that is not above n = 2k + 1 (signed) or k + 1 (unsigned), which is
 * the same for a run of values, the value is (9n - 8p) or (18n - 16p + 9) units of the run. The product is rounded
 * once, since the unit is a sum of two floats: the value that the map has. Only 1, which this library never stores,
 * lies on no run. */
FOPT_FN void fopt_i_q8_decode(bool has_sign, const fopt_i_q8 *codes, float absmax, float *out)
{
    const fopt_i_q8_lanes *lanes = has_sign ? &fopt_i_q8_signed_lanes : &fopt_i_q8_unsigned_lanes;
    for (size_t i = 0; i < FOPT_I_Q8_GROUP; i += FOPT_I_Q8_REGISTER) {
        const fopt_i_floats code = FOPT_I_V(cvtepi32_ps)(fopt_i_q8_widened(codes + i));
        fopt_i_floats n, units;
        if (has_sign) {
            const fopt_i_floats k = FOPT_I_V(sub_ps)(code, FOPT_I_V(set1_ps)(FOPT_I_Q8_ZERO));
            n = FOPT_I_V(add_ps)(FOPT_I_V(add_ps)(k, k), fopt_i_q8_with_sign(FOPT_I_V(set1_ps)(1.0f), k));
            units = FOPT_I_V(mul_ps)(n, FOPT_I_V(set1_ps)(9.0f));
        } else {
            n = FOPT_I_V(add_ps)(code, FOPT_I_V(set1_ps)(1.0f));
            units = FOPT_I_V(fmadd_ps)(n, FOPT_I_V(set1_ps)(18.0f), FOPT_I_V(set1_ps)(9.0f));
        }
        const fopt_i_floats power = FOPT_I_V(and_ps)(n, FOPT_I_V(set1_ps)(-INFINITY)); /* sign and exponent */
        units = FOPT_I_V(fnmadd_ps)(power, FOPT_I_V(set1_ps)(has_sign ? 8.0f : 16.0f), units);
        const fopt_i_words run = FOPT_I_V(srli_epi32)(FOPT_I_AS_WORDS(n), 23);
        const fopt_i_floats less = FOPT_I_V(mul_ps)(units, fopt_i_q8_permute(lanes->unit_rest, run));
        const fopt_i_floats value = FOPT_I_V(fmadd_ps)(units, fopt_i_q8_permute(lanes->unit, run), less);
        FOPT_I_V(storeu_ps)(out + i, FOPT_I_V(mul_ps)(value, FOPT_I_V(set1_ps)(absmax)));
    }
}

/* Tells whether codes stand for 1, which fopt_i_q8_decode() does not know. */
FOPT_FN bool fopt_i_q8_has_one(const fopt_i_q8 *codes, size_t count)
{
    fopt_i_q8 most = 0; /* of bytes, which vectorises best */
    for (size_t i = 0; i < count; i++)
        most = codes[i] > most ? codes[i] : most;
    return most == 255;
}
#endif

/* Decodes `count` elements, of and into room for whole groups. `has_sign` is a constant wherever this is inlined. */
FOPT_FN void fopt_i_q8_load_groups(bool has_sign, const fopt_i_q8 *codes, const float *absmax, size_t block,
                                   size_t count, float *out)
{
    for (size_t begin = 0; begin < count; begin += block, absmax++)
        for (size_t i = begin; i < count && i < begin + block; i += FOPT_I_Q8_GROUP)
            fopt_i_q8_decode(has_sign, codes + i, *absmax, out + i);
}

/* ---- encoding -------------------------------------------------------------------------------------------------- */

/* Returns the least of all lines at y. The upper half of a float is nearly its logarithm, so that a multiple of it
 * numbers cells, in each of which that is one of few. */
FOPT_FN fopt_i_floats fopt_i_q8_least_line(const fopt_i_q8_lanes *lanes, fopt_i_floats y)
{
    const fopt_i_words multiplier = FOPT_I_V(set1_epi32)(lanes->multiplier << 16);
    const fopt_i_words cell = FOPT_I_V(srli_epi32)(FOPT_I_V(mulhi_epu16)(FOPT_I_AS_WORDS(y), multiplier), 16);
    fopt_i_floats least = FOPT_I_V(set1_ps)(INFINITY);
    for (int i = 0; i < FOPT_I_Q8_LINES; i++) {
        const fopt_i_floats slope = fopt_i_q8_permute(lanes->slope[i], cell);
        const fopt_i_floats line = FOPT_I_V(fmadd_ps)(y, slope, fopt_i_q8_permute(lanes->offset[i], cell));
        least = i == 0 ? line : FOPT_I_V(min_ps)(least, line);
    }
    return least;
}

/* Returns what fopt_i_q8_place() does, in bits. */
FOPT_FN fopt_i_words fopt_i_q8_places(bool has_sign, fopt_i_floats x, float scale)
{
    const fopt_i_floats factor = FOPT_I_V(set1_ps)(scale), shift = FOPT_I_V(set1_ps)(FOPT_I_Q8_SHIFT);
    if (!has_sign) { /* negative ones become zero anyway */
        const fopt_i_floats first = FOPT_I_V(set1_ps)(FOPT_I_Q8_UNSIGNED_FIRST);
        const fopt_i_floats y = FOPT_I_V(max_ps)(FOPT_I_V(fmadd_ps)(x, factor, shift), first);
        return FOPT_I_AS_WORDS(fopt_i_q8_least_line(&fopt_i_q8_unsigned_lanes, y));
    }
    const fopt_i_floats magnitude = FOPT_I_V(andnot_ps)(FOPT_I_V(set1_ps)(-0.0f), x);
    const fopt_i_floats y = FOPT_I_V(fmadd_ps)(magnitude, factor, shift);
    const fopt_i_floats place = fopt_i_q8_with_sign(fopt_i_q8_least_line(&fopt_i_q8_signed_lanes, y), x);
    return FOPT_I_AS_WORDS(FOPT_I_V(add_ps)(place, FOPT_I_V(set1_ps)(256.0f + FOPT_I_Q8_ZERO)));
}

/* Encodes a group. `kind` is a constant wherever this is inlined. Places are doubled: byte 2 is the code. */
FOPT_FN fopt_i_bytes fopt_i_q8_encode(fopt_state_kind kind, const float *in, float scale, fopt_i_bytes old,
                                      const uint16_t *random)
{
    fopt_i_words nearest[4], drawn[4];
    for (size_t n = 0; n < 4; n++) {
        const size_t i = n * FOPT_I_Q8_REGISTER;
        const fopt_i_floats x = FOPT_I_V(loadu_ps)(in + i);
        const fopt_i_words place = fopt_i_q8_places(fopt_i_has_sign(kind), x, scale);
        const fopt_i_words doubled = FOPT_I_V(add_epi32)(place, place);
        nearest[n] = FOPT_I_V(add_epi32)(doubled, FOPT_I_V(set1_epi32)(1 << 15));
        drawn[n] = FOPT_I_V(add_epi32)(doubled, fopt_i_q8_widened_halves(random + i));
        if (!fopt_i_has_sign(kind)) {
            nearest[n] = fopt_i_q8_if_positive(x, nearest[n]);
            drawn[n] = fopt_i_q8_if_positive(x, drawn[n]);
        }
    }
    if (kind == FOPT_SECOND_MOMENT)
        return fopt_i_q8_narrowed(drawn);
    const fopt_i_bytes near = fopt_i_q8_narrowed(nearest);
    if (!fopt_i_has_sign(kind))
        return near;
    return fopt_i_q8_if_equal(near, old, fopt_i_q8_narrowed(drawn), near);
}

/* Encodes a group in place. */
FOPT_FN void fopt_i_q8_store_group(fopt_state_kind kind, fopt_i_q8 *codes, const float *in, float scale,
                                   const uint16_t *random)
{
    fopt_i_bytes group;
    memcpy(&group, codes, sizeof group);
    group = fopt_i_q8_encode(kind, in, scale, group, random);
    memcpy(codes, &group, sizeof group);
}

/* Encodes `count` elements, into room for whole groups. `kind` is a constant wherever this is inlined. All scales come
 * first, since each takes a while, and none waits for another. */
FOPT_FN void fopt_i_q8_store_groups(fopt_state_kind kind, fopt_i_q8 *codes, const fopt_i_moments *to, size_t block,
                                    size_t count, const float *in)
{
    float scales[FOPT_I_TILE / FOPT_I_SMALL_BLOCK];
    float *absmax = to->absmax, *scale = scales;
    for (size_t i = 0; i < count; i += block) {
        const float largest = fopt_i_block_largest(to, block, in + i, count - i < block ? count - i : block);
        *absmax++ = fopt_i_q8_absmax(largest, kind);
        *scale++ = fopt_i_q8_scale(largest, kind);
    }
    scale = scales;
    for (size_t begin = 0; begin < count; begin += block, scale++)
        for (size_t i = begin; i < count && i < begin + block; i += FOPT_I_Q8_GROUP)
            fopt_i_q8_store_group(kind, codes + i, in + i, *scale, to->random + i);
}

/* ---- what codec.h calls ---------------------------------------------------------------------------------------- */

/* `out` has room for whole groups. */
static inline void fopt_i_q8_load(const fopt_i_moments *from, size_t block, size_t count, float *out)
{
    fopt_i_q8 padded[FOPT_I_TILE];
    const fopt_i_q8 *codes = from->data;
    if (count % FOPT_I_Q8_GROUP != 0)
        codes = memcpy(memset(padded, 0, sizeof padded), codes, count);
    if (fopt_i_q8_has_one(codes, count))
        for (size_t i = 0; i < count; i++)
            out[i] = fopt_i_q8_decode_scaled(&fopt_i_q8_literals, codes[i], from->absmax[i / block], from->kind);
    else if (fopt_i_has_sign(from->kind))
        fopt_i_q8_load_groups(true, codes, from->absmax, block, count, out);
    else
        fopt_i_q8_load_groups(false, codes, from->absmax, block, count, out);
}

static inline void fopt_i_q8_store(const fopt_i_moments *to, size_t block, size_t count, const float *in)
{
    fopt_i_q8 padded[FOPT_I_TILE], *codes = to->data;
    if (count % FOPT_I_Q8_GROUP != 0)
        codes = memcpy(memset(padded, 0, sizeof padded), codes, count);
    if (fopt_i_has_sign(to->kind))
        fopt_i_q8_store_groups(FOPT_FIRST_MOMENT, codes, to, block, count, in); /* as buffers are */
    else if (to->kind == FOPT_SECOND_MOMENT)
        fopt_i_q8_store_groups(FOPT_SECOND_MOMENT, codes, to, block, count, in);
    else
        fopt_i_q8_store_groups(FOPT_MAX_SECOND_MOMENT, codes, to, block, count, in);
    if (codes == padded)
        memcpy(to->data, codes, count);
}
#endif

#endif
