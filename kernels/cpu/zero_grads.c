/* Zeros for gradients, tile by tile as the step walks: each part of memory stays with the thread that steps there. */
#include "../formats/formats.h"
#include "job.h"

void fopt_i_cpu_zero_grads(const fopt_i_cpu_job *job, uint64_t first, uint64_t count)
{
    const uint64_t end = first + count;
    for (const fopt_i_record *r = fopt_i_find_record(job->records, job->record_count, first); first < end; r++) {
        const uint64_t here = fopt_i_tiles_until(r, end) - first;
        const uint64_t begin = (first - r->first_tile) * FOPT_I_TILE;
        const uint64_t rest = r->count - begin;
        const uint64_t elements = rest < here * FOPT_I_TILE ? rest : here * FOPT_I_TILE;
        const size_t bytes = fopt_i_element_bytes(r->grad_format);
        if (r->grad)
            memset((char *)r->grad + begin * bytes, 0, (size_t)elements * bytes); /* zero in every format */
        first += here;
    }
}
