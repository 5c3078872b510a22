/*
 * Judges, on a GPU, the roots and quotients of ordinary tiles (kernels/roots.h):
 *   fusedopt_exact [K]      does 1 / 2^K of the work
 * Double precision holds the products exactly by which it judges: a result is right if the argument lies between what
 * the midpoints to its neighbours give. Prints a line for each check, and exits 1 if any number was wrong.
 */
#include "../../kernels/random.h"
#include "../../kernels/roots.h"
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

enum { BLOCK = 256, MOST_BLOCKS = 4096 };

#define CHECKS(X)                                                                                                      \
    X(ROOT, "roots from 2^-101 up")                                                                                    \
    X(ROOT_TWIN, "the same, against sqrtf")                                                                            \
    X(RECIPROCAL, "reciprocals from 2^-125 to 2^125")                                                                  \
    X(RECIPROCAL_TWIN, "the same, against 1 / x")                                                                      \
    X(RANDOM, "quotients of random pairs")                                                                             \
    X(RANDOM_TWIN, "the same, against a / b")                                                                          \
    X(HARD, "quotients next to a midpoint")                                                                            \
    X(DOUBTFUL, "quotients that a seed 1 ULP off would spoil")                                                         \
    X(ZERO, "roots and quotients of zero")
#define ENUMERATOR(name, text) name,
#define TEXT(name, text)       text,
enum { CHECKS(ENUMERATOR) CHECK_COUNT };
static const char *const texts[] = {CHECKS(TEXT)};

typedef unsigned long long count;
struct counters {
    count made[CHECK_COUNT], wrong[CHECK_COUNT];
};

/* One thread's count of a check. */
struct tally {
    count made = 0, wrong = 0;

    __device__ __forceinline__ void add(bool right)
    {
        made++;
        wrong += !right;
    }
    __device__ __forceinline__ void give(counters *all, int check) const
    {
        atomicAdd(&all->made[check], made);
        atomicAdd(&all->wrong[check], wrong);
    }
};

/* ---- what is right ------------------------------------------------------------------------------------------- */

/* Return the midpoints between a positive normal float and its neighbours. */
static __device__ __forceinline__ double below(float x)
{
    return 0.5 * ((double)x + (double)fopt_i_float(fopt_i_bits(x) - 1));
}

static __device__ __forceinline__ double above(float x)
{
    return 0.5 * ((double)x + (double)fopt_i_float(fopt_i_bits(x) + 1));
}

/* Tell whether s or q is rounded right. No root or quotient of floats is itself a midpoint, unless it is subnormal. */
static __device__ __forceinline__ bool is_root(float s, float x)
{
    return below(s) * below(s) < x && x < above(s) * above(s);
}

static __device__ __forceinline__ bool is_quotient(float q, float a, float b)
{
    return below(q) * b < a && a < above(q) * b;
}

/* ---- the checks ---------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ uint64_t thread_index()
{
    return (uint64_t)blockIdx.x * BLOCK + threadIdx.x;
}

static __device__ __forceinline__ uint64_t thread_count()
{
    return (uint64_t)gridDim.x * BLOCK;
}

/* Checks roots and reciprocals of all floats, or of one in each run of 2^k. */
static __global__ void __launch_bounds__(BLOCK) check_floats(counters *all, unsigned k)
{
    const uint32_t least_root = (127u - 101u) << 23, first = 2u << 23,
                   end = 0x7f7fffffu; /* the largest has no neighbour */
    tally root, root_twin, reciprocal, reciprocal_twin;
    for (uint64_t i = thread_index(); i < (end - first) >> k; i += thread_count()) {
        const uint32_t within = (uint32_t)fopt_i_mix(i) & ((1u << k) - 1u);
        const float x = fopt_i_float(first + ((uint32_t)i << k) + within);
        if (fopt_i_bits(x) >= least_root) {
            const float s = fopt_i_root(true, x);
            root.add(is_root(s, x));
            root_twin.add(s == sqrtf(x));
        }
        if (x >= 0x1p-125f && x <= 0x1p125f) {
            const float r = fopt_i_reciprocal(x);
            reciprocal.add(is_quotient(r, 1.0f, x));
            reciprocal_twin.add(r == 1.0f / x);
        }
    }
    root.give(all, ROOT);
    root_twin.give(all, ROOT_TWIN);
    reciprocal.give(all, RECIPROCAL);
    reciprocal_twin.give(all, RECIPROCAL_TWIN);
}

/* Checks 2^33 pairs with exponents from -30 to 29; every other divisor is just below a power of two, where 1 / b is
 * hardest. */
static __global__ void __launch_bounds__(BLOCK) check_random(counters *all, unsigned k)
{
    tally quotient, twin;
    for (uint64_t i = thread_index(); i < (uint64_t)1 << 33 >> k; i += thread_count()) {
        const uint64_t bits = fopt_i_mix(i), more = bits * 0x94d049bb133111ebu >> 32;
        const uint32_t near_two = i & 1u ? 0x7fff00u : 0u;
        const float a = fopt_i_float(((uint32_t)bits & 0x7fffffu) | (97u + (uint32_t)(more >> 8) % 60u) << 23);
        const float b =
            fopt_i_float(((uint32_t)(bits >> 32) & 0x7fffffu) | near_two | (97u + (uint32_t)more % 60u) << 23);
        const float q = fopt_i_quotient(true, a, b);
        quotient.add(is_quotient(q, a, b));
        twin.add(q == a / b);
    }
    quotient.give(all, RANDOM);
    twin.give(all, RANDOM_TWIN);
}

