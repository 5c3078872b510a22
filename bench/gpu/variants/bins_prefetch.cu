/* Quantized moments by tables; a warp loads its next tile before it computes the one that it has. */
#include "q8.cuh"

enum { WARPS = 16 };

template <class F>
static __global__ void __launch_bounds__(WARPS * 32, 1)
    step_bins_prefetch(const fopt_i_cuda_tables tables, uint32_t count)
{
    const q8_shared shared = share_tables<WARPS>();
    const uint32_t lane = threadIdx.x % 32;
    uint32_t tile = blockIdx.x * WARPS + threadIdx.x / 32;
    if (tile >= count)
        return;
    tensor_now t;
    fetched<F> f;
    look_up<F>(tables, tables.tile_records[tile], lane, t);
    bool ready = tile - t.begin < t.fast_tiles;
    if (ready)
        f.fetch(t, tile - t.begin);
    for (;;) {
        const uint32_t next = tile + gridDim.x * WARPS, own = tile - t.begin;
        const bool follows = ready && next < count && next - t.begin < t.fast_tiles; /* in the same tensor */
        fetched<F> g;
        if (follows)
            g.fetch(t, next - t.begin);
        const bool done = ready && step_fast<F>(shared, t, own, lane, f);
        if (!done)
            step_quantized(shared, tables, t.index, own, lane);
        if (next >= count)
            return;
        tile = next;
        if (follows && done) {
            f = g;
            continue;
        }
        look_up<F>(tables, tables.tile_records[tile], lane, t);
        ready = tile - t.begin < t.fast_tiles;
        if (ready)
            f.fetch(t, tile - t.begin);
    }
}

template <class F> static cudaError_t launch(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_bins_prefetch<F>, WARPS, 1, 1, Q8_SHARED_BYTES, tables);
}

/* No such kernel takes f32: it would spill. */
const variant bins_prefetch_bf16_q8 = {"bins-prefetch", FOPT_BF16,       FOPT_BF16,
                                       FOPT_Q8,         launch<bf16_q8>, (const void *)step_bins_prefetch<bf16_q8>,
                                       WARPS,           Q8_SHARED_BYTES};
