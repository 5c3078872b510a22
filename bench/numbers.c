#include "numbers.h"

#include <string.h>

/* Explicit bits of the significand, and the exponent of the least normal number. */
static const struct shape {
    int significand, least;
} shapes[] = {[FOPT_F32] = {23, -126}, [FOPT_BF16] = {7, -126}, [FOPT_F16] = {10, -14}};

static uint32_t sign_bit(fopt_format format)
{
    return format == FOPT_F32 ? 0x80000000u : 0x8000u;
}

size_t numbers_bytes(fopt_format format)
{
    return format == FOPT_F32 ? 4 : 2;
}

uint32_t numbers_get(fopt_format format, const void *array, size_t index)
{
    const char *element = (const char *)array + index * numbers_bytes(format);
    if (format == FOPT_F32) {
        uint32_t bits;
        memcpy(&bits, element, sizeof bits);
        return bits;
    }
    uint16_t half;
    memcpy(&half, element, sizeof half);
    return half;
}

void numbers_set(fopt_format format, void *array, size_t index, uint32_t bits)
{
    const uint16_t half = (uint16_t)bits;
    char *element = (char *)array + index * numbers_bytes(format);
    memcpy(element, format == FOPT_F32 ? (const void *)&bits : &half, numbers_bytes(format));
}

uint32_t numbers_ordinary(fopt_format format, splitmix *random)
{
    const struct shape s = shapes[format];
    const uint64_t bits = splitmix_next(random);
    const uint32_t fraction = (uint32_t)bits & ((1u << s.significand) - 1);
    const uint32_t exponent = (uint32_t)(1 - s.least - 12) + (uint32_t)(bits >> 32) % 16;
    return (bits >> 63 ? sign_bit(format) : 0) | exponent << s.significand | fraction;
}
