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
/* Eight lanes, which are served together, have a copy of the bins each. */
struct q8_tables {
    fopt_i_q8_bin signed_bins[32 << FOPT_I_Q8_SIGNED_BITS][8], unsigned_bins[32 << FOPT_I_Q8_UNSIGNED_BITS][8];
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

template <unsigned warps, uint32_t count>
__device__ __forceinline__ void share_bins(fopt_i_q8_bin (*shared)[8], const fopt_i_q8_bin (&literals)[count])
{
    for (uint32_t i = threadIdx.x; i < 8 * count; i += warps * 32)
        shared[i / 8][i % 8] = literals[i / 8];
}

/* Fills both. */
template <unsigned warps> __device__ __forceinline__ q8_shared share_tables()
{
    q8_tables *const tables = (q8_tables *)dynamic_shared;
    const uint32_t rows = rows_address();
    float *const value = (float *)(dynamic_shared + (rows - shared_address(dynamic_shared)));
    share_bins<warps>(tables->signed_bins, fopt_i_q8_literals.signed_bins);
    share_bins<warps>(tables->unsigned_bins, fopt_i_q8_literals.unsigned_bins);
    for (uint32_t i = threadIdx.x; i < sizeof(q8_rows) / sizeof(float); i += warps * 32) {
        const uint32_t code = i / 64;
        value[i] = i / 32 % 2 ? fopt_i_q8_literals.unsigned_value[code] : fopt_i_q8_literals.signed_value[code];
    }
    fopt_i_share_maps(); /* for tiles that go the general way */
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

/* Returns fopt_i_q8_place() in bits, doubled: byte 2 of that plus 16 bits is the code. */
template <uint32_t map>
__device__ __forceinline__ uint32_t doubled_place(const q8_tables *tables, uint32_t lane, float x, float scale)
{
    const uint32_t mantissa_bits = map == WITH_SIGN ? FOPT_I_Q8_SIGNED_BITS : FOPT_I_Q8_UNSIGNED_BITS;
    const float y = fopt_i_q8_argument(x, scale);
    const uint32_t i = fopt_i_bits(y) >> (23 - mantissa_bits) & ((32u << mantissa_bits) - 1);
    const fopt_i_q8_bin bin = map == WITH_SIGN ? tables->signed_bins[i][lane % 8] : tables->unsigned_bins[i][lane % 8];
    const float a = fmaf(y, bin.slope, bin.offset), b = fmaf(y, bin.other_slope, bin.other_offset);
    const float least = a < b ? a : b;
    return 2 * fopt_i_bits(map == WITH_SIGN ? 256.0f + FOPT_I_Q8_ZERO + copysignf(least, x) : least);
}

/* Returns byte 2 of four words. */
__device__ __forceinline__ uint32_t packed(const uint32_t *w)
{
    return permute<0x5410>(permute<0x0062>(w[0], w[1]), permute<0x0062>(w[2], w[3]));
}

/* Returns 0xff in the bytes that are equal. */
__device__ __forceinline__ uint32_t equal_bytes(uint32_t a, uint32_t b)
{
    const uint32_t x = a ^ b, t = (x & 0x7f7f7f7fu) + 0x7f7f7f7fu; /* highest bits: one below is set */
    return permute<0xba98>(~(t | x), 0);
}

__device__ __forceinline__ uint2 second_codes(const q8_tables *tables, uint32_t lane, const float *v, float scale,
                                              uint32_t random)
{
    uint32_t w[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        w[i] = v[i] > 0.0f ? doubled_place<WITHOUT_SIGN>(tables, lane, v[i], scale) + fopt_i_random_of(random, i) : 0;
    return make_uint2(packed(w), packed(w + 4));
}

/* The codes of the nearest values, but random ones where these are the old ones. */
__device__ __forceinline__ uint2 first_codes(const q8_tables *tables, uint32_t lane, const float *m, float scale,
                                             uint2 old, uint32_t random)
{
    uint32_t nearest[8], drawn[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t place = doubled_place<WITH_SIGN>(tables, lane, m[i], scale);
        nearest[i] = place + 0x8000u;
        drawn[i] = place + (fopt_i_random_of(random, i) & 0xfffeu);
    }
    const uint2 n = make_uint2(packed(nearest), packed(nearest + 4)), d = make_uint2(packed(drawn), packed(drawn + 4));
    const uint32_t x = equal_bytes(n.x, old.x), y = equal_bytes(n.y, old.y);
    return make_uint2((d.x & x) | (n.x & ~x), (d.y & y) | (n.y & ~y));
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

/* Returns what fopt_i_q8_scale() does. */
__device__ __forceinline__ float scale_of(float largest, fopt_state_kind kind)
{
    return fopt_i_reciprocal(fopt_i_q8_floored(largest, kind)) *
           (fopt_i_has_sign(kind) ? FOPT_I_Q8_SIGNED_LARGEST : FOPT_I_Q8_UNSIGNED_LARGEST);
}

/* Steps a tile. Returns false, and has stored nothing, if it must go the general way. */
template <class F>
__device__ __forceinline__ bool step_fast(const q8_shared &shared, const tensor_now &t, uint32_t own, uint32_t lane,
                                          const fetched<F> &f)
{
    float g[8], m[8], v[8];
    f.grad.decode(g);
    decode_codes<WITH_SIGN>(f.first, shared.rows, f.first_absmax, m);
    decode_codes<WITHOUT_SIGN>(f.second, shared.rows, f.second_absmax, v);
    next_moments(t, g, m, v);
    if (!in_the_middle(m, v))
        return false;
    __syncwarp(); /* all have read the old absmax */
    const float first = fopt_i_float(warp_max(fopt_i_bits(most_magnitude(m))));
    const float second = fopt_i_float(warp_max(most_of(v)));
    const uint32_t random = random_of(t, own);
    store<F>((uint2 *)(t.first + (uint64_t)own * FOPT_I_TILE),
             first_codes(shared.tables, lane, m, scale_of(first, FOPT_FIRST_MOMENT), f.first, random));
    store<F>((uint2 *)(t.second + (uint64_t)own * FOPT_I_TILE),
             second_codes(shared.tables, lane, v, scale_of(second, FOPT_SECOND_MOMENT), random));
    if (lane == 0) {
        store<F>(t.first_absmax + own, fopt_i_q8_absmax(first, FOPT_FIRST_MOMENT));
        store<F>(t.second_absmax + own, fopt_i_q8_absmax(second, FOPT_SECOND_MOMENT));
    }
    step_params<F>(t, f.param, m, v, t.param + (uint64_t)own * tile_bytes<F::param>());
    return true;
}

__device__ __forceinline__ void step_quantized(const q8_shared &shared, const fopt_i_cuda_tables &tables,
                                               uint32_t index, uint32_t own, uint32_t lane)
{
    step_general<adam_quantized>(tables, index, own, lane);
}

#endif
