/* The training engine's operations on the CPU, and the choice of those for a device. */
#include "train/train_device.h"
#include "program/options.h"
#include "train/gemm.h"
#include "train/softmax.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the CPU ------------------------------------------------------------------------------------------------- */

enum { ALIGNMENT = 64 };

static void nothing(train_device *d)
{
    (void)d;
}

static void *allocate(train_device *d, size_t bytes)
{
    void *memory = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!memory)
        train_device_fail(d, "out of memory");
    return memory;
}

static void release(train_device *d, void *memory)
{
    (void)d;
    free(memory);
}

static void copy(train_device *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, from, bytes);
}

static void gather(train_device *d, const size_t *order, size_t rows, size_t columns, const float *from,
                   const uint8_t *from_labels, float *to, uint8_t *to_labels)
{
    (void)d;
    for (size_t row = 0; row < rows; row++) {
        memcpy(to + row * columns, from + order[row] * columns, columns * sizeof *to);
        to_labels[row] = from_labels[order[row]];
    }
}

static void product(train_device *d, bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner,
                    const float *a, const float *b, bool accumulate, float *c)
{
    (void)d;
    gemm(transpose_a, transpose_b, rows, columns, inner, a, b, accumulate, c);
}

static void fill_rows(train_device *d, size_t rows, size_t columns, const float *values, float *matrix)
{
    (void)d;
    for (size_t row = 0; row < rows; row++)
        memcpy(matrix + row * columns, values, columns * sizeof *matrix);
}

static void add_column_sums(train_device *d, size_t rows, size_t columns, const float *matrix, float *sums)
{
    (void)d;
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++)
            sums[column] += matrix[row * columns + column];
}

static void relu(train_device *d, size_t count, float *values)
{
    (void)d;
    for (size_t i = 0; i < count; i++)
        values[i] = values[i] > 0.0f ? values[i] : 0.0f;
}

static void relu_gradient(train_device *d, size_t count, const float *values, float *grads)
{
    (void)d;
    for (size_t i = 0; i < count; i++)
        if (values[i] <= 0.0f)
            grads[i] = 0.0f;
}

static void softmax_loss(train_device *d, size_t rows, size_t classes, const float *logits, const uint8_t *labels,
                         float *grads, double *loss)
{
    (void)d;
    double sum = 0.0;
    for (size_t row = 0; row < rows; row++)
        sum += (double)softmax_cross_entropy(logits + row * classes, classes, labels[row], rows, grads + row * classes);
    *loss += sum;
}

static void count_correct(train_device *d, size_t rows, size_t classes, const float *logits, const uint8_t *labels,
                          uint32_t *correct)
{
    (void)d;
    for (size_t row = 0; row < rows; row++)
        *correct += softmax_largest(logits + row * classes, classes) == labels[row];
}

static const train_device_operations train_device_cpu = {
    .open = nothing,
    .close = nothing,
    .allocate = allocate,
    .release = release,
    .upload = copy,
    .download = copy,
    .wait = nothing,
    .gather = gather,
    .product = product,
    .fill_rows = fill_rows,
    .add_column_sums = add_column_sums,
    .relu = relu,
    .relu_gradient = relu_gradient,
    .softmax_loss = softmax_loss,
    .count_correct = count_correct,
};

/* ---- any device ---------------------------------------------------------------------------------------------- */

/* Returns the operations for a kind of device; NULL if this build has none. */
static const train_device_operations *operations(fopt_device_kind kind)
{
    if (kind == FOPT_CPU)
        return &train_device_cpu;
#ifdef FUSEDOPT_HAVE_CUBLAS
    return &train_device_cuda;
#else
    return NULL;
#endif
}

bool train_device_open(train_device *d, const char *command, fopt_device id)
{
    *d = (train_device){.does = operations(id.kind), .id = id, .command = command};
    if (!d->does) {
        complain(command, "this program was built without cuBLAS, which training on CUDA needs");
        return false;
    }
    d->does->open(d);
    return !d->failed || train_device_close(d);
}

bool train_device_close(train_device *d)
{
    d->does->close(d);
    return !d->failed;
}

void train_device_fail(train_device *d, const char *format, ...)
{
    if (d->failed)
        return;
    d->failed = true;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    complain(d->command, "%s", text);
}
