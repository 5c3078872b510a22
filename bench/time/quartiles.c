/* Quartiles of samples, and how much they drift. */
#include "time/quartiles.h"
#include <stdlib.h>

static int compare(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Interpolates between two values in a straight line. */
static double at(const double *sorted, size_t count, double part)
{
    const double place = part * (double)(count - 1);
    const size_t below = (size_t)place;
    const size_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

quartiles quartiles_of(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return (quartiles){at(values, count, 0.25), at(values, count, 0.5), at(values, count, 0.75)};
}

double quartiles_drift(double *values, size_t count)
{
    const size_t half = count / 2;
    if (half == 0)
        return 0;
    const double first = quartiles_of(values, half).middle, second = quartiles_of(values + half, count - half).middle;
    return first < second ? second / first - 1 : first / second - 1;
}

double quartiles_spread(quartiles q)
{
    return (q.high - q.low) / q.middle;
}
