/* The operations on CUDA: cuBLAS's matrix product, and small kernels. */
#include "machine/cublas.h"
#include "train/softmax.h"
#include "train/train_device.h"
#include <cuda_runtime.h>

enum { WARP = 32, BLOCK = 256 };

/* ---- errors -------------------------------------------------------------------------------------------------- */

static bool check(train_device *d, cudaError_t error, const char *what)
{
    if (error != cudaSuccess)
        train_device_fail(d, "%s failed: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
    return error == cudaSuccess;
}

static bool check_blas(train_device *d, cublasStatus_t status, const char *what)
{
    if (status != CUBLAS_STATUS_SUCCESS)
        train_device_fail(d, "%s failed: %s (%s)", what, d->blas->status_string(status), d->blas->status_name(status));
    return status == CUBLAS_STATUS_SUCCESS;
}

/* ---- the device and its memory ------------------------------------------------------------------------------- */

static void open_device(train_device *d)
{
    d->blas = cublas_load();
    if (!d->blas) {
        train_device_fail(d, "cuBLAS was not found, which training on CUDA needs");
        return;
    }
    if (!check(d, cudaSetDevice(d->id.index), "cudaSetDevice") ||
        !check(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags") ||
        !check_blas(d, d->blas->create(&d->blas_handle), "cublasCreate"))
        return;
    check_blas(d, d->blas->set_stream(d->blas_handle, d->stream), "cublasSetStream");
}

static void close_device(train_device *d)
{
    if (d->blas_handle)
        check_blas(d, d->blas->destroy(d->blas_handle), "cublasDestroy");
    if (d->stream)
        check(d, cudaStreamDestroy(d->stream), "cudaStreamDestroy");
}

static void *allocate(train_device *d, size_t bytes)
{
    void *memory = NULL;
    return check(d, cudaMalloc(&memory, bytes), "cudaMalloc") ? memory : NULL;
}

static void release(train_device *d, void *memory)
{
    check(d, cudaFree(memory), "cudaFree");
}

static void wait_for_all(train_device *d)
{
    check(d, cudaStreamSynchronize(d->stream), "cudaStreamSynchronize");
}

static void upload(train_device *d, void *to, const void *from, size_t bytes)
{
    check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, d->stream), "cudaMemcpyAsync");
    wait_for_all(d);
}

static void download(train_device *d, void *to, const void *from, size_t bytes)
{
    check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, d->stream), "cudaMemcpyAsync");
    wait_for_all(d);
}

/* ---- the matrix product -------------------------------------------------------------------------------------- */

/* Multiplies by cuBLAS, whose matrices lie column by column. Read so, ours are transposed, and c' = op(b)' op(a)'. */
static void product(train_device *d, bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner,
                    const float *a, const float *b, bool accumulate, float *c)
{
    const float one = 1.0f, before = accumulate ? 1.0f : 0.0f;
    check_blas(d,
               d->blas->sgemm(d->blas_handle, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                              transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)columns, (int)rows, (int)inner, &one, b,
                              (int)(transpose_b ? inner : columns), a, (int)(transpose_a ? rows : inner), &before, c,
                              (int)columns),
               "cublasSgemm");
}

/* ---- a thread an element ------------------------------------------------------------------------------------- */

/* Configures a launch of a thread an element. Kernels so launched begin by asking whether their thread has one. */
static cudaLaunchConfig_t one_thread_each(const train_device *d, size_t count)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)((count + BLOCK - 1) / BLOCK));
    config.blockDim = dim3(BLOCK);
    config.stream = d->stream;
    return config;
}

static __device__ size_t thread_index(void)
{
    return (size_t)blockIdx.x * BLOCK + threadIdx.x;
}

static __global__ void __launch_bounds__(BLOCK)
    gather(const size_t *order, size_t rows, size_t columns, const float *from, const uint8_t *from_labels, float *to,
           uint8_t *to_labels)
{
    const size_t i = thread_index(), row = i / columns, column = i % columns;
    if (row >= rows)
        return;
    to[i] = from[order[row] * columns + column];
    if (column == 0)
        to_labels[row] = from_labels[order[row]];
}

static void launch_gather(train_device *d, const size_t *order, size_t rows, size_t columns, const float *from,
                          const uint8_t *from_labels, float *to, uint8_t *to_labels)
{
    const cudaLaunchConfig_t config = one_thread_each(d, rows * columns);
    check(d, cudaLaunchKernelEx(&config, gather, order, rows, columns, from, from_labels, to, to_labels), "gather");
}

