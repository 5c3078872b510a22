#include "parallel.h"

#ifdef _OPENMP
#include <omp.h>

enum { LEAST = 32768, GRAIN = 64 };

void parallel_ranges(range_function *function, const void *context, size_t count)
{
#pragma omp parallel if (count >= LEAST)
    {
        const size_t threads = (size_t)omp_get_num_threads(), thread = (size_t)omp_get_thread_num();
        const size_t share = (count / threads / GRAIN + 1) * GRAIN;
        const size_t begin = thread * share < count ? thread * share : count;
        function(context, begin, count - begin < share ? count : begin + share);
    }
}

#else

void parallel_ranges(range_function *function, const void *context, size_t count)
{
    function(context, 0, count);
}

#endif
