/* The maps of FOPT_Q8 and the nearest value in them, computed in double. */
#include "q8_maps.h"
#include "numbers.h"

#include <math.h>
#include <stdlib.h>

bool q8_has_sign(fopt_state_kind kind)
{
    return kind == FOPT_FIRST_MOMENT || kind == FOPT_MOMENTUM_BUFFER;
}

/* Returns a middle. Those of n = 2^i or 2^(i+1) equal parts of [0.1, 1], times 10^(i-6), are (2n + 18k + 9) / (2n *
 * 10^(7-i)) for k from 0: two integers, of which the division rounds once in double, and once more to float. No exact
 * value is so near to the middle of two floats that this would matter: it would have to be within 2^-53 of it, and is a
 * fraction with a denominator below 2^33. */
static double middle(bool has_sign, int run, int k)
{
    const double count = ldexp(1, has_sign ? run : run + 1);
    return (double)(float)((2 * count + 18 * k + 9) / (2 * count * pow(10, 7 - run)));
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const double *map_of(bool has_sign)
{
    static double maps[2][256];
    double *map = maps[has_sign];
    if (map[255] != 0)
        return map;
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
    return map;
}

double q8_value(bool has_sign, unsigned code)
{
    return map_of(has_sign)[code];
}

unsigned q8_nearest(bool has_sign, double y)
{
    const double *map = map_of(has_sign);
    unsigned best = 0;
    for (unsigned code = 1; code < 256; code++) {
        const double better = fabs(y - map[best]) - fabs(y - map[code]);
        if (better > 0 || (better == 0 && code % 2 == 0))
            best = code;
    }
    return best;
}

double q8_get(const fopt_array *moments, fopt_state_kind kind, size_t index)
{
    const unsigned char *codes = moments->data;
    return q8_value(q8_has_sign(kind), codes[index]) * (double)moments->absmax[index / TILE];
}

double q8_half_gap(bool has_sign, double x, double absmax)
{
    if (absmax == 0)
        return 0;
    const double y = x / absmax;
    unsigned code = q8_nearest(has_sign, y);
    if (!has_sign && code == 0 && y > 0)
        code = 1; /* the least value but zero, however far */
    return fabs(y - q8_value(has_sign, code)) * absmax;
}
