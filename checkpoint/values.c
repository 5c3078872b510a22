/* Values on their way from a file to an optimizer: what they may be, and how one format becomes another. */
#include "../kernels/cpu/environment.h"
#include "parts.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Elements that are moved at once, of whole blocks of any format. */
enum { CHUNK = 1 << 16 };

/* Lists what a step never leaves in a kind of state. One line for each kind, unless it may be anything, as parameters
 * are. */
static const struct never {
    bool negative, subnormal;
} never[FOPT_I_PARTS] = {
    [FOPT_FIRST_MOMENT] = {false, true},
    [FOPT_SECOND_MOMENT] = {true, true},
    [FOPT_MAX_SECOND_MOMENT] = {true, true},
    [FOPT_MOMENTUM_BUFFER] = {false, true},
};

/* The largest magnitude of which a step makes a quantized moment. */
#define LARGEST_QUANTIZED 0x1p126f

struct fopt_i_buffers {
    union {
        unsigned char bytes[CHUNK * sizeof(float)];
        float floats[CHUNK]; /* which FOPT_F32 are as they are */
    } stored;
    float values[CHUNK];
    unsigned char encoded[CHUNK * sizeof(float)];
    float absmax[CHUNK / FOPT_I_SMALL_BLOCK], encoded_absmax[CHUNK / FOPT_I_SMALL_BLOCK];
};

fopt_i_buffers *fopt_i_new_buffers(void)
{
    return malloc(sizeof(fopt_i_buffers));
}

const char *fopt_i_dtype_of(fopt_format format)
{
    switch (format) {
    case FOPT_F32:
        return "F32";
    case FOPT_BF16:
        return "BF16";
    case FOPT_F16:
        return "F16";
    default:
        return fopt_i_is_quantized(format) ? "U8" : NULL;
    }
}

/* ---- one format to another ----------------------------------------------------------------------------------- */

/* Random bits in whose place these are: what is encoded becomes the nearest value. */
enum { NEAREST = 0x8000 };

#define FOPT_I_PLAIN(format, name)                                                                                     \
    static void decode_##name(const void *from, float *to, size_t count)                                               \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = fopt_i_##name##_decode(((const fopt_i_##name *)from)[i]);                                          \
    }                                                                                                                  \
    static void encode_##name(const float *from, void *to, size_t count)                                               \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            ((fopt_i_##name *)to)[i] = fopt_i_##name##_encode(from[i]);                                                \
    }
FOPT_I_ARRAY_FORMATS(FOPT_I_PLAIN)
#undef FOPT_I_PLAIN

#define FOPT_I_MOMENT(format, name)                                                                                    \
    static void encode_moment_##name(const float *from, void *to, size_t count, fopt_state_kind kind)                  \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            ((fopt_i_##name *)to)[i] = fopt_i_##name##_encode_moment(from[i], kind, NEAREST);                          \
    }
FOPT_I_MOMENT_FORMATS(FOPT_I_MOMENT)
#undef FOPT_I_MOMENT

static float largest_of(const float *values, size_t count)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    return largest;
}