static __global__ void __launch_bounds__(BLOCK)
    fill_rows(size_t rows, size_t columns, const float *values, float *matrix)
{
    const size_t i = thread_index();
    if (i < rows * columns)
        matrix[i] = values[i % columns];
}

static void launch_fill_rows(train_device *d, size_t rows, size_t columns, const float *values, float *matrix)
{
    const cudaLaunchConfig_t config = one_thread_each(d, rows * columns);
    check(d, cudaLaunchKernelEx(&config, fill_rows, rows, columns, values, matrix), "fill_rows");
}

/* Adds up columns, a thread each. */
static __global__ void __launch_bounds__(BLOCK)
    add_column_sums(size_t rows, size_t columns, const float *matrix, float *sums)
{
    const size_t column = thread_index();
    if (column >= columns)
        return;
    float sum = sums[column];
    for (size_t row = 0; row < rows; row++)
        sum += matrix[row * columns + column];
    sums[column] = sum;
}

static void launch_add_column_sums(train_device *d, size_t rows, size_t columns, const float *matrix, float *sums)
{
    const cudaLaunchConfig_t config = one_thread_each(d, columns);
    check(d, cudaLaunchKernelEx(&config, add_column_sums, rows, columns, matrix, sums), "add_column_sums");
}

static __global__ void __launch_bounds__(BLOCK) relu(size_t count, float *values)
{
    const size_t i = thread_index();
    if (i < count)
        values[i] = values[i] > 0.0f ? values[i] : 0.0f;
}

static void launch_relu(train_device *d, size_t count, float *values)
{
    const cudaLaunchConfig_t config = one_thread_each(d, count);
    check(d, cudaLaunchKernelEx(&config, relu, count, values), "relu");
}

static __global__ void __launch_bounds__(BLOCK) relu_gradient(size_t count, const float *values, float *grads)
{
    const size_t i = thread_index();
    if (i < count && values[i] <= 0.0f)
        grads[i] = 0.0f;
}

static void launch_relu_gradient(train_device *d, size_t count, const float *values, float *grads)
{
    const cudaLaunchConfig_t config = one_thread_each(d, count);
    check(d, cudaLaunchKernelEx(&config, relu_gradient, count, values, grads), "relu_gradient");
}

/* ---- one warp: its sum has the same order in every run, as atomic additions of floating point have not --------- */

static cudaLaunchConfig_t one_warp(const train_device *d)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(WARP);
    config.stream = d->stream;
    return config;
}

/* Adds all lanes' values to *total. */
template <class T> static __device__ void add_warp(T value, T *total)
{
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(0xffffffffu, value, distance);
    if (threadIdx.x == 0)
        *total += value;
}

static __global__ void __launch_bounds__(WARP)
    softmax_loss(size_t rows, size_t classes, const float *logits, const uint8_t *labels, float *grads, double *loss)
{
    double sum = 0.0;
    for (size_t row = threadIdx.x; row < rows; row += WARP)
        sum += (double)softmax_cross_entropy(logits + row * classes, classes, labels[row], rows, grads + row * classes);
    add_warp(sum, loss);
}

static void launch_softmax_loss(train_device *d, size_t rows, size_t classes, const float *logits,
                                const uint8_t *labels, float *grads, double *loss)
{
    const cudaLaunchConfig_t config = one_warp(d);
    check(d, cudaLaunchKernelEx(&config, softmax_loss, rows, classes, logits, labels, grads, loss), "softmax_loss");
}

static __global__ void __launch_bounds__(WARP)
    count_correct(size_t rows, size_t classes, const float *logits, const uint8_t *labels, uint32_t *correct)
{
    uint32_t count = 0;
    for (size_t row = threadIdx.x; row < rows; row += WARP)
        count += softmax_largest(logits + row * classes, classes) == labels[row];
    add_warp(count, correct);
}

static void launch_count_correct(train_device *d, size_t rows, size_t classes, const float *logits,
                                 const uint8_t *labels, uint32_t *correct)
{
    const cudaLaunchConfig_t config = one_warp(d);
    check(d, cudaLaunchKernelEx(&config, count_correct, rows, classes, logits, labels, correct), "count_correct");
}

const train_device_operations train_device_cuda = {
    open_device,
    close_device,
    allocate,
    release,
    upload,
    download,
    wait_for_all,
    launch_gather,
    product,
    launch_fill_rows,
    launch_add_column_sums,
    launch_relu,
    launch_relu_gradient,
    launch_softmax_loss,
    launch_count_correct,
};
