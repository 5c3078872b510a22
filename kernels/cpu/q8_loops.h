/*
 * The CPU's loops for FOPT_Q8 in vector registers, with the results of formats/q8.h to the bit: part of codec.h. Registers
 * permute eight floats but look nothing up, so that what q8.h takes from its maps is found otherwise. Without AVX2, the
 * loops of codec.h are as good.
 */
#ifndef FOPT_I_Q8_LOOPS_H
#define FOPT_I_Q8_LOOPS_H

#include "../formats/q8.h"
#include "moments.h"

#if defined(__AVX2__) && defined(__FMA__)
#define FOPT_I_Q8_LOOPS
#include <immintrin.h>

/* ---- registers ------------------------------------------------------------------------------------------------- */

enum { FOPT_I_Q8_GROUP = 32 }; /* elements that are encoded together: the bytes of a register */

#if defined(__AVX512BW__) && defined(__AVX512DQ__)
typedef __m512 fopt_i_floats;
typedef __m512i fopt_i_words;
#define FOPT_I_V(operation)     _mm512_##operation
#define FOPT_I_AS_WORDS(floats) _mm512_castps_si512(floats)
#define FOPT_I_AS_FLOATS(words) _mm512_castsi512_ps(words)

/* Returns entries of a table of eight, by the lowest three bits. */
FOPT_FN fopt_i_floats fopt_i_q8_permute(fopt_i_floats table, fopt_i_words index)
{
    return _mm512_permutexvar_ps(index, table);
}

FOPT_FN fopt_i_floats fopt_i_q8_table(const float *eight)
{
    return _mm512_broadcast_f32x8(_mm256_loadu_ps(eight));
}

FOPT_FN fopt_i_words fopt_i_q8_widened(const uint8_t *bytes)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes));
}

FOPT_FN fopt_i_words fopt_i_q8_widened_halves(const uint16_t *halves)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)halves));
}

FOPT_FN fopt_i_words fopt_i_q8_if_positive(fopt_i_floats x, fopt_i_words word)
{
    return _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), word);
}

/* Returns the lowest byte of each word of a group. */
FOPT_FN __m256i fopt_i_q8_narrowed(const fopt_i_words *words)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(words[0])),
                                   _mm512_cvtepi32_epi8(words[1]), 1);
}
#else
typedef __m256 fopt_i_floats;
typedef __m256i fopt_i_words;
#define FOPT_I_V(operation)     _mm256_##operation
#define FOPT_I_AS_WORDS(floats) _mm256_castps_si256(floats)
#define FOPT_I_AS_FLOATS(words) _mm256_castsi256_ps(words)

FOPT_FN fopt_i_floats fopt_i_q8_permute(fopt_i_floats table, fopt_i_words index)
{
    return _mm256_permutevar8x32_ps(table, index);
}

FOPT_FN fopt_i_floats fopt_i_q8_table(const float *eight)
{
    return _mm256_loadu_ps(eight);
}

FOPT_FN fopt_i_words fopt_i_q8_widened(const uint8_t *bytes)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
}

FOPT_FN fopt_i_words fopt_i_q8_widened_halves(const uint16_t *halves)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)halves));
}

FOPT_FN fopt_i_words fopt_i_q8_if_positive(fopt_i_floats x, fopt_i_words word)
{
    return _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ)), word);
}

