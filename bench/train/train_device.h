/*
 * What the training engine asks of a device: memory there, and a handful of operations on it. There are two sets of
 * them, for the CPU (device.c) and for CUDA (device_cuda.cu), where they only enqueue unless their text says "waits".
 *
 * Operations return nothing. The first that fails complains and sets device.failed; whoever used them looks there when
 * a result is due. Matrices lie densely, row by row.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "fusedopt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct device device;

typedef struct device_operations {
    void (*open)(device *d);
    void (*close)(device *d); /* waits */

    /* Aligned to 64 bytes or more; not cleared. NULL after a failure. */
    void *(*allocate)(device *d, size_t bytes);
    void (*release)(device *d, void *memory); /* waits; NULL is allowed */

    /* Between memory of the host and of the device. These three wait for all that was enqueued. */
    void (*upload)(device *d, void *to, const void *from, size_t bytes);
    void (*download)(device *d, void *to, const void *from, size_t bytes);
    void (*wait)(device *d);

    /* Picks samples: row and label i of `to` are those of number order[i]. */
    void (*gather)(device *d, const size_t *order, size_t rows, size_t columns, const float *from,
                   const uint8_t *from_labels, float *to, uint8_t *to_labels);

    /* As gemm() in gemm.h. */
    void (*product)(device *d, bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner,
                    const float *a, const float *b, bool accumulate, float *c);

    /* Makes each row a copy of `values`. */
    void (*fill_rows)(device *d, size_t rows, size_t columns, const float *values, float *matrix);

    /* Adds the sum of each column. */
    void (*add_column_sums)(device *d, size_t rows, size_t columns, const float *matrix, float *sums);

    void (*relu)(device *d, size_t count, float *values);

    /* `values` are what relu() gave: where it gave zero, the gradient becomes zero. */
    void (*relu_gradient)(device *d, size_t count, const float *values, float *grads);

    /* Softmax cross-entropy: adds the summed loss of the rows to *loss, and gives the gradient of their mean loss. */
    void (*softmax_loss)(device *d, size_t rows, size_t classes, const float *logits, const uint8_t *labels,
                         float *grads, double *loss);

    /* Adds to *correct the number of rows where the label's logit is the largest. */
    void (*count_correct)(device *d, size_t rows, size_t classes, const float *logits, const uint8_t *labels,
                          uint32_t *correct);
} device_operations;

struct device {
    const device_operations *does;
    fopt_device id;
    const char *command;
    fopt_stream stream;         /* CUDA: on which everything is enqueued, the library's work too */
    struct cublasContext *blas; /* CUDA: a cublasHandle_t */
    bool failed;
};

/* Complaints come as `command` (options.h). Returns false after one, with nothing to close. */
bool device_open(device *d, const char *command, fopt_device id);

/* Returns false if the device has failed, now or before. */
bool device_close(device *d);

/* Complains, unless the device has failed before: what fails after that follows from it. */
__attribute__((format(printf, 2, 3))) void device_fail(device *d, const char *format, ...);

extern const device_operations device_cuda; /* in builds with FUSEDOPT_HAVE_CUBLAS */

#ifdef __cplusplus
}
#endif

#endif
