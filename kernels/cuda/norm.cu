/* Norms of gradients. A warp takes consecutive tiles, and keeps a word of a tensor's sum in each lane. */
#include "../norm.h"
#include "codec.cuh"
#include "launch.h"

enum { WARPS = 8, BLOCK = WARPS * FOPT_I_WARP, BLOCKS_PER_SM = 4 };
static_assert(FOPT_I_SUM_WORDS <= FOPT_I_WARP, "a lane has one word");

/* ---- sums of squares ----------------------------------------------------------------------------------------- */

/* Loads a lane's octet of a tile of gradients; what is behind the last one is zero. */
static __device__ __forceinline__ void load_octet(const fopt_i_record *r, uint64_t tile, uint32_t lane,
                                                  float (&x)[FOPT_I_EACH])
{
    void *const grad = fopt_i_at_tile<false>(r->grad, r->grad_format, tile);
    const uint64_t rest = r->count - tile * FOPT_I_TILE;
    if (rest >= FOPT_I_TILE && (uintptr_t)grad % sizeof(uint4) == 0) {
        void *const octet = fopt_i_at_lane<false>(grad, r->grad_format, false, lane);
        fopt_i_decode(fopt_i_fetch<false>(octet, r->grad_format, fopt_i_second_run(false)), r->grad_format, x);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++) {
        const uint32_t element = FOPT_I_EACH * lane + i;
        x[i] = element < rest ? fopt_i_load_one(grad, r->grad_format, element) : 0.0f;
    }
}

/* Sums the scaled squares of a tile, neighbours first: in each lane, then over the lanes. */
static __device__ __forceinline__ float sum_squares(fopt_i_tile_scale scale, const float (&x)[FOPT_I_EACH])
{
    float sum[FOPT_I_EACH];
#pragma unroll
    for (uint32_t i = 0; i < FOPT_I_EACH; i++)
        sum[i] = fopt_i_scaled_square(scale, x[i]);
#pragma unroll
    for (uint32_t count = FOPT_I_EACH / 2; count > 0; count /= 2)
#pragma unroll
        for (uint32_t i = 0; i < count; i++)
            sum[i] = sum[2 * i] + sum[2 * i + 1];
#pragma unroll
    for (int distance = 1; distance < FOPT_I_WARP; distance *= 2)
        sum[0] += __shfl_xor_sync(~0u, sum[0], distance);
    return sum[0];
}

/* Returns what a tile adds to this lane's word. */
static __device__ __forceinline__ uint64_t sum_tile(const fopt_i_record *r, uint64_t tile, uint32_t lane)
{
    float x[FOPT_I_EACH];
    load_octet(r, tile, lane, x);
    const uint32_t largest = fopt_i_max_of_lanes(fopt_i_range_of(x, true).most, FOPT_I_WARP);
    const fopt_i_sum_part part = fopt_i_sum_part_of(largest, sum_squares(fopt_i_tile_scale_of(largest), x));
    return lane == part.word ? part.low : lane == part.word + 1 ? part.high : 0;
}

static __device__ __forceinline__ void add_word(const fopt_i_cuda_tables &tables, uint64_t record, uint32_t lane,
                                                uint64_t word)
{
    if (word != 0)
        atomicAdd((unsigned long long *)&tables.sums[record].word[lane], (unsigned long long)word);
}

static __global__ void __launch_bounds__(BLOCK)
    sum_tensors(const fopt_i_cuda_tables tables, uint64_t first_record, uint64_t end_record)
{
    const uint32_t lane = threadIdx.x % FOPT_I_WARP;
    const uint64_t warp = ((uint64_t)blockIdx.x * BLOCK + threadIdx.x) / FOPT_I_WARP;
    const uint64_t warps = (uint64_t)gridDim.x * WARPS;
    const uint64_t end = tables.tile_count * (warp + 1) / warps;
    uint64_t record = 0, word = 0;
    for (uint64_t tile = tables.tile_count * warp / warps; tile < end; tile++) {
        const uint64_t next = tables.tile_records[tile];
        const fopt_i_record *r = &tables.records[next];
        if (next < first_record || next >= end_record || !r->grad)
            continue;
        if (next != record) {
            add_word(tables, record, lane, word);
            record = next;
            word = 0;
        }
        word += sum_tile(r, tile - r->first_tile, lane);
    }
    add_word(tables, record, lane, word);
}

/* ---- norms --------------------------------------------------------------------------------------------------- */

/* Makes norms of the sums, by one block, and leaves these zero for the next time. */
static __global__ void __launch_bounds__(BLOCK) make_norms(const fopt_i_cuda_tables tables, uint64_t first_record,
                                                           uint64_t end_record, double *norm, double *tensor_norms)
{
    __shared__ fopt_i_sum total;
    if (threadIdx.x < FOPT_I_SUM_WORDS)
        total.word[threadIdx.x] = 0;
    __syncthreads();
    for (uint64_t i = first_record + threadIdx.x; i < end_record; i += BLOCK) {
        fopt_i_sum *sum = &tables.sums[i];
        if (tensor_norms)
            tensor_norms[i - first_record] = fopt_i_norm_of(sum);
        for (uint32_t k = 0; k < FOPT_I_SUM_WORDS; k++) {
            if (sum->word[k] != 0)
                atomicAdd((unsigned long long *)&total.word[k], (unsigned long long)sum->word[k]);
            sum->word[k] = 0;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0 && norm)
        *norm = fopt_i_norm_of(&total);
}

/* ---- launches ------------------------------------------------------------------------------------------------ */

static cudaLaunchConfig_t configuration(uint64_t blocks, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)blocks);
    config.blockDim = dim3(BLOCK);
    config.stream = fopt_i_cuda_stream(stream);
    return config;
}

/* Sums the squares of all tiles with as many blocks as the device holds at a time. */
static cudaError_t launch_sums(const fopt_i_cuda_tables *tables, uint64_t first_record, uint64_t end_record,
                               uint32_t multiprocessors, cudaStream_t stream)
{
    const uint64_t wanted = (tables->tile_count + WARPS - 1) / WARPS, most = (uint64_t)multiprocessors * BLOCKS_PER_SM;
    if (wanted == 0)
        return cudaSuccess;
    const cudaLaunchConfig_t config = configuration(wanted < most ? wanted : most, stream);
    return cudaLaunchKernelEx(&config, sum_tensors, *tables, first_record, end_record);
}

cudaError_t fopt_i_cuda_norm(const fopt_i_cuda_tables *tables, uint64_t first_record, uint64_t end_record, double *norm,
                             double *tensor_norms, uint32_t multiprocessors, cudaStream_t stream, bool *some)
{
    const cudaError_t error = launch_sums(tables, first_record, end_record, multiprocessors, stream);
    *some = error == cudaSuccess && tables->tile_count > 0;
    if (error != cudaSuccess)
        return error;
    const cudaLaunchConfig_t config = configuration(1, stream);
    return cudaLaunchKernelEx(&config, make_norms, *tables, first_record, end_record, norm, tensor_norms);
}

cudaError_t fopt_i_cuda_load_norm(void)
{
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, (const void *)sum_tensors);
    return error != cudaSuccess ? error : cudaFuncGetAttributes(&attributes, (const void *)make_norms);
}
