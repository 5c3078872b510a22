/* The perceptron: its memory, its initial weights, and both passes by the operations of a device. */
#include "train/mlp.h"
#include <math.h>
#include <stdlib.h>

static const size_t widths[MLP_LAYERS + 1] = {MLP_INPUTS, 128, 64, MLP_CLASSES};

/* Each array starts at a multiple of 64 bytes. */
enum { ALIGNMENT_FLOATS = 64 / sizeof(float) };

static size_t padded(size_t count)
{
    return (count + ALIGNMENT_FLOATS - 1) / ALIGNMENT_FLOATS * ALIGNMENT_FLOATS;
}

static float *take(float **free_memory, size_t count)
{
    float *taken = *free_memory;
    *free_memory += padded(count);
    return taken;
}

static size_t floats_needed(size_t rows)
{
    size_t total = 0;
    for (size_t i = 0; i < MLP_LAYERS; i++)
        total += 2 * (padded(widths[i] * widths[i + 1]) + padded(widths[i + 1]) + padded(rows * widths[i + 1]));
    return total;
}

static void place_layers(mlp *net, size_t rows)
{
    float *free_memory = net->memory;
    for (size_t i = 0; i < MLP_LAYERS; i++) {
        const size_t inputs = widths[i], outputs = widths[i + 1];
        mlp_layer *layer = &net->layers[i];
        layer->inputs = inputs;
        layer->outputs = outputs;
        layer->weights = take(&free_memory, inputs * outputs);
        layer->weight_grads = take(&free_memory, inputs * outputs);
        layer->biases = take(&free_memory, outputs);
        layer->bias_grads = take(&free_memory, outputs);
        layer->values = take(&free_memory, rows * outputs);
        layer->value_grads = take(&free_memory, rows * outputs);
    }
}

/* Draws a layer's initial weights. `weights` is memory of the host, as large as the layer's. */
static void draw_weights(const mlp_layer *layer, splitmix *random, float *weights)
{
    const float bound = sqrtf(6.0f / (float)layer->inputs);
    for (size_t k = 0; k < layer->inputs * layer->outputs; k++)
        weights[k] = bound * splitmix_symmetric(random);
}

void mlp_create(mlp *net, train_device *d, size_t rows, splitmix *random)
{
    const size_t total = floats_needed(rows);
    float *image = calloc(total, sizeof *image); /* what the memory holds at first */
    *net = (mlp){.device = d, .memory = d->does->allocate(d, total * sizeof *image)};
    if (image && net->memory) {
        place_layers(net, rows);
        for (size_t i = 0; i < MLP_LAYERS; i++)
            draw_weights(&net->layers[i], random, image + (net->layers[i].weights - net->memory));
        d->does->upload(d, net->memory, image, total * sizeof *image);
    } else {
        train_device_fail(d, "out of memory");
    }
    free(image);
}

void mlp_destroy(mlp *net)
{
    net->device->does->release(net->device, net->memory);
}

/* Returns what a layer reads: the batch, or what the layer before gave. */
static const float *inputs_of(const mlp *net, size_t layer, const float *batch)
{
    return layer == 0 ? batch : net->layers[layer - 1].values;
}

void mlp_forward(mlp *net, const float *inputs, size_t rows)
{
    train_device *d = net->device;
    for (size_t i = 0; i < MLP_LAYERS; i++) {
        const mlp_layer *layer = &net->layers[i];
        d->does->fill_rows(d, rows, layer->outputs, layer->biases, layer->values);
        d->does->product(d, false, false, rows, layer->outputs, layer->inputs, inputs_of(net, i, inputs),
                         layer->weights, true, layer->values);
        if (i + 1 < MLP_LAYERS)
            d->does->relu(d, rows * layer->outputs, layer->values);
    }
}

void mlp_loss(mlp *net, const uint8_t *labels, size_t rows, double *loss)
{
    const mlp_layer *last = &net->layers[MLP_LAYERS - 1];
    net->device->does->softmax_loss(net->device, rows, MLP_CLASSES, last->values, labels, last->value_grads, loss);
}

void mlp_backward(mlp *net, const float *inputs, size_t rows)
{
    train_device *d = net->device;
    for (size_t i = MLP_LAYERS; i-- > 0;) {
        const mlp_layer *layer = &net->layers[i];
        d->does->product(d, true, false, layer->inputs, layer->outputs, rows, inputs_of(net, i, inputs),
                         layer->value_grads, true, layer->weight_grads);
        d->does->add_column_sums(d, rows, layer->outputs, layer->value_grads, layer->bias_grads);
        if (i == 0)
            break;
        const mlp_layer *before = &net->layers[i - 1];
        d->does->product(d, false, true, rows, layer->inputs, layer->outputs, layer->value_grads, layer->weights, false,
                         before->value_grads);
        d->does->relu_gradient(d, rows * layer->inputs, before->values, before->value_grads);
    }
}

void mlp_correct(const mlp *net, const uint8_t *labels, size_t rows, uint32_t *correct)
{
    const float *logits = net->layers[MLP_LAYERS - 1].values;
    net->device->does->count_correct(net->device, rows, MLP_CLASSES, logits, labels, correct);
}
