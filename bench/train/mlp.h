/*
 * A multilayer perceptron: fully connected layers, ReLU between them, softmax cross-entropy at the end.
 *
 * All arrays are in memory of its device. A batch is `rows` samples, one after the other. mlp_backward() adds to the
 * gradients, so whoever wants those of one batch sets them to zero first; they are zero after mlp_create().
 */
#ifndef MLP_H
#define MLP_H

#include "reference/splitmix.h"
#include "train/train_device.h"
#include <stddef.h>
#include <stdint.h>

enum { MLP_INPUTS = 64, MLP_CLASSES = 10, MLP_LAYERS = 3 };

typedef struct mlp_layer {
    size_t inputs, outputs;
    float *weights, *weight_grads; /* inputs x outputs */
    float *biases, *bias_grads;    /* outputs */
    float *values, *value_grads;   /* rows x outputs: what the layer gives, after ReLU where it has one */
} mlp_layer;

typedef struct mlp {
    train_device *device;
    mlp_layer layers[MLP_LAYERS];
    float *memory; /* all of the arrays above */
} mlp;

/* Allocates for batches of up to `rows` samples. Weights as in He et al., Delving deep into rectifiers, 2015, drawn
 * from the uniform distribution; biases zero. Nothing but mlp_destroy() is left if the device has then failed. */
void mlp_create(mlp *net, train_device *d, size_t rows, splitmix *random);
void mlp_destroy(mlp *net);

/* Leaves the logits in the last layer's values. `inputs` is rows x MLP_INPUTS. */
void mlp_forward(mlp *net, const float *inputs, size_t rows);

/* Adds the batch's loss to *loss, after mlp_forward(); leaves the gradient of its mean loss for mlp_backward(). */
void mlp_loss(mlp *net, const uint8_t *labels, size_t rows, double *loss);

/* Adds the gradients of the batch's mean loss, after mlp_loss() with the same inputs. */
void mlp_backward(mlp *net, const float *inputs, size_t rows);

/* Adds to *correct how many samples have their label's logit as the largest, after mlp_forward(). */
void mlp_correct(const mlp *net, const uint8_t *labels, size_t rows, uint32_t *correct);

#endif
