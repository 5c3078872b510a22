#include "quantized.h"
#include "numbers.h"

#include <math.h>
#include <stdlib.h>

/* ---- what the codes of each format stand for ----------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The middles of n = 2^i or 2^(i+1) equal parts of [0.1, 1], times 10^(i-6), are (2n + 18k + 9) / (2n * 10^(7-i)) for k
 * from 0: two integers, of which the division rounds once in double, and once more to float. No exact value is so near
 * to the middle of two floats that this would matter: it would have to be within 2^-53 of it, and is a fraction with a
 * denominator below 2^33. */
static double middle(bool has_sign, int run, int k)
{
    const double count = ldexp(1, has_sign ? run : run + 1);
    return (double)(float)((2 * count + 18 * k + 9) / (2 * count * pow(10, 7 - run)));
}

/* FOPT_Q8, by the papers' construction: the values in order. */
static double q8_value(bool has_sign, unsigned code)
{
    static double maps[2][256];
    double *map = maps[has_sign];
    if (map[255] != 0)
        return map[code];
    size_t count = 0;
    map[count++] = 0;
    for (int run = 0; run < 7; run++)
        for (int k = 0; k < (has_sign ? 1 : 2) << run; k++) {
            map[count++] = middle(has_sign, run, k);
            if (has_sign)
                map[count++] = -middle(has_sign, run, k);
        }
    map[count++] = 1;
    qsort(map, count, sizeof *map, compare);
    return map[code];
}

/* The largest magnitude becomes the last value below 1; smaller ones than 2^-57 (2^-103 without sign) count as that. */
static double q8_absmax(bool has_sign, double largest)
{
    return fmax(largest, has_sign ? 0x1p-57 : 0x1p-103) / q8_value(has_sign, 254);
}

static const struct {
    fopt_format format;
    size_t block;
    double (*value)(bool has_sign, unsigned code);
    double (*absmax)(bool has_sign, double largest);
} formats[] = {
    {FOPT_Q8, 256, q8_value, q8_absmax},
    {FOPT_Q8_64, 64, q8_value, q8_absmax},
};

/* ---- the same for all ---------------------------------------------------------------------------------------- */

static size_t find(fopt_format format)
{
    size_t i = 0;
    while (i < LENGTH(formats) && formats[i].format != format)
        i++;
    return i;
}

bool is_quantized(fopt_format format)
{
    return find(format) < LENGTH(formats);
}

bool moment_has_sign(fopt_state_kind kind)
{
    return kind == FOPT_FIRST_MOMENT || kind == FOPT_MOMENTUM_BUFFER;
}

size_t quantized_block(fopt_format format)
{
    return formats[find(format)].block;
}

size_t quantized_blocks(fopt_format format, size_t count)
{
    return (count + quantized_block(format) - 1) / quantized_block(format);
}

double quantized_absmax(fopt_format format, bool has_sign, double largest)
{
    return largest == 0 ? 0 : formats[find(format)].absmax(has_sign, largest);
}

double quantized_value(fopt_format format, bool has_sign, unsigned code)
{
    return formats[find(format)].value(has_sign, code);
}

unsigned quantized_nearest(fopt_format format, bool has_sign, double y)
{
    unsigned best = 0;
    for (unsigned code = 1; code < 256; code++) {
        const double better =
            fabs(y - quantized_value(format, has_sign, best)) - fabs(y - quantized_value(format, has_sign, code));
        if (better > 0 || (better == 0 && code % 2 == 0))
            best = code;
    }
    return best;
}

double quantized_get(const fopt_array *moments, fopt_state_kind kind, size_t index)
{
    const unsigned char *codes = moments->data;
    return quantized_value(moments->format, moment_has_sign(kind), codes[index]) *
           (double)moments->absmax[index / quantized_block(moments->format)];
}

/* The values that there are, in order; without a sign, the first is zero, and the only one. */
typedef struct value_set {
    size_t count;
    double values[256];
} value_set;

static const value_set *values_of(fopt_format format, bool has_sign)
{
    static value_set sets[LENGTH(formats)][2];
    value_set *set = &sets[find(format)][has_sign];
    if (set->count > 0)
        return set;
    size_t count = 0;
    for (unsigned code = 0; code < 256; code++) {
        const double value = quantized_value(format, has_sign, code);
        if (!isnan(value) && (has_sign || !signbit(value)))
            set->values[count++] = value;
    }
    qsort(set->values, count, sizeof *set->values, compare);
    set->count = count;
    return set;
}

double quantized_distance(fopt_format format, fopt_state_kind kind, double x, double absmax)
{
    const bool has_sign = moment_has_sign(kind);
    const value_set *set = values_of(format, has_sign);
    size_t low = !has_sign && x > 0 ? 1 : 0, high = set->count - 1;
    while (high - low > 1) {
        const size_t middle_one = low + (high - low) / 2;
        *(set->values[middle_one] * absmax <= x ? &low : &high) = middle_one;
    }
    const double below = fabs(x - set->values[low] * absmax), above = fabs(x - set->values[high] * absmax);
    if (kind == FOPT_MAX_SECOND_MOMENT || set->values[low] * absmax > x || set->values[high] * absmax < x)
        return fmin(below, above);
    return fmax(below, above);
}

void quantized_prepare(void)
{
    for (size_t i = 0; i < LENGTH(formats); i++)
        for (int has_sign = 0; has_sign < 2; has_sign++)
            values_of(formats[i].format, has_sign != 0);
}
