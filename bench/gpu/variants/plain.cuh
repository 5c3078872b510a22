/* Adam with two moments in f32, or two in bf16: the fast step of a tile, for kernels that differ in who takes which. */
#ifndef FUSEDOPT_GPU_PLAIN_CUH
#define FUSEDOPT_GPU_PLAIN_CUH

#include "tensor.cuh"

typedef formats<FOPT_F32, FOPT_F32, FOPT_F32> all_in_f32;

/* A lane's part of a tile, as it was loaded. */
template <class F> struct fetched {
    raw8<F, F::param> param;
    raw8<F, F::grad> grad;
    raw8<F, F::state> first, second;

    __device__ __forceinline__ void fetch(const tensor_now &t, uint32_t own)
    {
        grad.fetch(t.grad + (uint64_t)own * tile_bytes<F::grad>());
        first.fetch(t.first + (uint64_t)own * tile_bytes<F::state>());
        second.fetch(t.second + (uint64_t)own * tile_bytes<F::state>());
        param.fetch(t.param + (uint64_t)own * tile_bytes<F::param>());
    }
};

/* Rounds two moments with the halves of one random word. */
__device__ __forceinline__ uint32_t random_pair(float low, float high, uint32_t random)
{
    return permute<0x7632>(fopt_i_bits(low) + (random & 0xffffu), fopt_i_bits(high) + (random >> 16));
}

template <class F>
__device__ __forceinline__ void put_moments(const tensor_now &t, uint32_t own, uint32_t lane, float *m, const float *v)
{
    char *const first = t.first + (uint64_t)own * tile_bytes<F::state>();
    char *const second = t.second + (uint64_t)own * tile_bytes<F::state>();
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        m[i] += 0.0f; /* no -0 */
    if constexpr (F::state == FOPT_F32) {
        raw_of_f32<F>(m).put(first);
        raw_of_f32<F>(v).put(second);
    } else {
        raw8<F, FOPT_BF16> raw;
        const uint32_t octet = random_of(t, own);
        uint32_t random[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            random[i] = fopt_i_random_pair(octet, i);
        raw.a = make_uint4(random_pair(m[0], m[1], random[0]), random_pair(m[2], m[3], random[1]),
                           random_pair(m[4], m[5], random[2]), random_pair(m[6], m[7], random[3]));
        raw.put(first);
        raw.a = make_uint4(random_pair(v[0], v[1], random[0]), random_pair(v[2], v[3], random[1]),
                           random_pair(v[4], v[5], random[2]), random_pair(v[6], v[7], random[3]));
        raw.put(second);
    }
}

/* Steps a tile. Returns false, and has stored nothing, if it must go the general way. */
template <class F>
__device__ __forceinline__ bool step_fast(const tensor_now &t, uint32_t own, uint32_t lane, const fetched<F> &f)
{
    float g[8], m[8], v[8];
    f.grad.decode(g);
    f.first.decode(m);
    f.second.decode(v);
    next_moments(t, g, m, v);
    if (!in_the_middle(m, v))
        return false;
    step_params<F>(t, f.param, m, v, t.param + (uint64_t)own * tile_bytes<F::param>());
    put_moments<F>(t, own, lane, m, v);
    return true;
}

/* Fetches and steps a tile of the tensor; returns false if it must go the general way. */
template <class F> __device__ __forceinline__ bool try_tile(const tensor_now &t, uint32_t own, uint32_t lane)
{
    if (own >= t.fast_tiles)
        return false;
    fetched<F> f;
    f.fetch(t, own);
    return step_fast<F>(t, own, lane, f);
}

__device__ __forceinline__ void step_plain(const fopt_i_cuda_tables &tables, uint32_t index, uint32_t own,
                                           uint32_t lane)
{
    step_general<adam_plain>(tables, index, own, lane);
}

#endif
