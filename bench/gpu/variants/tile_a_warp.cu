/* As the library's kernel: a warp takes one tile. */
#include "plain.cuh"

enum { WARPS = 8 };

template <class F>
static __global__ void __launch_bounds__(WARPS * 32, 3)
    step_tile_a_warp(const fopt_i_cuda_tables tables, const uint32_t count)
{
    const uint32_t lane = threadIdx.x % 32, tile = blockIdx.x * WARPS + threadIdx.x / 32;
    if (tile >= count)
        return;
    tensor_now t;
    look_up<F>(tables, tables.tile_records[tile], lane, t);
    if (!try_tile<F>(t, tile - t.begin, lane))
        step_plain(tables, t.index, tile - t.begin, lane);
}

template <class F> static cudaError_t launch(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_tile_a_warp<F>, WARPS, 1, 0, 0, tables);
}

typedef formats<FOPT_F32, FOPT_F32, FOPT_F32, true> streaming;

const variant tile_a_warp_f32 = {
    "tile-a-warp", FOPT_F32, FOPT_F32, FOPT_F32, launch<all_in_f32>, (const void *)step_tile_a_warp<all_in_f32>,
    WARPS,         0};
const variant tile_a_warp_streaming_f32 = {
    "streaming", FOPT_F32, FOPT_F32, FOPT_F32, launch<streaming>, (const void *)step_tile_a_warp<streaming>, WARPS, 0};
