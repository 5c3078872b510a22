/*
 * Adam with two moments in 8 bits: the fast step of a tile, and the tables in shared memory that it decodes and encodes
 * by. A block has shared memory for itself and takes as many tiles as there are for it.
 */
#ifndef FUSEDOPT_GPU_Q8_CUH
#define FUSEDOPT_GPU_Q8_CUH

#include "tensor.cuh"

typedef formats<FOPT_BF16, FOPT_BF16, FOPT_Q8> bf16_q8;
typedef formats<FOPT_F32, FOPT_F32, FOPT_Q8> f32_q8;

/* ---- tables in shared memory ---------------------------------------------------------------------------------- */

/* Each lane has a copy of both maps of its own, so that no two lanes meet in a bank. A row is a code's: its value with
 * a sign for all lanes, then without. The rows lie at a multiple of 64 KiB: there the address of a look-up is put
 * together of bytes, the code's and the lane's. */
struct q8_rows {
    float value[256][2][32];
};
struct q8_tables {
    fopt_i_maps maps; /* for tiles that go the general way */
    uint32_t bins[2][BINS];
};

/* The shared memory of a block, in bytes. A GPU's begins at 0, or after a KiB that the system keeps, so that the rows
 * are at 64 KiB; the emulator's may begin anywhere. */
#ifdef __CUDACC__
enum { Q8_SHARED_BYTES = 2 * 65536 };
#else
enum { Q8_SHARED_BYTES = 3 * 65536 };
#endif

/* Returns the address of the rows. */
__device__ __forceinline__ uint32_t rows_address()
{
    const uint32_t begin = shared_address(dynamic_shared);
    const uint32_t rows = (begin + (uint32_t)sizeof(q8_tables) + 65535u) & ~65535u;
    if (rows - begin + sizeof(q8_rows) > Q8_SHARED_BYTES)
        __trap();
    return rows;
}

/* Both, as a lane sees them. */
struct q8_shared {
    const q8_tables *tables;
    uint32_t rows; /* the address of the lane's own first value */
};

/* Fills both. */
template <unsigned warps> __device__ __forceinline__ q8_shared share_tables(const uint32_t *bins)
{
    q8_tables *const tables = (q8_tables *)dynamic_shared;
    const uint32_t rows = rows_address();
    float *const value = (float *)(dynamic_shared + (rows - shared_address(dynamic_shared)));
    fopt_i_share(tables->maps.q8, fopt_i_q8_literals);
    for (uint32_t i = threadIdx.x; i < 2 * BINS; i += warps * 32)
        ((uint32_t *)tables->bins)[i] = bins[i];
    for (uint32_t i = threadIdx.x; i < sizeof(q8_rows) / sizeof(float); i += warps * 32) {
        const uint32_t code = i / 64;
        value[i] = i / 32 % 2 ? fopt_i_q8_literals.without_sign.value[code] : fopt_i_q8_literals.with_sign.value[code];
    }
    __syncthreads();
    return {tables, rows + threadIdx.x % 32 * (uint32_t)sizeof(float)};
}

/* ---- codes ---------------------------------------------------------------------------------------------------- */

enum { WITH_SIGN = 0, WITHOUT_SIGN = 1 };

/* Decodes byte i of a word. */
template <uint32_t map, uint32_t i> __device__ __forceinline__ float value_of(uint32_t word, uint32_t rows)
{
    return load_shared<32 * sizeof(float) * map>(permute<0x7604u | i << 4>(word, rows));
}

template <uint32_t map> __device__ __forceinline__ void decode_codes(uint2 raw, uint32_t rows, float absmax, float *x)
{
    x[0] = value_of<map, 0>(raw.x, rows) * absmax, x[1] = value_of<map, 1>(raw.x, rows) * absmax;
    x[2] = value_of<map, 2>(raw.x, rows) * absmax, x[3] = value_of<map, 3>(raw.x, rows) * absmax;
    x[4] = value_of<map, 0>(raw.y, rows) * absmax, x[5] = value_of<map, 1>(raw.y, rows) * absmax;
    x[6] = value_of<map, 2>(raw.y, rows) * absmax, x[7] = value_of<map, 3>(raw.y, rows) * absmax;
}

/* Adds its bin to the bits of y, which is 0 or from 2^-30 to a little above 1. */
template <uint32_t map> __device__ __forceinline__ uint32_t binned(const q8_tables *tables, float y)
{
    const uint32_t bits = fopt_i_bits(y);
    return bits + *(const uint32_t *)((const char *)tables->bins[map] + (bits >> 14 & 4 * (BINS - 1)));
}

/* Returns two codes with a sign, one in each half: 127 more or less by the magnitude. An upper half from a bin is twice
 * that, and maybe 1 more; exclusive or with the sign's bits makes it two's complement less 1. -1 has no code. */
__device__ __forceinline__ uint32_t signed_pair(uint32_t w0, uint32_t w1, float x0, float x1)
{
    const uint32_t h = permute<0x7632>(w0, w1) ^ permute<0xffbb>(fopt_i_bits(x0), fopt_i_bits(x1));
    return add_not_negative(h, 0x00ff00ffu) >> 1;
}

__device__ __forceinline__ uint32_t signed_codes(const uint32_t *w, const float *x)
{
    return permute<0x6420>(signed_pair(w[0], w[1], x[0], x[1]), signed_pair(w[2], w[3], x[2], x[3]));
}

