/* Sets of tensor sizes: one tensor, many small ones, and those of three known models. */
#include "time/shapes.h"
#include "reference/splitmix.h"
#include <stdlib.h>

const char *const shapes_names[SHAPES_SETS] = {"flat", "small", "gpt2", "resnet50", "llama"};

/* Adds a tensor. With no array it only counts: every set is walked twice. */
static void add(shapes *made, size_t count)
{
    if (made->counts)
        made->counts[made->tensors] = count;
    made->tensors++;
    made->params += count;
}

static void flat(shapes *made, size_t params, size_t scale)
{
    (void)scale;
    add(made, params);
}

/* Adds ten thousand tensors of 64 to 4096 elements. */
static void small(shapes *made, size_t params, size_t scale)
{
    (void)params;
    (void)scale;
    splitmix random = {10000};
    for (size_t i = 0; i < 10000; i++)
        add(made, 64 * (1 + splitmix_next(&random) % 64));
}

/* Adds weights and bias. */
static void add_affine(shapes *made, size_t inputs, size_t outputs)
{
    add(made, inputs * outputs);
    add(made, outputs);
}

static void add_norm(shapes *made, size_t width)
{
    add(made, width);
    add(made, width);
}

/* Adds the tensors of GPT-2 of 124M parameters; the output layer shares the token embedding. */
static void gpt2(shapes *made, size_t params, size_t scale)
{
    (void)params;
    (void)scale;
    const size_t width = 768;
    add(made, 50257 * width);
    add(made, 1024 * width);
    for (size_t layer = 0; layer < 12; layer++) {
        add_norm(made, width);
        add_affine(made, width, 3 * width);
        add_affine(made, width, width);
        add_norm(made, width);
        add_affine(made, width, 4 * width);
        add_affine(made, 4 * width, width);
    }
    add_norm(made, width);
}

/* Adds a convolution without bias, and its batch normalization. */
static void add_convolution(shapes *made, size_t inputs, size_t outputs, size_t side)
{
    add(made, inputs * outputs * side * side);
    add_norm(made, outputs);
}

/* Adds the tensors of ResNet-50 (He et al., Deep residual learning for image recognition, 2016, table 1). */
static void resnet50(shapes *made, size_t params, size_t scale)
{
    (void)params;
    (void)scale;
    static const size_t blocks[] = {3, 4, 6, 3};
    add_convolution(made, 3, 64, 7);
    size_t inputs = 64;
    for (size_t stage = 0; stage < sizeof blocks / sizeof *blocks; stage++) {
        const size_t width = (size_t)64 << stage;
        for (size_t block = 0; block < blocks[stage]; block++) {
            add_convolution(made, inputs, width, 1);
            add_convolution(made, width, width, 3);
            add_convolution(made, width, 4 * width, 1);
            if (block == 0)
                add_convolution(made, inputs, 4 * width, 1);
            inputs = 4 * width;
        }
    }
    add_affine(made, inputs, 1000);
}

/* Adds the tensors of Llama of 7B parameters as one tensor-parallel rank holds it: matrices are split, norms are
 * not. */
static void llama(shapes *made, size_t params, size_t scale)
{
    (void)params;
    const size_t width = 4096, inner = 11008, words = 32000;
    add(made, words * width / scale);
    for (size_t layer = 0; layer < 32; layer++) {
        for (size_t i = 0; i < 4; i++) /* query, key, value, output */
            add(made, width * width / scale);
        for (size_t i = 0; i < 3; i++) /* gate, up, down */
            add(made, width * inner / scale);
        add(made, width);
        add(made, width);
    }
    add(made, width);
    add(made, words * width / scale);
}

bool shapes_new(size_t set, size_t params, size_t scale, shapes *made)
{
    static void (*const sets[SHAPES_SETS])(shapes * made, size_t params, size_t scale) = {flat, small, gpt2, resnet50,
                                                                                          llama};
    *made = (shapes){.name = shapes_names[set]};
    sets[set](made, params, scale);
    size_t *counts = calloc(made->tensors, sizeof *counts);
    if (!counts)
        return false;
    *made = (shapes){.name = shapes_names[set], .counts = counts};
    sets[set](made, params, scale);
    return true;
}

void shapes_free(shapes *made)
{
    free(made->counts);
    *made = (shapes){0};
}
