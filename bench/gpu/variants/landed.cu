/* The library's own kernels, of the two loops that are raced. */
#include "variant.h"

#undef FOPT_I_LOOPS
#define FOPT_I_LOOPS(X)                                                                                                \
    X(adam, plain, FOPT_I_FIRST | FOPT_I_SECOND, false)                                                                \
    X(adam, quantized, FOPT_I_FIRST | FOPT_I_SECOND, true)
#include "../../../kernels/cuda/step.cu"

template <class Loop> static cudaError_t launch(const fopt_i_cuda_tables &tables)
{
    uint32_t multiprocessors = 0;
    const cudaError_t error = fopt_i_cuda_multiprocessors(&multiprocessors);
    return error ? error : launch_tables<Loop>(&tables, 0, tables.tile_count, multiprocessors, NULL);
}

template <class Loop> static variant landed(fopt_format param, fopt_format grad, fopt_format state)
{
    return {"landed", param, grad, state, launch<Loop>, (const void *)step_tables<Loop>, WARPS, 0};
}

const variant landed_f32 = landed<adam_plain>(FOPT_F32, FOPT_F32, FOPT_F32);
const variant landed_bf16_f32 = landed<adam_plain>(FOPT_BF16, FOPT_BF16, FOPT_F32);
const variant landed_bf16 = landed<adam_plain>(FOPT_BF16, FOPT_BF16, FOPT_BF16);
const variant landed_bf16_q8 = landed<adam_quantized>(FOPT_BF16, FOPT_BF16, FOPT_Q8);
const variant landed_f32_q8 = landed<adam_quantized>(FOPT_F32, FOPT_F32, FOPT_Q8);