#define FOPT_I_QUANTIZED(format, name)                                                                                 \
    static void decode_##name(const void *from, const float *absmax, float *to, size_t count, size_t block,            \
                              fopt_state_kind kind)                                                                    \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = fopt_i_##name##_decode_scaled(&fopt_i_##name##_literals, ((const fopt_i_##name *)from)[i],         \
                                                  absmax[i / block], kind);                                            \
    }                                                                                                                  \
    static void encode_##name(const float *from, void *to, float *absmax, size_t count, size_t block,                  \
                              fopt_state_kind kind)                                                                    \
    {                                                                                                                  \
        for (size_t first = 0; first < count; first += block) {                                                        \
            const size_t end = count - first < block ? count : first + block;                                          \
            const float largest = largest_of(from + first, end - first);                                               \
            const float scale = fopt_i_##name##_scale(largest, kind);                                                  \
            absmax[first / block] = fopt_i_##name##_absmax(largest, kind);                                             \
            for (size_t i = first; i < end; i++)                                                                       \
                ((fopt_i_##name *)to)[i] =                                                                             \
                    fopt_i_##name##_encode_scaled(&fopt_i_##name##_literals, scale, from[i], 0, kind, NEAREST);        \
        }                                                                                                              \
    }
FOPT_I_QUANTIZED_FORMATS(FOPT_I_QUANTIZED)
#undef FOPT_I_QUANTIZED

/* Decodes what is stored in the buffers; returns where the values are. */
static float *decode(fopt_i_buffers *b, fopt_format from, fopt_state_kind kind, size_t count)
{
    if (from == FOPT_F32)
        return b->stored.floats;
    switch ((unsigned)from) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        decode_##name(b->stored.bytes, b->values, count);                                                              \
        break;
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        decode_##name(b->stored.bytes, b->absmax, b->values, count, fopt_i_block(from), kind);                         \
        break;
        FOPT_I_FORMAT_LIST(FOPT_I_CASE, FOPT_I_CASE, FOPT_I_CASES)
#undef FOPT_I_CASE
#undef FOPT_I_CASES
    }
    return b->values;
}

/* Encodes values as the elements of a moment; returns where these are. */
static const void *encode_moment(fopt_i_buffers *b, const float *values, fopt_format to, fopt_state_kind kind,
                                 size_t count)
{
    if (to == FOPT_F32)
        return values;
    switch ((unsigned)to) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        encode_moment_##name(values, b->encoded, count, kind);                                                         \
        break;
#define FOPT_I_CASES(format, name)                                                                                     \
    case format:                                                                                                       \
    case format##_64:                                                                                                  \
        encode_##name(values, b->encoded, b->encoded_absmax, count, fopt_i_block(to), kind);                           \
        break;
        FOPT_I_FORMAT_LIST(FOPT_I_CASE, FOPT_I_NOTHING, FOPT_I_CASES)
#undef FOPT_I_CASE
#undef FOPT_I_CASES
    }
    return b->encoded;
}

static const void *encode_param(fopt_i_buffers *b, const float *values, fopt_format to, size_t count)
{
    if (to == FOPT_F32)
        return values;
    switch ((unsigned)to) {
#define FOPT_I_CASE(format, name)                                                                                      \
    case format:                                                                                                       \
        encode_##name(values, b->encoded, count);                                                                      \
        break;
        FOPT_I_ARRAY_FORMATS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return b->encoded;
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

/* Refuses a value of a file: which one it is, by its place in the whole tensor. */
static fopt_status refuse_value(const fopt_i_session *s, const fopt_i_move *move, const fopt_i_entry *entry,
                                size_t index, double value, const char *why)
{
    return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: tensor '%.80s': value %zu is %.9g, %s", move->piece->file->path,
                         entry->key, index, value, why);
}

static fopt_status check_absmax(const fopt_i_session *s, const fopt_i_move *move, const float *absmax, size_t first,
                                size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fopt_i_bits(absmax[i]) > 0x7f7fffffu) /* a sign, infinity, NaN */
            return refuse_value(s, move, move->absmax, first + i, (double)absmax[i],
                                "but scales are finite and not negative");
    return FOPT_OK;
}

/* Checks values, and makes zeros of subnormal ones where a step does. `largest` has the bits of what no magnitude may
 * exceed. */
static fopt_status check_values(const fopt_i_session *s, const fopt_i_move *move, float *values, size_t first,
                                size_t count, uint32_t largest)
{
    const uint32_t least = never[move->part.kind].subnormal ? 0x00800000u : 0;
    const uint32_t sign = never[move->part.kind].negative ? 0x80000000u : 0;
    uint32_t negative = 0, beyond = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = fopt_i_bits(values[i]), magnitude = bits & 0x7fffffffu;
        const uint32_t kept = magnitude < least ? bits & 0x80000000u : bits;
        negative |= magnitude >= least && magnitude > 0 && magnitude <= 0x7f800000u ? bits & sign : 0;
        beyond |= magnitude > largest;
        values[i] = fopt_i_float(kept);
    }
    for (size_t i = 0; (negative || beyond) && i < count; i++) {
        if (negative && values[i] < 0)
            return refuse_value(s, move, move->data, first + i, (double)values[i], "but it is a mean of squares");
        if (beyond && (fopt_i_bits(values[i]) & 0x7fffffffu) > largest)
            return refuse_value(s, move, move->data, first + i, (double)values[i], "which 8 bits cannot be made of");
    }
    return FOPT_OK;
}

