/* The small kernels around the step: they keep the tables, which live on the device alone. */
#include "../begin.h"
#include "../formats/formats.h"
#include "launch.h"
#include <cuda_runtime.h>

enum { BLOCK = 256 };

static cudaLaunchConfig_t configuration(uint64_t blocks, unsigned threads, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks <= INT32_MAX ? (unsigned)blocks : UINT32_MAX); /* which the launch refuses */
    config.blockDim = dim3(threads);
    config.stream = fopt_i_cuda_stream(stream);
    return config;
}

/* ---- creation: a block a record ------------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(BLOCK) index_tiles(const fopt_i_cuda_tables tables)
{
    const fopt_i_record *record = &tables.records[blockIdx.x];
    const uint64_t count = fopt_i_tile_count(record->count);
    for (uint64_t tile = threadIdx.x; tile < count; tile += BLOCK)
        tables.tile_records[record->first_tile + tile] = blockIdx.x;
}

cudaError_t fopt_i_cuda_index_tiles(const fopt_i_cuda_tables *tables, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration(tables->record_count, BLOCK, stream);
    return cudaLaunchKernelEx(&config, index_tiles, *tables);
}

/* ---- the beginning of a step: a thread a record -------------------------------------------------------------- */

static __global__ void __launch_bounds__(BLOCK) begin_step(const fopt_i_cuda_tables tables)
{
    const uint64_t i = (uint64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= tables.record_count)
        return;
    fopt_i_record *record = &tables.records[i];
    fopt_i_beginning b = {};
    if (!fopt_i_begin_step(record, &tables.groups[record->group], tables.seed, &b))
        return;
    record->step = b.inputs.step;
    tables.coefs[i] = b.coef;
    tables.random_keys[i] = b.random_key;
}

cudaError_t fopt_i_cuda_begin_step(const fopt_i_cuda_tables *tables, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration((tables->record_count + BLOCK - 1) / BLOCK, BLOCK, stream);
    return cudaLaunchKernelEx(&config, begin_step, *tables);
}

/* ---- gradients: a warp a tile -------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(BLOCK) zero_grads(const fopt_i_cuda_tables tables)
{
    const uint64_t i = ((uint64_t)blockIdx.x * BLOCK + threadIdx.x) / 32;
    const uint32_t lane = threadIdx.x % 32;
    if (i >= tables.tile_count)
        return;
    const fopt_i_record *record = &tables.records[tables.tile_records[i]];
    if (!record->grad)
        return;
    const uint64_t first = (i - record->first_tile) * FOPT_I_TILE;
    const uint64_t rest = record->count - first;
    const uint32_t count = rest < FOPT_I_TILE ? (uint32_t)rest : FOPT_I_TILE;
    /* A zero is all zero bits in every format. Whole tiles are zeroed by 16 bytes. */
    const uint32_t bytes = (uint32_t)fopt_i_element_bytes(record->grad_format);
    unsigned char *grad = (unsigned char *)record->grad + first * bytes;
    __builtin_assume(__isGlobal(grad));
    if (count == FOPT_I_TILE && (uintptr_t)grad % sizeof(uint4) == 0)
        for (uint32_t k = lane; k < FOPT_I_TILE * bytes / sizeof(uint4); k += 32)
            ((uint4 *)grad)[k] = make_uint4(0, 0, 0, 0);
    else
        for (uint32_t k = lane; k < count * bytes; k += 32)
            grad[k] = 0;
}

cudaError_t fopt_i_cuda_zero_grads(const fopt_i_cuda_tables *tables, cudaStream_t stream)
{
    const uint64_t blocks = (tables->tile_count + BLOCK / 32 - 1) / (BLOCK / 32);
    const cudaLaunchConfig_t config = configuration(blocks, BLOCK, stream);
    return cudaLaunchKernelEx(&config, zero_grads, *tables);
}

/* A part of the pointers: as many as fit the 4 KiB of arguments that every device takes. */
struct pointers {
    uint64_t first;
    uint32_t count;
    void *pointer[480];
};
static constexpr uint32_t POINTERS = sizeof(pointers::pointer) / sizeof(void *);

static __global__ void __launch_bounds__(BLOCK)
    set_grads(fopt_i_record *records, const __grid_constant__ pointers grads)
{
    for (uint32_t i = threadIdx.x; i < grads.count; i += BLOCK) {
        fopt_i_record *record = &records[grads.first + i];
        record->grad = record->count > 0 ? grads.pointer[i] : NULL;
    }
}

cudaError_t fopt_i_cuda_set_grads(const fopt_i_cuda_tables *tables, void *const *grads, cudaStream_t stream, bool *some)
{
    const cudaLaunchConfig_t config = configuration(1, BLOCK, stream);
    cudaError_t error = cudaSuccess;
    for (uint64_t first = 0; first < tables->record_count && error == cudaSuccess; first += POINTERS) {
        const uint64_t rest = tables->record_count - first;
        pointers part = {};
        part.first = first;
        part.count = rest < POINTERS ? (uint32_t)rest : POINTERS;
        memcpy(part.pointer, grads + first, part.count * sizeof(void *));
        error = cudaLaunchKernelEx(&config, set_grads, tables->records, part);
        *some = *some || error == cudaSuccess;
    }
    return error;
}

/* ---- single values: one thread ------------------------------------------------------------------------------- */

static __global__ void set_group(fopt_i_group *group, const __grid_constant__ fopt_i_group value)
{
    *group = value;
}

cudaError_t fopt_i_cuda_set_group(const fopt_i_cuda_tables *tables, size_t group, const fopt_i_group *value,
                                  cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration(1, 1, stream);
    return cudaLaunchKernelEx(&config, set_group, tables->groups + group, *value);
}

static __global__ void set_lr(fopt_i_group *group, double lr)
{
    group->value.lr = lr;
}

cudaError_t fopt_i_cuda_set_lr(const fopt_i_cuda_tables *tables, size_t group, double lr, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration(1, 1, stream);
    return cudaLaunchKernelEx(&config, set_lr, tables->groups + group, lr);
}

static __global__ void set_step(fopt_i_record *record, int64_t step)
{
    record->step = step;
}

cudaError_t fopt_i_cuda_set_step(const fopt_i_cuda_tables *tables, size_t record, int64_t step, cudaStream_t stream)
{
    const cudaLaunchConfig_t config = configuration(1, 1, stream);
    return cudaLaunchKernelEx(&config, set_step, tables->records + record, step);
}

/* ---- loading ------------------------------------------------------------------------------------------------- */

cudaError_t fopt_i_cuda_load_tables(void)
{
    const void *const kernels[] = {(const void *)index_tiles, (const void *)begin_step, (const void *)zero_grads,
                                   (const void *)set_grads,   (const void *)set_group,  (const void *)set_lr,
                                   (const void *)set_step};
    cudaFuncAttributes attributes;
    cudaError_t error = cudaSuccess;
    for (const void *kernel : kernels)
        if (error == cudaSuccess)
            error = cudaFuncGetAttributes(&attributes, kernel); /* which loads it */
    return error;
}
