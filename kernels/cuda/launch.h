/*
 * The CUDA kernels as the host's C sees them: each function enqueues on a stream and returns what the launch returned.
 * Nothing is read from host memory later: values travel as kernel arguments, so a captured launch repeats them.
 */
#ifndef FOPT_I_LAUNCH_H
#define FOPT_I_LAUNCH_H

#include "../norm.h"
#include "../random.h"
#include "../record.h"
#include "../rules/rules.h"
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The tables that a step reads, in device memory. The tiles of all tensors lie end to end in an order of the host's
 * choice, in which those of one loop are consecutive. */
typedef struct fopt_i_cuda_tables {
    fopt_i_record *records;
    fopt_i_group *groups;
    fopt_i_coef *coefs;             /* one a record, of the step under way */
    fopt_i_random_key *random_keys; /* one a record, likewise */
    fopt_i_sum *sums;               /* one a record, of squares of gradients: zeros between calls */
    uint32_t *tile_records;         /* which record a tile belongs to */
    uint64_t record_count, tile_count;
    uint64_t seed;
} fopt_i_cuda_tables;

/* Returns the stream: NULL is the legacy default stream, whatever default a program's flags give to NULL in its own
 * files. */
static inline cudaStream_t fopt_i_cuda_stream(cudaStream_t stream)
{
    return stream ? stream : cudaStreamLegacy;
}

/* Load onto the current device what fopt_i_cuda_step() launches for FOPT_I_LOOPS[loop], what fopt_i_cuda_norm() does,
 * or all that the other functions on tables launch. Fail if this build has no code for the device. */
cudaError_t fopt_i_cuda_load_step(unsigned loop);
cudaError_t fopt_i_cuda_load_norm(void);
cudaError_t fopt_i_cuda_load_tables(void);

/* Counts the current device's multiprocessors. */
cudaError_t fopt_i_cuda_multiprocessors(uint32_t *count);

/* Fills tile_records from the records. */
cudaError_t fopt_i_cuda_index_tiles(const fopt_i_cuda_tables *tables, cudaStream_t stream);

/* Begins a step: counts it, and computes coefficients and keys, for each tensor that has a gradient. */
cudaError_t fopt_i_cuda_begin_step(const fopt_i_cuda_tables *tables, cudaStream_t stream);

/* Makes the step on the tiles [first, first + count), which must all belong to FOPT_I_LOOPS[loop]. */
cudaError_t fopt_i_cuda_step(const fopt_i_cuda_tables *tables, unsigned loop, uint64_t first, uint64_t count,
                             uint32_t multiprocessors, cudaStream_t stream);

/* Makes the next step of a tensor that is in no table, and does not count it. */
cudaError_t fopt_i_cuda_update(const fopt_i_record *record, const fopt_i_group *group, uint64_t seed,
                               cudaStream_t stream);

/* Writes the norm of the gradients of the records [first_record, end_record), and the norm of each, where they are
 * asked for: to memory of the device, by two launches. *some: whether the first succeeded. */
cudaError_t fopt_i_cuda_norm(const fopt_i_cuda_tables *tables, uint64_t first_record, uint64_t end_record, double *norm,
                             double *tensor_norms, uint32_t multiprocessors, cudaStream_t stream, bool *some);

cudaError_t fopt_i_cuda_zero_grads(const fopt_i_cuda_tables *tables, cudaStream_t stream);
cudaError_t fopt_i_cuda_set_group(const fopt_i_cuda_tables *tables, size_t group, const fopt_i_group *value,
                                  cudaStream_t stream);
cudaError_t fopt_i_cuda_set_lr(const fopt_i_cuda_tables *tables, size_t group, double lr, cudaStream_t stream);
cudaError_t fopt_i_cuda_set_step(const fopt_i_cuda_tables *tables, size_t record, int64_t step, cudaStream_t stream);

/* Replaces the gradients of all records, by several launches. *some: whether any launch succeeded. */
cudaError_t fopt_i_cuda_set_grads(const fopt_i_cuda_tables *tables, void *const *grads, cudaStream_t stream,
                                  bool *some);

#ifdef __cplusplus
}
#endif

#endif
