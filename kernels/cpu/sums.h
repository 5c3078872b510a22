/* The sums of squares of gradients, as a template beside walk.h: its files name what this defines, FOPT_I_SUM. */
#include "../norm.h"
#include "codec.h"
#include "isa.h"

FOPT_FN void add_neighbours(size_t count, const float *restrict in, float *restrict out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = in[2 * i] + in[2 * i + 1];
}

static float sum_squares(uint32_t largest, const float *restrict x)
{
    const fopt_i_tile_scale scale = fopt_i_tile_scale_of(largest);
    _Alignas(64) float a[FOPT_I_TILE], b[FOPT_I_TILE / 2];
    for (size_t i = 0; i < FOPT_I_TILE; i++)
        a[i] = fopt_i_scaled_square(scale, x[i]);
    add_neighbours(128, a, b);
    add_neighbours(64, b, a);
    add_neighbours(32, a, b);
    add_neighbours(16, b, a);
    add_neighbours(8, a, b);
    add_neighbours(4, b, a);
    return (a[0] + a[1]) + (a[2] + a[3]);
}

static fopt_i_sum_part sum_tile(const float *x)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < FOPT_I_TILE; i++) {
        const uint32_t magnitude = fopt_i_bits(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    const bool finite = largest < 0x7f800000u;
    return fopt_i_sum_part_of(largest, finite && largest != 0 ? sum_squares(largest, x) : 0.0f);
}

/* Adds the tiles [tile, end) of a tensor or shard. */
static void sum_record(const fopt_i_record *r, uint64_t tile, uint64_t end, fopt_i_sum *sum)
{
    _Alignas(64) float buffer[FOPT_I_TILE];
    for (; tile < end; tile++) {
        const uint64_t rest = r->count - tile * FOPT_I_TILE;
        const size_t count = rest < FOPT_I_TILE ? (size_t)rest : FOPT_I_TILE;
        const void *grad = fopt_i_at_tile(r->grad, r->grad_format, tile);
        const float *x = buffer;
        if (count < FOPT_I_TILE)
            memset(buffer, 0, sizeof buffer);
        if (count == FOPT_I_TILE && r->grad_format == FOPT_F32)
            x = grad;
        else
            fopt_i_load(r->grad_format, grad, count, buffer);
        const fopt_i_sum_part part = sum_tile(x);
        sum->word[part.word] += part.low;
        sum->word[part.word + 1] += part.high;
    }
}

static void sum(const fopt_i_cpu_job *job, uint64_t first, uint64_t count, fopt_i_sum *to)
{
    const uint64_t end = first + count;
    for (const fopt_i_record *r = fopt_i_find_record(job->records, job->record_count, first); first < end; r++) {
        const uint64_t here = fopt_i_tiles_until(r, end) - first;
        if (r->grad)
            sum_record(r, first - r->first_tile, first - r->first_tile + here, to);
        first += here;
    }
}

fopt_i_cpu_sum *const FOPT_I_SUM = sum;