__device__ __forceinline__ uint32_t unsigned_codes(const uint32_t *w)
{
    return permute<0x5410>(permute<0x0062>(w[0], w[1]), permute<0x0062>(w[2], w[3]));
}

template <uint32_t map> __device__ __forceinline__ uint2 encode(const q8_tables *tables, const float *y, const float *x)
{
    uint32_t w[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        w[i] = binned<map>(tables, y[i]);
    return map == WITH_SIGN ? make_uint2(signed_codes(w, x), signed_codes(w + 4, x + 4))
                            : make_uint2(unsigned_codes(w), unsigned_codes(w + 4));
}

/* ---- a tile --------------------------------------------------------------------------------------------------- */

/* A lane's part of a tile, as it was loaded. */
template <class F> struct fetched {
    raw8<F, F::param> param;
    raw8<F, F::grad> grad;
    uint2 first, second;
    float first_absmax, second_absmax;

    __device__ __forceinline__ void fetch(const tensor_now &t, uint32_t own)
    {
        grad.fetch(t.grad + (uint64_t)own * tile_bytes<F::grad>());
        first = load<F>((const uint2 *)(t.first + (uint64_t)own * FOPT_I_TILE));
        second = load<F>((const uint2 *)(t.second + (uint64_t)own * FOPT_I_TILE));
        first_absmax = load<F>((const float *)t.first_absmax + own);
        second_absmax = load<F>((const float *)t.second_absmax + own);
        param.fetch(t.param + (uint64_t)own * tile_bytes<F::param>());
    }
};

/* The least positive number to encode: so that the exponents need five bits. */
#define LEAST_ENCODED_BITS ((127u - 30u) << 23)

/* The least positive absmax, so that no moment is below MIDDLE_LEAST. */
#define LEAST_ABSMAX_BITS   ((127u - 69u) << 23)
#define LARGEST_ABSMAX_BITS ((127u + 60u) << 23)

/* Returns whether the tile's moments are in the middle and can be encoded by bins; zeros always are. y and z: the
 * quotients to encode. */
__device__ __forceinline__ bool can_be_encoded(uint32_t first_bits, uint32_t second_bits, const float *y,
                                               const float *z)
{
    if (!__all_sync(ALL_LANES, min(least_of(y), least_of(z)) >= LEAST_ENCODED_BITS) &&
        !__all_sync(ALL_LANES, least_positive(z, least_positive(y, 0xffffffffu)) >= LEAST_ENCODED_BITS))
        return false;
    return first_bits <= LARGEST_ABSMAX_BITS && second_bits <= MIDDLE_V_BITS &&
           min(first_bits - 1, second_bits - 1) >= LEAST_ABSMAX_BITS;
}

template <class F>
__device__ __forceinline__ void put_codes(const q8_tables *tables, const tensor_now &t, uint32_t own, uint32_t lane,
                                          const float *m, const float *v, const float *y, const float *z,
                                          float first_absmax, float second_absmax)
{
    store<F>((uint2 *)(t.first + (uint64_t)own * FOPT_I_TILE), encode<WITH_SIGN>(tables, y, m));
    store<F>((uint2 *)(t.second + (uint64_t)own * FOPT_I_TILE), encode<WITHOUT_SIGN>(tables, z, v));
    if (lane == 0) {
        store<F>(t.first_absmax + own, first_absmax);
        store<F>(t.second_absmax + own, second_absmax);
    }
}

/* Steps a tile. Returns false, and has stored nothing, if it must go the general way. */
template <class F>
__device__ __forceinline__ bool step_fast(const q8_shared &shared, const tensor_now &t, uint32_t own, uint32_t lane,
                                          const fetched<F> &f)
{
    float g[8], m[8], v[8], y[8], z[8];
    f.grad.decode(g);
    decode_codes<WITH_SIGN>(f.first, shared.rows, f.first_absmax, m);
    decode_codes<WITHOUT_SIGN>(f.second, shared.rows, f.second_absmax, v);
    next_moments(t, g, m, v);
    const uint32_t first_bits = warp_max(fopt_i_bits(most_magnitude(m))), second_bits = warp_max(most_of(v));
    const float first_absmax = fopt_i_float(first_bits), second_absmax = fopt_i_float(second_bits);
    const float first_scale = mid_reciprocal(first_absmax + ALMOST_ZERO);
    const float second_scale = mid_reciprocal(second_absmax + ALMOST_ZERO);
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        y[i] = fabsf(m[i]) * first_scale;
        z[i] = v[i] * second_scale;
    }
    if (!can_be_encoded(first_bits, second_bits, y, z))
        return false;
    __syncwarp(); /* all have read the old absmax */
    put_codes<F>(shared.tables, t, own, lane, m, v, y, z, first_absmax, second_absmax);
    step_params<F>(t, f.param, m, v, t.param + (uint64_t)own * tile_bytes<F::param>());
    return true;
}

__device__ __forceinline__ void step_quantized(const q8_shared &shared, const fopt_i_cuda_tables &tables,
                                               uint32_t index, uint32_t own, uint32_t lane)
{
    step_general<adam_quantized>(tables, index, own, &shared.tables->maps, lane);
}

#endif