FOPT_FN __m256i fopt_i_q8_narrowed(const fopt_i_words *words)
{
    const __m256i byte = _mm256_set1_epi32(0xff), low = _mm256_and_si256(words[0], byte);
    const __m256i a = _mm256_packus_epi32(low, _mm256_and_si256(words[1], byte));
    const __m256i b = _mm256_packus_epi32(_mm256_and_si256(words[2], byte), _mm256_and_si256(words[3], byte));
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
#endif

enum { FOPT_I_Q8_REGISTER = sizeof(fopt_i_floats) / sizeof(float) };

/* ---- decoding -------------------------------------------------------------------------------------------------- */

/* Number the magnitudes k. With p the power of two that is not above n = 2k + 1 (signed) or k + 1 (unsigned), which is
 * the same for a run of values, the value is (9n - 8p) or (18n - 16p + 9) units of the run. The product is rounded once,
 * since the unit is a sum of two floats: the value that the map has. Only 1, which this library never stores, lies on no
 * run. */
FOPT_FN void fopt_i_q8_decode(bool has_sign, const fopt_i_q8 *codes, float absmax, float *out)
{
    const fopt_i_q8_lanes *lanes = has_sign ? &fopt_i_q8_signed_lanes : &fopt_i_q8_unsigned_lanes;
    const fopt_i_floats unit = fopt_i_q8_table(lanes->unit), rest = fopt_i_q8_table(lanes->unit_rest);
    for (size_t i = 0; i < FOPT_I_Q8_GROUP; i += FOPT_I_Q8_REGISTER) {
        const fopt_i_words code = fopt_i_q8_widened(codes + i);
        fopt_i_floats n, units;
        if (has_sign) {
            const fopt_i_floats k = FOPT_I_V(cvtepi32_ps)(FOPT_I_V(sub_epi32)(code, FOPT_I_V(set1_epi32)(FOPT_I_Q8_ZERO)));
            const fopt_i_floats one = FOPT_I_V(or_ps)(FOPT_I_V(and_ps)(k, FOPT_I_V(set1_ps)(-0.0f)), FOPT_I_V(set1_ps)(1.0f));
            n = FOPT_I_V(fmadd_ps)(k, FOPT_I_V(set1_ps)(2.0f), one);
            units = FOPT_I_V(mul_ps)(n, FOPT_I_V(set1_ps)(9.0f));
        } else {
            n = FOPT_I_V(add_ps)(FOPT_I_V(cvtepi32_ps)(code), FOPT_I_V(set1_ps)(1.0f));
            units = FOPT_I_V(fmadd_ps)(n, FOPT_I_V(set1_ps)(18.0f), FOPT_I_V(set1_ps)(9.0f));
        }
        const fopt_i_floats power = FOPT_I_V(and_ps)(n, FOPT_I_V(set1_ps)(-INFINITY)); /* sign and exponent */
        units = FOPT_I_V(fnmadd_ps)(power, FOPT_I_V(set1_ps)(has_sign ? 8.0f : 16.0f), units);
        const fopt_i_words run = FOPT_I_V(srli_epi32)(FOPT_I_AS_WORDS(n), 23);
        const fopt_i_floats less = FOPT_I_V(mul_ps)(units, fopt_i_q8_permute(rest, run));
        const fopt_i_floats value = FOPT_I_V(fmadd_ps)(units, fopt_i_q8_permute(unit, run), less);
        FOPT_I_V(storeu_ps)(out + i, FOPT_I_V(mul_ps)(value, FOPT_I_V(set1_ps)(absmax)));
    }
}

FOPT_FN bool fopt_i_q8_has_one(const fopt_i_q8 *codes, size_t count)
{
    fopt_i_q8 most = 0; /* of bytes, which vectorises best */
    for (size_t i = 0; i < count; i++)
        most = codes[i] > most ? codes[i] : most;
    return most == 255;
}

/* `has_sign` is a constant wherever this is inlined; `out` has room for whole groups. */
FOPT_FN void fopt_i_q8_load_block(bool has_sign, const fopt_i_moments *from, size_t count, float *out)
{
    const fopt_i_q8 *codes = from->data;
    if (fopt_i_q8_has_one(codes, count)) {
        for (size_t i = 0; i < count; i++)
            out[i] = fopt_i_q8_decode_scaled(&fopt_i_q8_literals, codes[i], *from->absmax, from->kind);
        return;
    }
    size_t i = 0;
    for (; i + FOPT_I_Q8_GROUP <= count; i += FOPT_I_Q8_GROUP)
        fopt_i_q8_decode(has_sign, codes + i, *from->absmax, out + i);
    if (i < count) {
        fopt_i_q8 some[FOPT_I_Q8_GROUP] = {0};
        memcpy(some, codes + i, count - i);
        fopt_i_q8_decode(has_sign, some, *from->absmax, out + i);
    }
}

/* ---- encoding -------------------------------------------------------------------------------------------------- */

/* Returns a table's three lines at y. The upper half of a float is nearly its logarithm, so that a multiple of it numbers
 * cells, in each of which the least of all lines is one of three. */
FOPT_FN fopt_i_floats fopt_i_q8_least_line(const fopt_i_q8_lanes *lanes, fopt_i_floats y)
{
    const fopt_i_words multiplier = FOPT_I_V(set1_epi32)(FOPT_I_Q8_MULTIPLIER << 16);
    const fopt_i_words cell = FOPT_I_V(srli_epi32)(FOPT_I_V(mulhi_epu16)(FOPT_I_AS_WORDS(y), multiplier), 16);
    fopt_i_floats line[3];
    for (int i = 0; i < 3; i++)
        line[i] = FOPT_I_V(fmadd_ps)(y, fopt_i_q8_permute(fopt_i_q8_table(lanes->slope[i]), cell),
                                     fopt_i_q8_permute(fopt_i_q8_table(lanes->offset[i]), cell));
    return FOPT_I_V(min_ps)(FOPT_I_V(min_ps)(line[0], line[1]), line[2]);
}

/* Returns what fopt_i_q8_place() does, in bits. */
FOPT_FN fopt_i_words fopt_i_q8_places(bool has_sign, fopt_i_floats x, float scale)
{
    const fopt_i_floats sign = FOPT_I_V(set1_ps)(-0.0f), shift = FOPT_I_V(set1_ps)(FOPT_I_Q8_SHIFT);
    const fopt_i_floats y = FOPT_I_V(fmadd_ps)(FOPT_I_V(andnot_ps)(sign, x), FOPT_I_V(set1_ps)(scale), shift);
    if (!has_sign) {
        const fopt_i_floats first = FOPT_I_V(set1_ps)(FOPT_I_Q8_UNSIGNED_FIRST);
        return FOPT_I_AS_WORDS(fopt_i_q8_least_line(&fopt_i_q8_unsigned_lanes, FOPT_I_V(max_ps)(y, first)));
    }
    const fopt_i_floats place = fopt_i_q8_least_line(&fopt_i_q8_signed_lanes, y);
    const fopt_i_floats turned = FOPT_I_V(or_ps)(place, FOPT_I_V(and_ps)(x, sign));
    return FOPT_I_AS_WORDS(FOPT_I_V(add_ps)(turned, FOPT_I_V(set1_ps)(256.0f + FOPT_I_Q8_ZERO)));
}

FOPT_FN fopt_i_words fopt_i_q8_codes(fopt_i_words place, fopt_i_words addend)
{
    return FOPT_I_V(srli_epi32)(FOPT_I_V(add_epi32)(place, addend), 15);
}

/* Encodes a group. `kind` is a constant wherever this is inlined. */
FOPT_FN __m256i fopt_i_q8_encode(fopt_state_kind kind, const float *in, float scale, __m256i old, const uint16_t *random)
{
    const fopt_i_words half = FOPT_I_V(set1_epi32)(1 << 14);
    fopt_i_words nearest[FOPT_I_Q8_GROUP / FOPT_I_Q8_REGISTER], drawn[FOPT_I_Q8_GROUP / FOPT_I_Q8_REGISTER];
    for (size_t n = 0; n < FOPT_I_Q8_GROUP / FOPT_I_Q8_REGISTER; n++) {
        const size_t i = n * FOPT_I_Q8_REGISTER;
        const fopt_i_floats x = FOPT_I_V(loadu_ps)(in + i);
        const fopt_i_words place = fopt_i_q8_places(fopt_i_has_sign(kind), x, scale);
        nearest[n] = fopt_i_q8_codes(place, half);
        drawn[n] = fopt_i_q8_codes(place, FOPT_I_V(srli_epi32)(fopt_i_q8_widened_halves(random + i), 1));
        if (!fopt_i_has_sign(kind)) {
            nearest[n] = fopt_i_q8_if_positive(x, nearest[n]);
            drawn[n] = fopt_i_q8_if_positive(x, drawn[n]);
        }
    }
    if (kind == FOPT_SECOND_MOMENT)
        return fopt_i_q8_narrowed(drawn);
    const __m256i near = fopt_i_q8_narrowed(nearest);
    if (!fopt_i_has_sign(kind))
        return near;
    return _mm256_blendv_epi8(near, fopt_i_q8_narrowed(drawn), _mm256_cmpeq_epi8(near, old));
}

FOPT_FN void fopt_i_q8_store_block(fopt_state_kind kind, const fopt_i_moments *to, float largest, size_t count,
                                   const float *in)
{
    const float scale = fopt_i_q8_scale(largest, kind);
    const uint16_t *random = (const uint16_t *)to->random; /* lower halves come first */
    fopt_i_q8 *codes = to->data;
    size_t i = 0;
    for (; i + FOPT_I_Q8_GROUP <= count; i += FOPT_I_Q8_GROUP) {
        __m256i *const group = (__m256i *)(codes + i);
        _mm256_storeu_si256(group, fopt_i_q8_encode(kind, in + i, scale, _mm256_loadu_si256(group), random + i));
    }
    if (i < count) {
        fopt_i_q8 some[FOPT_I_Q8_GROUP] = {0};
        memcpy(some, codes + i, count - i);
        __m256i *const group = (__m256i *)some;
        _mm256_storeu_si256(group, fopt_i_q8_encode(kind, in + i, scale, _mm256_loadu_si256(group), random + i));
        memcpy(codes + i, some, count - i);
    }
    *to->absmax = fopt_i_q8_absmax(largest, kind);
}

/* ---- what codec.h calls ---------------------------------------------------------------------------------------- */

static inline void fopt_i_q8_load_moments(const fopt_i_moments *from, size_t count, float *out)
{
    if (fopt_i_has_sign(from->kind))
        fopt_i_q8_load_block(true, from, count, out);
    else
        fopt_i_q8_load_block(false, from, count, out);
}

static inline void fopt_i_q8_store_moments(const fopt_i_moments *to, float largest, size_t count, const float *in)
{
    if (fopt_i_has_sign(to->kind))
        fopt_i_q8_store_block(FOPT_FIRST_MOMENT, to, largest, count, in); /* as buffers are */
    else if (to->kind == FOPT_SECOND_MOMENT)
        fopt_i_q8_store_block(FOPT_SECOND_MOMENT, to, largest, count, in);
    else
        fopt_i_q8_store_block(FOPT_MAX_SECOND_MOMENT, to, largest, count, in);
}
#endif

#endif
