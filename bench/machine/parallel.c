/* Work of the program's own, on OpenMP's threads. */
#include "machine/parallel.h"

#ifdef _OPENMP
#include <omp.h>

enum { LEAST = 32768, GRAIN = 64 };

void parallel_ranges(range_function *function, const void *context, size_t count)
{
#pragma omp parallel if (count >= LEAST && !omp_in_parallel())
    {
        const size_t threads = (size_t)omp_get_num_threads(), thread = (size_t)omp_get_thread_num();
        const size_t share = (count / threads / GRAIN + 1) * GRAIN;
        const size_t begin = thread * share < count ? thread * share : count;
        function(context, begin, count - begin < share ? count : begin + share);
    }
}

void parallel_use(size_t threads)
{
    if (threads > 0)
        omp_set_num_threads((int)threads);
}

size_t parallel_threads(size_t count)
{
    const size_t threads = (size_t)omp_get_max_threads();
    return threads < count ? threads : count;
}

bool parallel_items(item_function *work, item_function *finish, void *context, size_t count)
{
    bool good = true;
    omp_set_max_active_levels(2); /* an item's work may have threads of its own: the library's */
#pragma omp parallel for ordered schedule(dynamic, 1) num_threads(parallel_threads(count)) if (count > 1)
    for (size_t item = 0; item < count; item++) {
        const size_t thread = (size_t)omp_get_thread_num();
        bool going;
#pragma omp atomic read
        going = good;
        const bool worked = going && work(context, thread, item);
#pragma omp ordered
        if (good && !(worked && (!finish || finish(context, thread, item)))) {
#pragma omp atomic write
            good = false;
        }
    }
    return good;
}

#else

void parallel_ranges(range_function *function, const void *context, size_t count)
{
    function(context, 0, count);
}

void parallel_use(size_t threads)
{
    (void)threads;
}

size_t parallel_threads(size_t count)
{
    return count > 0;
}

bool parallel_items(item_function *work, item_function *finish, void *context, size_t count)
{
    bool good = true;
    for (size_t item = 0; item < count && good; item++)
        good = work(context, 0, item) && (!finish || finish(context, 0, item));
    return good;
}

#endif
