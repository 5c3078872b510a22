#include "mlp.h"

#include "gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t widths[MLP_LAYERS + 1] = {MLP_INPUTS, 128, 64, MLP_CLASSES};

/* Each array starts at a multiple of 64 bytes. */
enum { ALIGNMENT = 64, ALIGNMENT_FLOATS = ALIGNMENT / sizeof(float) };

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

bool mlp_create(mlp *net, size_t rows, splitmix *random)
{
    size_t total = 0;
    for (size_t i = 0; i < MLP_LAYERS; ++i)
        total += 2 * (padded(widths[i] * widths[i + 1]) + padded(widths[i + 1]) + padded(rows * widths[i + 1]));
    net->memory = aligned_alloc(ALIGNMENT, total * sizeof(float));
    if (!net->memory)
        return false;
    memset(net->memory, 0, total * sizeof(float));

    float *free_memory = net->memory;
    for (size_t i = 0; i < MLP_LAYERS; ++i) {
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
        const float bound = sqrtf(6.0f / (float)inputs);
        for (size_t k = 0; k < inputs * outputs; ++k)
            layer->weights[k] = bound * splitmix_symmetric(random);
    }
    return true;
}

void mlp_destroy(mlp *net)
{
    free(net->memory);
}

/* What a layer reads: the batch, or what the layer before gave. */
static const float *inputs_of(const mlp *net, size_t layer, const float *batch)
{
    return layer == 0 ? batch : net->layers[layer - 1].values;
}

void mlp_forward(mlp *net, const float *inputs, size_t rows)
{
    for (size_t i = 0; i < MLP_LAYERS; ++i) {
        mlp_layer *layer = &net->layers[i];
        const size_t outputs = layer->outputs;
        for (size_t row = 0; row < rows; ++row)
            memcpy(layer->values + row * outputs, layer->biases, outputs * sizeof(float));
        gemm(false, false, rows, outputs, layer->inputs, inputs_of(net, i, inputs), layer->weights, true,
             layer->values);
        if (i + 1 < MLP_LAYERS)
            for (size_t k = 0; k < rows * outputs; ++k)
                layer->values[k] = layer->values[k] > 0.0f ? layer->values[k] : 0.0f;
    }
}

static size_t index_of_largest(const float *values, size_t count)
{
    size_t largest = 0;
    for (size_t i = 1; i < count; ++i)
        if (values[i] > values[largest])
            largest = i;
    return largest;
}

double mlp_loss(mlp *net, const uint8_t *labels, size_t rows)
{
    const mlp_layer *last = &net->layers[MLP_LAYERS - 1];
    double loss = 0.0;
    for (size_t row = 0; row < rows; ++row) {
        const float *logits = last->values + row * MLP_CLASSES;
        float *grads = last->value_grads + row * MLP_CLASSES;
        /* Less the largest, so that expf() does not overflow. */
        const float largest = logits[index_of_largest(logits, MLP_CLASSES)];
        float sum = 0.0f;
        for (size_t i = 0; i < MLP_CLASSES; ++i)
            sum += grads[i] = expf(logits[i] - largest);
        loss += (double)(logf(sum) - (logits[labels[row]] - largest));
        for (size_t i = 0; i < MLP_CLASSES; ++i)
            grads[i] = (grads[i] / sum - (i == labels[row] ? 1.0f : 0.0f)) / (float)rows;
    }
    return loss;
}

void mlp_backward(mlp *net, const float *inputs, size_t rows)
{
    for (size_t i = MLP_LAYERS; i-- > 0;) {
        const mlp_layer *layer = &net->layers[i];
        const size_t outputs = layer->outputs;
        gemm(true, false, layer->inputs, outputs, rows, inputs_of(net, i, inputs), layer->value_grads, true,
             layer->weight_grads);
        for (size_t row = 0; row < rows; ++row)
            for (size_t k = 0; k < outputs; ++k)
                layer->bias_grads[k] += layer->value_grads[row * outputs + k];
        if (i == 0)
            break;
        const mlp_layer *before = &net->layers[i - 1];
        gemm(false, true, rows, layer->inputs, outputs, layer->value_grads, layer->weights, false, before->value_grads);
        for (size_t k = 0; k < rows * layer->inputs; ++k)
            if (before->values[k] <= 0.0f)
                before->value_grads[k] = 0.0f;
    }
}

size_t mlp_correct(const mlp *net, const uint8_t *labels, size_t rows)
{
    const float *logits = net->layers[MLP_LAYERS - 1].values;
    size_t correct = 0;
    for (size_t row = 0; row < rows; ++row)
        correct += index_of_largest(logits + row * MLP_CLASSES, MLP_CLASSES) == labels[row];
    return correct;
}
