/* A warp takes two tiles and loads both before it computes: twice the bytes under way, with half the warps. */
#include "plain.cuh"

enum { WARPS = 8 };

static __global__ void __launch_bounds__(WARPS * 32, 2)
    step_two_tiles(const fopt_i_cuda_tables tables, const uint32_t count)
{
    const uint32_t lane = threadIdx.x % 32, tile = 2 * (blockIdx.x * WARPS + threadIdx.x / 32);
    if (tile >= count)
        return;
    tensor_now t;
    look_up<all_in_f32>(tables, tables.tile_records[tile], lane, t);
    const uint32_t own = tile - t.begin;
    if (own + 1 < t.fast_tiles) {
        fetched<all_in_f32> f, g;
        f.fetch(t, own);
        g.fetch(t, own + 1);
        if (!step_fast(t, own, lane, f))
            step_plain(tables, t.index, own, lane);
        if (!step_fast(t, own + 1, lane, g))
            step_plain(tables, t.index, own + 1, lane);
        return;
    }
    for (uint32_t k = tile; k < tile + 2 && k < count; k++) {
        const uint32_t index = tables.tile_records[k];
        step_plain(tables, index, k - (uint32_t)tables.records[index].first_tile, lane);
    }
}

static cudaError_t launch(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_two_tiles, WARPS, 2, 0, 0, tables);
}

const variant two_tiles_f32 = {"two-tiles", FOPT_F32, FOPT_F32, FOPT_F32, launch, (const void *)step_two_tiles,
                               WARPS,       0};