static __device__ uint64_t power_modulo(uint64_t base, uint32_t exponent, uint64_t modulus)
{
    uint64_t result = 1 % modulus;
    for (base %= modulus; exponent != 0; exponent /= 2) {
        if (exponent % 2)
            result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

/* Checks the hard quotients by one divisor. Before its last rounding a quotient is off by less than 1.75 * 2^-23 units,
 * so that it can be wrong only where a / b is as near to a midpoint: with significands A and B of 24 bits, where A 2^s
 * is within 16 of an odd multiple of B. For each distance J, A is J times the inverse of 2^s modulo B. */
static __device__ void check_divisor(uint32_t significand, tally &t)
{
    const int most = 15;
    const uint32_t twos = (uint32_t)__ffs((int)significand) - 1, odd = significand >> twos;
    if (twos > 3) /* then no such distance is a multiple of 2^twos but 0 */
        return;
    const float b = fopt_i_float(0x3f800000u | (significand & 0x7fffffu));
    for (uint32_t s = 24; s <= 25; s++) { /* A at least B, or less */
        const uint64_t inverse = power_modulo((odd + 1u) / 2, s - twos, odd);
        for (int j = -(most >> twos); j <= most >> twos; j++) {
            const uint64_t residue = ((uint64_t)(j + (int)odd) % odd) * inverse % odd;
            for (uint64_t a = residue + ((1u << 23) + odd - 1 - residue) / odd * odd; a < 1u << 24; a += odd) {
                const uint64_t multiple = ((a << (s - twos)) - (uint64_t)(int64_t)j) / odd;
                if (j == 0 || (s == 24) != (a >= significand) || multiple % 2 == 0)
                    continue;
                const float x = fopt_i_float(0x3f800000u | ((uint32_t)a & 0x7fffffu));
                t.add(is_quotient(fopt_i_quotient(true, x, b), x, b));
            }
        }
    }
}

/* Checks every significand of a divisor, or one of each run of 2^k. */
static __global__ void __launch_bounds__(BLOCK) check_hard(counters *all, unsigned k)
{
    tally t;
    for (uint64_t i = thread_index(); i < 1u << 23 >> k; i += thread_count())
        check_divisor((1u << 23) + ((uint32_t)i << k) + ((uint32_t)fopt_i_mix(i) & ((1u << k) - 1u)), t);
    t.give(all, HARD);
}

/* Checks, by one thread, the pairs that an error of one unit in the seed of 1 / b would spoil, at many exponents; and
 * zeros. */
static __global__ void __launch_bounds__(BLOCK) check_pairs(counters *all)
{
    const float a[] = {0x1.ccccc4p+0f, 0x1.aaaaa6p+0f, 0x1p+0f, 0x1.db6daap+0f};
    const float b[] = {0x1.fffff6p+0f, 0x1.fffffap+0f, 0x1.fffffep+0f, 0x1.fffff2p+0f};
    tally doubtful, zero;
    for (int i = 0; i < 4; i++)
        for (int e = -60; e <= 60; e++) {
            const float x = ldexpf(a[i], e / 2), y = ldexpf(b[i], -(e / 3)), q = fopt_i_quotient(true, x, y);
            doubtful.add(is_quotient(q, x, y) && q == x / y);
        }
    zero.add(fopt_i_bits(fopt_i_root(true, 0.0f)) == 0);
    zero.add(fopt_i_bits(fopt_i_quotient(true, 0.0f, 1e-8f)) == 0);
    zero.add(fopt_i_bits(fopt_i_quotient(true, -0.0f, 1e-8f)) == 0);
    doubtful.give(all, DOUBTFUL);
    zero.give(all, ZERO);
}

/* ---- the program --------------------------------------------------------------------------------------------- */

static cudaError_t run(unsigned k, counters *found)
{
    counters *all = NULL;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(MOST_BLOCKS >> k > 0 ? MOST_BLOCKS >> k : 1);
    config.blockDim = dim3(BLOCK);
    cudaLaunchConfig_t single = config;
    single.gridDim = single.blockDim = dim3(1);
    cudaError_t error = cudaMalloc(&all, sizeof *all);
    if (!error)
        error = cudaMemset(all, 0, sizeof *all);
    if (!error)
        error = cudaLaunchKernelEx(&single, check_pairs, all);
    if (!error)
        error = cudaLaunchKernelEx(&config, check_floats, all, k);
    if (!error)
        error = cudaLaunchKernelEx(&config, check_random, all, k);
    if (!error)
        error = cudaLaunchKernelEx(&config, check_hard, all, k);
    if (!error)
        error = cudaMemcpy(found, all, sizeof *found, cudaMemcpyDeviceToHost);
    const cudaError_t freed = cudaFree(all);
    return error ? error : freed;
}

int main(int argc, char **argv)
{
    const unsigned long k = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (argc > 2 || k > 20) {
        fprintf(stderr, "usage: fusedopt_exact [K]      does 1 / 2^K of the work; K is at most 20\n");
        return 2;
    }
    counters found = {};
    const cudaError_t error = run((unsigned)k, &found);
    if (error) {
        fprintf(stderr, "fusedopt_exact: %s\n", cudaGetErrorString(error));
        return 2;
    }
    count wrong = 0;
    for (int i = 0; i < CHECK_COUNT; i++) {
        printf("%s: %llu wrong of %llu\n", texts[i], found.wrong[i], found.made[i]);
        wrong += found.wrong[i];
    }
    return wrong != 0;
}
