/*
 * The training engine's view of a device: memory there, and a handful of operations on it. There are two sets of
 * them, for the CPU (train_device.c) and for CUDA (train_device_cuda.cu), where they only enqueue unless their text
 * says "waits".
 *
 * Operations return nothing. The first that fails complains and sets its `failed`; whoever used them looks there when
 * a result is due. Matrices lie densely, row by row.
 */
#ifndef TRAIN_DEVICE_H
#define TRAIN_DEVICE_H

#include "fusedopt.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct train_device train_device;

typedef struct train_device_operations {
    void (*open)(train_device *d);
    void (*close)(train_device *d); /* waits */

    /* Allocates memory, aligned to 64 bytes or more; not cleared. NULL after a failure. */
    void *(*allocate)(train_device *d, size_t bytes);
    void (*release)(train_device *d, void *memory); /* waits; NULL is allowed */

    /* Copy between memory of the host and of the device. These three wait for all that was enqueued. */
    void (*upload)(train_device *d, void *to, const void *from, size_t bytes);
    void (*download)(train_device *d, void *to, const void *from, size_t bytes);
    void (*wait)(train_device *d);

    /* Picks samples: row and label i of `to` are those of number order[i]. */
    void (*gather)(train_device *d, const size_t *order, size_t rows, size_t columns, const float *from,
                   const uint8_t *from_labels, float *to, uint8_t *to_labels);

    /* Multiplies matrices, as gemm() in gemm.h. */
    void (*product)(train_device *d, bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner,
                    const float *a, const float *b, bool accumulate, float *c);

    /* Makes each row a copy of `values`. */
    void (*fill_rows)(train_device *d, size_t rows, size_t columns, const float *values, float *matrix);

    /* Adds the sum of each column. */
    void (*add_column_sums)(train_device *d, size_t rows, size_t columns, const float *matrix, float *sums);

    void (*relu)(train_device *d, size_t count, float *values);

    /* Takes the gradient back through relu(), which gave `values`: where these are zero, it becomes zero. */
    void (*relu_gradient)(train_device *d, size_t count, const float *values, float *grads);

    /* Computes softmax cross-entropy: adds the summed loss of the rows to *loss, and gives the gradient of their mean
     * loss. */
    void (*softmax_loss)(train_device *d, size_t rows, size_t classes, const float *logits, const uint8_t *labels,
                         float *grads, double *loss);

    /* Adds to *correct the number of rows where the label's logit is the largest. */
    void (*count_correct)(train_device *d, size_t rows, size_t classes, const float *logits, const uint8_t *labels,
                          uint32_t *correct);
} train_device_operations;

struct train_device {
    const train_device_operations *does;
    fopt_device id;
    const char *command;
    fopt_stream stream;        /* CUDA: on which everything is enqueued, the library's work too */
    const struct cublas *blas; /* CUDA: cublas.h */
    struct cublasContext *blas_handle;
    bool failed;
};

/* Opens a device. Complaints come as `command` (options.h). Returns false after one, with nothing to close. */
bool train_device_open(train_device *d, const char *command, fopt_device id);

/* Closes the device. Returns false if it has failed, now or before. */
bool train_device_close(train_device *d);

/* Complains, unless the device has failed before: what fails after that follows from it. */
__attribute__((format(printf, 2, 3))) void train_device_fail(train_device *d, const char *format, ...);

extern const train_device_operations train_device_cuda; /* in builds with FUSEDOPT_HAVE_CUBLAS */

#ifdef __cplusplus
}
#endif

#endif
