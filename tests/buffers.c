#include "buffers.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what runs ----------------------------------------------------------------------------------------------- */

static char running[512];

static void report_crash(int number)
{
    static const char crashed[] = ": segmentation fault\n";
    ssize_t written = write(STDERR_FILENO, running, strlen(running));
    written += write(STDERR_FILENO, crashed, sizeof crashed - 1);
    (void)written;
    signal(number, SIG_DFL); /* the instruction is run again, and the process dies of it */
}

void now_running(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(running, sizeof running, format, arguments);
    va_end(arguments);
    signal(SIGSEGV, report_crash);
}

const char *what_runs(void)
{
    return running;
}

void expect_ok(fopt_status status)
{
    cr_assert_eq(status, FOPT_OK, "%s: %s: %s", running, fopt_status_string(status), fopt_last_error());
}

/* ---- guarded memory ------------------------------------------------------------------------------------------ */

#define UNTOUCHED 0xa5

guarded guarded_new(size_t bytes, size_t offset)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t slack = offset == GUARD_END ? 0 : offset;
    const size_t inner = (bytes + slack + page - 1) / page * page;
    guarded memory = {.bytes = bytes, .page_bytes = inner + 2 * page};
    memory.pages = mmap(NULL, memory.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)memory.pages, MAP_FAILED, "mmap of %zu bytes failed", memory.page_bytes);
    unsigned char *first = memory.pages + page;
    if (inner > 0) {
        cr_assert_eq(mprotect(first, inner, PROT_READ | PROT_WRITE), 0);
        memset(first, UNTOUCHED, inner);
    }
    memory.data = offset == GUARD_END ? first + inner - bytes : first + offset;
    return memory;
}

static void expect_untouched(guarded memory, const unsigned char *begin, const unsigned char *end)
{
    for (const unsigned char *byte = begin; byte < end; byte++)
        if (*byte != UNTOUCHED)
            cr_assert_fail("%s: byte %td of an array of %zu was written", running,
                           byte - (const unsigned char *)memory.data, memory.bytes);
}

void guarded_free(guarded memory)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const unsigned char *data = memory.data;
    expect_untouched(memory, memory.pages + page, data);
    expect_untouched(memory, data + memory.bytes, memory.pages + memory.page_bytes - page);
    munmap(memory.pages, memory.page_bytes);
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* Explicit bits of the significand, and the exponents of the least and the largest normal numbers. */
static const struct shape {
    int significand, least, most;
} shapes[] = {[FOPT_F32] = {23, -126, 127}, [FOPT_BF16] = {7, -126, 127}, [FOPT_F16] = {10, -14, 15}};

static uint32_t sign_bit(fopt_format format)
{
    return format == FOPT_F32 ? 0x80000000u : 0x8000u;
}

static uint32_t infinity_bits(fopt_format format)
{
    return (uint32_t)(shapes[format].most - shapes[format].least + 2) << shapes[format].significand;
}

size_t element_bytes(fopt_format format)
{
    return format == FOPT_F32 ? 4 : format == FOPT_Q8 ? 1 : 2;
}

uint32_t get_bits(fopt_format format, const void *array, size_t index)
{
    uint32_t bits;
    uint16_t half;
    const char *element = (const char *)array + index * element_bytes(format);
    if (format == FOPT_F32) {
        memcpy(&bits, element, sizeof bits);
        return bits;
    }
    if (format == FOPT_Q8)
        return *(const unsigned char *)element;
    memcpy(&half, element, sizeof half);
    return half;
}

void set_bits(fopt_format format, void *array, size_t index, uint32_t bits)
{
    const uint16_t half = (uint16_t)bits;
    char *element = (char *)array + index * element_bytes(format);
    memcpy(element, format == FOPT_F32 ? (const void *)&bits : &half, element_bytes(format));
}

double value_of_bits(fopt_format format, uint32_t bits)
{
    const struct shape s = shapes[format];
    const uint32_t magnitude = bits & ~sign_bit(format), fraction = magnitude & ((1u << s.significand) - 1);
    const int exponent = (int)(magnitude >> s.significand);
    double value;
    if (magnitude >= infinity_bits(format))
        value = magnitude > infinity_bits(format) ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, s.least - s.significand);
    else
        value = ldexp(fraction + (1u << s.significand), s.least + exponent - 1 - s.significand);
    return bits & sign_bit(format) ? -value : value;
}

uint32_t bits_of_value(fopt_format format, double value)
{
    const struct shape s = shapes[format];
    if (isnan(value))
        return infinity_bits(format) | 1u << (s.significand - 1);
    const uint32_t sign = signbit(value) ? sign_bit(format) : 0;
    if (isinf(value))
        return sign | infinity_bits(format);

    /* In units of the last place, rounded without asking the rounding mode. */
    const int exponent = value == 0 || ilogb(value) < s.least ? s.least : ilogb(value);
    const double units = ldexp(fabs(value), s.significand - exponent), down = floor(units), rest = units - down;
    const double rounded = rest > 0.5 || (rest == 0.5 && fmod(down, 2) != 0) ? down + 1 : down;
    /* The leading one of a normal number, if any, adds 1 to the exponent field; so does a carry. */
    const double bits = ldexp(exponent - s.least, s.significand) + rounded;
    return sign | (bits < infinity_bits(format) ? (uint32_t)bits : infinity_bits(format));
}

