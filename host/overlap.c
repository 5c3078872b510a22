/* Arrays that must not overlap. */
#include "internal.h"
#include <stdlib.h>

fopt_i_interval fopt_i_interval_of(const void *pointer, size_t bytes, size_t owner)
{
    return (fopt_i_interval){(uintptr_t)pointer, (uintptr_t)pointer + bytes, owner};
}

/* By owner where the addresses are equal, so that messages do not depend on the sort. */
static int compare(const void *a, const void *b)
{
    const fopt_i_interval *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->owner < y->owner ? -1 : x->owner > y->owner;
}

const fopt_i_interval *fopt_i_sort_intervals(fopt_i_interval *intervals, size_t count)
{
    if (count > 1)
        qsort(intervals, count, sizeof *intervals, compare);
    for (size_t i = 1; i < count; i++)
        if (intervals[i].begin < intervals[i - 1].end)
            return &intervals[i - 1];
    return NULL;
}

const fopt_i_interval *fopt_i_find_overlap(const fopt_i_interval *sorted, size_t count, fopt_i_interval interval)
{
    size_t low = 0, high = count; /* the first that ends after the given one begins */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted[middle].end <= interval.begin)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && sorted[low].begin < interval.end ? &sorted[low] : NULL;
}
