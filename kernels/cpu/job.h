/* The CPU's walk: over all tiles of all tensors end to end, in the order of the tensors. */
#ifndef FOPT_I_JOB_H
#define FOPT_I_JOB_H

#include "../record.h"

/* All that a walk reads. */
typedef struct fopt_i_cpu_job {
    const fopt_i_record *records;
    size_t record_count;
    const fopt_i_group *groups;
    uint64_t seed;
} fopt_i_cpu_job;

/* Finds the record that a tile belongs to, by bisection: the last whose first tile is not after it. `tile` must be one
 * of the records' tiles; a record without tiles is then never the last. */
static inline const fopt_i_record *fopt_i_find_record(const fopt_i_record *records, size_t count, uint64_t tile)
{
    size_t low = 0;
    while (count > 1) {
        size_t half = count / 2;
        if (records[low + half].first_tile <= tile)
            low += half;
        count -= half;
    }
    return records + low;
}

/* Returns the end of a record's part of a walk that ends at tile `end`. */
static inline uint64_t fopt_i_tiles_until(const fopt_i_record *r, uint64_t end)
{
    uint64_t own_end = r->first_tile + fopt_i_tile_count(r->count);
    return own_end < end ? own_end : end;
}

/* Writes zeros to the gradients of the tiles [first, first + count). */
void fopt_i_cpu_zero_grads(const fopt_i_cpu_job *job, uint64_t first, uint64_t count);

#endif
