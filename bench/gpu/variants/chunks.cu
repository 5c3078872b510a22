/* A block takes a run of tiles and looks the tensor of the first up; others' go the general way. */
#include "plain.cuh"

enum { WARPS = 8, EACH = 8 /* tiles a warp */, CHUNK = WARPS * EACH };

static __global__ void __launch_bounds__(WARPS * 32, 3)
    step_chunks(const fopt_i_cuda_tables tables, const uint32_t count)
{
    const uint32_t lane = threadIdx.x % 32, begin = blockIdx.x * CHUNK, end = min(count, begin + CHUNK);
    tensor_now t;
    look_up<all_in_f32>(tables, tables.tile_records[begin], lane, t);
    for (uint32_t tile = begin + threadIdx.x / 32; tile < end; tile += WARPS)
        if (!try_tile<all_in_f32>(t, tile - t.begin, lane)) {
            const uint32_t index = tables.tile_records[tile];
            step_plain(tables, index, tile - (uint32_t)tables.records[index].first_tile, lane);
        }
}

static cudaError_t launch(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_chunks, WARPS, EACH, 0, 0, tables);
}

const variant chunks_f32 = {"chunks", FOPT_F32, FOPT_F32, FOPT_F32, launch, (const void *)step_chunks, WARPS, 0};