double get_value(fopt_format format, const void *array, size_t index)
{
    return value_of_bits(format, get_bits(format, array, index));
}

void set_value(fopt_format format, void *array, size_t index, double value)
{
    set_bits(format, array, index, bits_of_value(format, value));
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

/* splitmix64 */
uint64_t draw(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint32_t draw_special(fopt_format format, uint64_t *seed)
{
    const uint32_t normal = 1u << shapes[format].significand, infinity = infinity_bits(format);
    const uint32_t magnitudes[] = {0,
                                   1,
                                   normal / 2,
                                   normal - 1,
                                   normal,
                                   normal + 1,
                                   infinity / 2 /* about 1 */,
                                   infinity - normal,
                                   infinity - 1,
                                   infinity,
                                   infinity + 1 /* a signaling NaN */,
                                   infinity + normal / 2};
    const uint64_t random = draw(seed);
    const uint32_t any = (uint32_t)(random >> 32) & (sign_bit(format) - 1);
    const uint64_t choice = random % (2 * sizeof magnitudes / sizeof *magnitudes);
    const uint32_t magnitude = choice < sizeof magnitudes / sizeof *magnitudes ? magnitudes[choice] : any;
    return random & 1u << 31 ? magnitude | sign_bit(format) : magnitude;
}

static uint32_t draw_ordinary(fopt_format format, uint64_t *seed)
{
    const struct shape s = shapes[format];
    const uint64_t random = draw(seed);
    const uint32_t fraction = (uint32_t)random & ((1u << s.significand) - 1);
    const uint32_t exponent = (uint32_t)(1 - s.least - 12) + (uint32_t)(random >> 32) % 16;
    return (random >> 63 ? sign_bit(format) : 0) | exponent << s.significand | fraction;
}

void fill_random(fopt_format format, void *array, size_t count, uint64_t seed, unsigned special)
{
    for (size_t i = 0; i < count; i++)
        set_bits(format, array, i,
                 special != 0 && draw(&seed) % special == 0 ? draw_special(format, &seed)
                                                            : draw_ordinary(format, &seed));
}

/* ---- moments ------------------------------------------------------------------------------------------------- */

#define TILE 256

static size_t tiles_of(size_t count)
{
    return (count + TILE - 1) / TILE;
}

size_t moment_bytes(fopt_format format, size_t count)
{
    return format == FOPT_Q8 ? count + 3 + tiles_of(count) * sizeof(float) : count * element_bytes(format);
}

fopt_array moment_array(fopt_format format, void *data, size_t count)
{
    char *behind = (char *)data + count;
    return (fopt_array){.size = sizeof(fopt_array),
                        .data = data,
                        .count = count,
                        .bytes = count * element_bytes(format),
                        .format = format,
                        .absmax = format == FOPT_Q8 ? (float *)(behind + (-(uintptr_t)behind & 3)) : NULL};
}

fopt_array moment_part(fopt_array whole, size_t first, size_t count)
{
    whole.data = (char *)whole.data + first * element_bytes(whole.format);
    whole.absmax = whole.absmax ? whole.absmax + first / TILE : NULL;
    whole.count = count;
    whole.bytes = count * element_bytes(whole.format);
    return whole;
}

void copy_moments(fopt_array to, fopt_array from)
{
    memcpy(to.data, from.data, from.bytes);
    if (from.format == FOPT_Q8)
        memcpy(to.absmax, from.absmax, tiles_of(from.count) * sizeof(float));
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

void expect_same(const char *what, fopt_format format, const void *got, const void *want, size_t count)
{
    if (count == 0 || memcmp(got, want, count * element_bytes(format)) == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        const uint32_t g = get_bits(format, got, i), w = get_bits(format, want, i);
        const bool both_nan = format == FOPT_F32 && isnan(value_of_bits(format, g)) && isnan(value_of_bits(format, w));
        if (g != w && !both_nan)
            cr_assert_fail("%s %s element=%zu: got 0x%0*x want 0x%0*x", running, what, i,
                           (int)(2 * element_bytes(format)), g, (int)(2 * element_bytes(format)), w);
    }
}

void expect_same_moments(const char *what, fopt_array got, fopt_array want)
{
    cr_assert(got.format == want.format && got.count == want.count, "%s %s: formats or counts differ", running, what);
    expect_same(what, got.format, got.data, want.data, got.count);
    if (got.format == FOPT_Q8)
        expect_same("absmax", FOPT_F32, got.absmax, want.absmax, tiles_of(got.count));
}
