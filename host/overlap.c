/* Arrays that must not overlap. */
#include "internal.h"

fopt_i_interval fopt_i_interval_of(const void *pointer, size_t bytes, size_t owner)
{
    return (fopt_i_interval){0, (uintptr_t)pointer, (uintptr_t)pointer + bytes, owner};
}

/* Compares intervals; by owner where all else is equal, so that messages do not depend on the sort. */
static bool is_before(const fopt_i_interval *x, const fopt_i_interval *y)
{
    if (x->space != y->space)
        return x->space < y->space;
    if (x->begin != y->begin)
        return x->begin < y->begin;
    return x->owner < y->owner;
}

static void swap(fopt_i_interval *x, fopt_i_interval *y)
{
    const fopt_i_interval kept = *x;
    *x = *y;
    *y = kept;
}

/* Lets an interval sink in a heap until none below it comes after it. */
static void sink(fopt_i_interval *heap, size_t count, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_before(&heap[child], &heap[child + 1]))
            child++;
        if (!is_before(&heap[at], &heap[child]))
            return;
        swap(&heap[at], &heap[child]);
    }
}

/* Sorts by a heap, since the C library's qsort() may allocate. */
static void sort(fopt_i_interval *intervals, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sink(intervals, count, i);
    for (size_t left = count; left-- > 1;) {
        swap(&intervals[0], &intervals[left]);
        sink(intervals, left, 0);
    }
}

const fopt_i_interval *fopt_i_sort_intervals(fopt_i_interval *intervals, size_t count)
{
    sort(intervals, count);
    for (size_t i = 1; i < count; i++)
        if (intervals[i].space == intervals[i - 1].space && intervals[i].begin < intervals[i - 1].end)
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