/* ---- moves --------------------------------------------------------------------------------------------------- */

/* Elements of a move that are under way, and what becomes of them. */
typedef struct load {
    size_t done, count;
    const void *data;
    const float *absmax;
} load;

static fopt_status read_stored(const fopt_i_session *s, fopt_i_buffers *b, const fopt_i_move *m, const load *l)
{
    const fopt_i_file *file = m->piece->file;
    const size_t element = fopt_i_element_bytes(m->format), block = fopt_i_block(m->format);
    const uint64_t from = m->from + l->done;
    fopt_status status = fopt_i_read_entry(s, file, m->data, from * element, b->stored.bytes, l->count * element);
    if (status || block == 0)
        return status;
    const size_t scales = (size_t)fopt_i_absmax_count(m->format, l->count);
    status = fopt_i_read_entry(s, file, m->absmax, from / block * sizeof(float), b->absmax, scales * sizeof(float));
    return status ? status : check_absmax(s, m, b->absmax, (size_t)(from / block), scales);
}

/* Checks what was read, and makes of it what is to be written. */
static fopt_status convert(const fopt_i_session *s, fopt_i_buffers *b, const fopt_i_move *m, load *l)
{
    const bool param = m->part.kind == FOPT_STATE_KINDS, same = m->format == m->part.format;
    const fopt_state_kind kind = param ? FOPT_FIRST_MOMENT : (fopt_state_kind)m->part.kind;
    l->data = b->stored.bytes;
    l->absmax = b->absmax;
    if (same && (param || fopt_i_is_quantized(m->format)))
        return FOPT_OK;
    float *values = decode(b, m->format, kind, l->count);
    fopt_status status =
        check_values(s, m, values, (size_t)m->from + l->done, l->count,
                     fopt_i_is_quantized(m->part.format) ? fopt_i_bits(LARGEST_QUANTIZED) : 0x7fffffffu);
    if (status)
        return status;
    l->data = param ? encode_param(b, values, m->part.format, l->count)
                    : encode_moment(b, values, m->part.format, kind, l->count);
    l->absmax = b->encoded_absmax;
    return FOPT_OK;
}

static fopt_status write_loaded(const fopt_i_session *s, const fopt_i_move *m, const load *l)
{
    const size_t element = fopt_i_element_bytes(m->part.format), block = fopt_i_block(m->part.format);
    const size_t to = (size_t)m->to + l->done;
    fopt_status status = fopt_i_pass(
        s, fopt_copy(s->run.optimizer, (char *)m->part.data + to * element, l->data, l->count * element, s->stream));
    if (status || block == 0)
        return status;
    return fopt_i_pass(s, fopt_copy(s->run.optimizer, m->part.absmax + to / block, l->absmax,
                                    (size_t)fopt_i_absmax_count(m->part.format, l->count) * sizeof(float), s->stream));
}

fopt_status fopt_i_make_move(const fopt_i_session *s, fopt_i_buffers *b, const fopt_i_move *m, bool write)
{
    fopt_status status = FOPT_OK;
    load l = {.done = 0};
    for (; l.done < m->count && !status; l.done += l.count) {
        l.count = m->count - l.done < CHUNK ? (size_t)(m->count - l.done) : CHUNK;
        status = read_stored(s, b, m, &l);
        if (status)
            return status;
        const fopt_i_environment environment = fopt_i_environment_enter();
        status = convert(s, b, m, &l);
        fopt_i_environment_leave(environment);
        if (!status && write)
            status = write_loaded(s, m, &l);
    }
    return status;
}
