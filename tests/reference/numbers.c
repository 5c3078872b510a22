/* The formats' numbers, by ldexp() and floor() in double. */
#include "numbers.h"
#include "quantized.h"

#include <math.h>
#include <string.h>

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

size_t numbers_bytes(fopt_format format)
{
    return format == FOPT_F32 ? 4 : is_quantized(format) ? 1 : 2;
}

uint32_t numbers_get(fopt_format format, const void *array, size_t index)
{
    const char *element = (const char *)array + index * numbers_bytes(format);
    if (format == FOPT_F32) {
        uint32_t bits;
        memcpy(&bits, element, sizeof bits);
        return bits;
    }
    if (is_quantized(format))
        return *(const unsigned char *)element;
    uint16_t half;
    memcpy(&half, element, sizeof half);
    return half;
}

void numbers_set(fopt_format format, void *array, size_t index, uint32_t bits)
{
    const uint16_t half = (uint16_t)bits;
    const unsigned char code = (unsigned char)bits;
    char *element = (char *)array + index * numbers_bytes(format);
    memcpy(element,
           format == FOPT_F32     ? (const void *)&bits
           : is_quantized(format) ? (const void *)&code
                                  : &half,
           numbers_bytes(format));
}

double numbers_value(fopt_format format, uint32_t bits)
{
    if (format == FOPT_F32) {
        float number;
        memcpy(&number, &bits, sizeof number);
        return (double)number;
    }
    const struct shape s = shapes[format];
    const uint32_t magnitude = bits & ~sign_bit(format), fraction = magnitude & ((1u << s.significand) - 1);
    const int exponent = (int)(magnitude >> s.significand);
    double value;
    if (magnitude >= infinity_bits(format))
        value = magnitude > infinity_bits(format) ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, s.least - s.significand);
    else
        value = ldexp(fraction + (1u << s.significand), s.least + exponent - 1 - s.significand);
    return bits & sign_bit(format) ? -value : value;
}

double numbers_largest(fopt_format format)
{
    if (is_quantized(format)) /* an absmax is single precision */
        format = FOPT_F32;
    return numbers_value(format, infinity_bits(format) - 1);
}

double numbers_spacing(fopt_format format, double x)
{
    const struct shape s = shapes[format];
    if (format == FOPT_F32 || !isfinite(x))
        return 0;
    const int exponent = x == 0 || ilogb(x) < s.least ? s.least : ilogb(x);
    return ldexp(1, exponent - s.significand);
}

uint32_t numbers_special(fopt_format format, splitmix *random)
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
    const size_t count = LENGTH(magnitudes);
    const uint64_t bits = splitmix_next(random);
    const uint32_t any = (uint32_t)(bits >> 32) & (sign_bit(format) - 1);
    const uint64_t choice = bits % (2 * count);
    return (choice < count ? magnitudes[choice] : any) | (bits & 1u << 31 ? sign_bit(format) : 0);
}

uint32_t numbers_ordinary(fopt_format format, splitmix *random)
{
    const struct shape s = shapes[format];
    const uint64_t bits = splitmix_next(random);
    const uint32_t fraction = (uint32_t)bits & ((1u << s.significand) - 1);
    const uint32_t exponent = (uint32_t)(1 - s.least - 12) + (uint32_t)(bits >> 32) % 16;
    return (bits >> 63 ? sign_bit(format) : 0) | exponent << s.significand | fraction;
}

uint32_t numbers_nearest(fopt_format format, double value)
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
