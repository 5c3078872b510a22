/* The classification of one sample, for both kinds of device. */
#ifndef SOFTMAX_H
#define SOFTMAX_H

#include <math.h>
#include <stddef.h>

#ifdef __CUDACC__
#define SOFTMAX_FUNCTION static __host__ __device__ inline
#else
#define SOFTMAX_FUNCTION static inline
#endif

SOFTMAX_FUNCTION size_t softmax_largest(const float *logits, size_t classes)
{
    size_t largest = 0;
    for (size_t i = 1; i < classes; i++)
        if (logits[i] > logits[largest])
            largest = i;
    return largest;
}

/* Returns the cross-entropy; leaves its gradient, divided by `rows`. */
SOFTMAX_FUNCTION float softmax_cross_entropy(const float *logits, size_t classes, size_t label, size_t rows,
                                             float *grads)
{
    /* Less the largest, so that expf() does not overflow. */
    const float largest = logits[softmax_largest(logits, classes)];
    float sum = 0.0f;
    for (size_t i = 0; i < classes; i++)
        sum += grads[i] = expf(logits[i] - largest);
    for (size_t i = 0; i < classes; i++)
        grads[i] = (grads[i] / sum - (i == label ? 1.0f : 0.0f)) / (float)rows;
    return logf(sum) - (logits[label] - largest);
}

#endif
