/* Synthetic gradients: normal numbers from a pool, by sizes and means of each element. */
#include "state/gradients.h"
#include "machine/parallel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const gradients_names[GRADIENTS_KINDS] = {"dense", "embed", "spike", "norm", "decay", "stop"};

enum { POOL = 1 << 20 };

/* Draws a normal number, as the sum of twelve uniform ones: of 16 bits each, so that it is exact. */
static float draw_normal(splitmix *random)
{
    int32_t sum = -12 * 65535 / 2;
    for (int draw = 0; draw < 3; draw++) {
        const uint64_t bits = splitmix_next(random);
        for (int shift = 0; shift < 64; shift += 16)
            sum += (int32_t)(bits >> shift & 0xffff);
    }
    return (float)sum * 0x1p-16f;
}

static double draw_uniform(splitmix *random)
{
    return (double)(splitmix_next(random) >> 11) * 0x1p-53;
}

bool gradients_pool_new(uint64_t seed, gradients_pool *pool)
{
    *pool = (gradients_pool){malloc(POOL * sizeof *pool->normals), {seed}};
    for (size_t i = 0; i < POOL && pool->normals; i++)
        pool->normals[i] = draw_normal(&pool->random);
    return pool->normals;
}

void gradients_pool_free(gradients_pool *pool)
{
    free(pool->normals);
}

/* ---- sizes and means ----------------------------------------------------------------------------------------- */

static double size_of(gradients_kind kind, size_t element, splitmix *random)
{
    static const double base = 1e-3;
    switch (kind) {
    case GRADIENTS_EMBED:
        return base;
    case GRADIENTS_NORM:
        return base * exp(2 * (double)draw_normal(random));
    case GRADIENTS_STOP:
        return pow(10, -4.0 * (double)(element % GRADIENTS_NEIGHBOURS) / GRADIENTS_NEIGHBOURS);
    default:
        return base * exp(0.5 * (double)draw_normal(random));
    }
}

/* Gives each row the probability of its place in a shuffled order. Returns NULL if memory is lacking. */
static double *make_hits(size_t elements, splitmix *random)
{
    const size_t rows = (elements + GRADIENTS_ROW - 1) / GRADIENTS_ROW;
    double *hits = malloc(rows * sizeof *hits);
    size_t *places = malloc(rows * sizeof *places);
    if (hits && places) {
        for (size_t row = 0; row < rows; row++)
            places[row] = row;
        splitmix_shuffle(random, places, rows);
        for (size_t row = 0; row < rows; row++)
            hits[row] = fmin(0.9, 2 / pow(1 + (double)places[row], 1.1));
    }
    free(places);
    return hits;
}

bool gradients_new(const gradients_pool *pool, gradients_kind kind, size_t elements, size_t steps, size_t spike,
                   gradients *made)
{
    *made = (gradients){kind,
                        elements,
                        steps,
                        spike,
                        pool,
                        pool->random,
                        malloc(elements * sizeof(float)),
                        malloc(elements * sizeof(float)),
                        NULL};
    if (!made->sizes || !made->means)
        return false;
    for (size_t i = 0; i < elements; i++) {
        made->sizes[i] = (float)size_of(kind, i, &made->random);
        const bool negative = splitmix_next(&made->random) >> 63;
        made->means[i] = kind == GRADIENTS_STOP ? 0 : made->sizes[i] * (negative ? -0.1f : 0.1f);
    }
    if (kind == GRADIENTS_EMBED)
        made->hits = make_hits(elements, &made->random);
    return made->hits || kind != GRADIENTS_EMBED;
}

void gradients_free(gradients *made)
{
    free(made->sizes);
    free(made->means);
    free(made->hits);
}

/* ---- a step -------------------------------------------------------------------------------------------------- */

FOR_EACH_ISA
static void fill(const float *normals, const float *sizes, const float *means, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = normals[i] * sizes[i] + means[i];
}

static void clear_rows(gradients *g, float *out)
{
    for (size_t begin = 0; begin < g->elements; begin += GRADIENTS_ROW)
        if (draw_uniform(&g->random) >= g->hits[begin / GRADIENTS_ROW])
            for (size_t i = begin; i < begin + GRADIENTS_ROW && i < g->elements; i++)
                out[i] = 0;
}

void gradients_next(gradients *g, size_t t, float *out)
{
    const size_t offset = (size_t)(splitmix_next(&g->random) % (POOL - GRADIENTS_MOST));
    if (g->kind == GRADIENTS_STOP && t > GRADIENTS_FEW)
        memset(out, 0, g->elements * sizeof *out);
    else
        fill(g->pool->normals + offset, g->sizes, g->means, g->elements, out);

    if (g->kind == GRADIENTS_EMBED)
        clear_rows(g, out);
    if (g->kind == GRADIENTS_STOP || (g->kind == GRADIENTS_SPIKE && t == g->spike))
        for (size_t i = 0; i < g->elements; i += GRADIENTS_NEIGHBOURS)
            out[i] = 1;
    if (g->kind == GRADIENTS_DECAY) {
        const float factor = (float)pow(10, -4.0 * (double)t / (double)g->steps);
        for (size_t i = 0; i < g->elements; i++)
            out[i] *= factor;
    }
}
