/* Quantized moments by tables, each warp one tile after another. */
#include "q8.cuh"

template <class F, unsigned warps>
__device__ __forceinline__ void step_tiles(const fopt_i_cuda_tables &tables, uint32_t count)
{
    const q8_shared shared = share_tables<warps>();
    const uint32_t lane = threadIdx.x % 32;
    uint32_t tile = blockIdx.x * warps + threadIdx.x / 32;
    if (tile >= count)
        return;
    tensor_now t;
    look_up<F>(tables, tables.tile_records[tile], lane, t);
    for (;;) {
        const uint32_t next = tile + gridDim.x * warps, own = tile - t.begin;
        uint32_t index = 0;
        if (next < count)
            index = tables.tile_records[next];
        bool done = false;
        if (own < t.fast_tiles) {
            fetched<F> f;
            f.fetch(t, own);
            done = step_fast<F>(shared, t, own, lane, f);
        }
        if (!done) {
            step_quantized(shared, tables, t.index, own, lane);
            t.index = ~0u; /* looked up again, rather than kept during all that */
        }
        if (next >= count)
            return;
        tile = next;
        if (index != t.index)
            look_up<F>(tables, index, lane, t);
    }
}

template <class F>
static __global__ void __launch_bounds__(20 * 32, 1) step_bins_20(const fopt_i_cuda_tables tables, uint32_t count)
{
    step_tiles<F, 20>(tables, count);
}

template <class F>
static __global__ void __launch_bounds__(16 * 32, 1) step_bins_16(const fopt_i_cuda_tables tables, uint32_t count)
{
    step_tiles<F, 16>(tables, count);
}

template <class F> static cudaError_t launch_20(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_bins_20<F>, 20, 1, 1, Q8_SHARED_BYTES, tables);
}

template <class F> static cudaError_t launch_16(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_bins_16<F>, 16, 1, 1, Q8_SHARED_BYTES, tables);
}

template <class F> static variant bins_20()
{
    return {"bins-20-warps", F::param, F::grad, F::state, launch_20<F>, (const void *)step_bins_20<F>, 20,
            Q8_SHARED_BYTES};
}

template <class F> static variant bins_16()
{
    return {"bins-16-warps", F::param, F::grad, F::state, launch_16<F>, (const void *)step_bins_16<F>, 16,
            Q8_SHARED_BYTES};
}

const variant bins_20_bf16_q8 = bins_20<bf16_q8>();
const variant bins_20_f32_q8 = bins_20<f32_q8>();
const variant bins_16_bf16_q8 = bins_16<bf16_q8>();
const variant bins_16_f32_q8 = bins_16<f32_q8>();
