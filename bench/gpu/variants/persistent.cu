/* As many warps as there is room for, each with one tile after another, which look a tensor up once. */
#include "plain.cuh"

enum { WARPS = 8, BLOCKS = 3 /* a multiprocessor */ };

template <class F>
static __global__ void __launch_bounds__(WARPS * 32, BLOCKS)
    step_persistent(const fopt_i_cuda_tables tables, const uint32_t count)
{
    const uint32_t lane = threadIdx.x % 32;
    uint32_t tile = blockIdx.x * WARPS + threadIdx.x / 32;
    if (tile >= count)
        return;
    tensor_now t;
    look_up<F>(tables, tables.tile_records[tile], lane, t);
    for (;;) {
        const uint32_t next = tile + gridDim.x * WARPS;
        uint32_t index = 0;
        if (next < count)
            index = tables.tile_records[next];
        if (!try_tile<F>(t, tile - t.begin, lane)) {
            step_plain(tables, t.index, tile - t.begin, lane);
            t.index = ~0u; /* looked up again, rather than kept during all that */
        }
        if (next >= count)
            return;
        tile = next;
        if (index != t.index)
            look_up<F>(tables, index, lane, t);
    }
}

template <class F> static cudaError_t launch(const fopt_i_cuda_tables &tables)
{
    return launch_blocks(step_persistent<F>, WARPS, 1, BLOCKS, 0, tables);
}

typedef formats<FOPT_BF16, FOPT_BF16, FOPT_F32> state_in_f32;
typedef formats<FOPT_BF16, FOPT_BF16, FOPT_BF16> all_in_bf16;

const variant persistent_f32 = {
    "persistent", FOPT_F32, FOPT_F32, FOPT_F32, launch<all_in_f32>, (const void *)step_persistent<all_in_f32>,
    WARPS,        0};
const variant persistent_bf16_f32 = {
    "persistent", FOPT_BF16, FOPT_BF16, FOPT_F32, launch<state_in_f32>, (const void *)step_persistent<state_in_f32>,
    WARPS,        0};
const variant persistent_bf16 = {
    "persistent", FOPT_BF16, FOPT_BF16, FOPT_BF16, launch<all_in_bf16>, (const void *)step_persistent<all_in_bf16>,
    WARPS,        0};
