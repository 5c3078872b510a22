/* What slots.py counts: the step of one ordinary tile by one warp, of a tensor that was looked up. */
#include "../../kernels/cuda/step_tile.cuh"

template <class Loop, unsigned param, unsigned grad, unsigned state>
__global__ void __launch_bounds__(256) tile_step(const __grid_constant__ tensor t)
{
    if (!step_with_formats<Loop, param, grad, state>(t, threadIdx.x / FOPT_I_WARP, threadIdx.x % FOPT_I_WARP))
        __trap();
}

#define COUNT(loop, param, grad, state)                                                                                \
    template __global__ void tile_step<loop, FOPT_##param, FOPT_##grad, FOPT_##state>(const __grid_constant__ tensor);
COUNT(sgd_plain, F32, F32, F32)
COUNT(sgd_momentum, F32, F32, F32)
COUNT(sgd_momentum_quantized, BF16, BF16, Q8)
COUNT(rmsprop_plain, F32, F32, F32)
COUNT(rmsprop_quantized, BF16, BF16, Q8)
COUNT(adam_plain, F32, F32, F32)
COUNT(adam_plain, BF16, BF16, F32)
COUNT(adam_plain, BF16, BF16, BF16)
COUNT(adam_amsgrad, F32, F32, F32)
COUNT(adam_quantized, F32, F32, Q8)
COUNT(adam_quantized, BF16, BF16, Q8)
COUNT(adam_quantized, BF16, BF16, Q8_64)
