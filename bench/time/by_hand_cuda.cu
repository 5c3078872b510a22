/* Steps by hand on CUDA: a kernel for each tensor, and a chain of cuBLAS calls and kernels for what cuBLAS has not. */
#include "time/by_hand.h"
#include <cuda_runtime.h>
#ifdef FUSEDOPT_HAVE_CUBLAS
#include "machine/cublas.h"
#endif

enum { BLOCK = 256 };

/* Configures a launch of a thread an element. */
static cudaLaunchConfig_t one_thread_each(const by_hand_job *j)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)((j->tensor.count + BLOCK - 1) / BLOCK));
    config.blockDim = dim3(BLOCK);
    config.stream = j->queue;
    return config;
}

static __device__ size_t thread_index(void)
{
    return (size_t)blockIdx.x * BLOCK + threadIdx.x;
}

/* ---- fused loops --------------------------------------------------------------------------------------------- */

static __device__ void sgd(const by_hand_job &j, size_t i)
{
    j.tensor.param[i] -= j.lr * j.tensor.grad[i];
}

static __device__ void momentum(const by_hand_job &j, size_t i)
{
    float *b = j.tensor.state[FOPT_MOMENTUM_BUFFER];
    const float moved = j.momentum * b[i] + j.tensor.grad[i];
    b[i] = moved;
    j.tensor.param[i] -= j.lr * moved;
}

static __device__ void rmsprop(const by_hand_job &j, size_t i)
{
    float *s = j.tensor.state[FOPT_SECOND_MOMENT];
    const float g = j.tensor.grad[i], average = j.alpha * s[i] + (1 - j.alpha) * g * g;
    s[i] = average;
    j.tensor.param[i] -= j.lr * g / (sqrtf(average) + j.eps);
}

static __device__ void adam(const by_hand_job &j, size_t i)
{
    float *m = j.tensor.state[FOPT_FIRST_MOMENT], *v = j.tensor.state[FOPT_SECOND_MOMENT];
    const float g = j.tensor.grad[i], p = j.tensor.param[i];
    const float first = j.beta1 * m[i] + (1 - j.beta1) * g, second = j.beta2 * v[i] + (1 - j.beta2) * g * g;
    m[i] = first;
    v[i] = second;
    j.tensor.param[i] = p - (j.decay * p + j.step_size * first / (sqrtf(second) * j.correction + j.eps));
}

static __global__ void __launch_bounds__(BLOCK) update(by_hand_rule rule, by_hand_job j)
{
    const size_t i = thread_index();
    if (i >= j.tensor.count)
        return;
    switch (rule) {
    case BY_HAND_SGD:
        sgd(j, i);
        break;
    case BY_HAND_MOMENTUM:
        momentum(j, i);
        break;
    case BY_HAND_RMSPROP:
        rmsprop(j, i);
        break;
    case BY_HAND_ADAM:
        adam(j, i);
        break;
    }
}

bool by_hand_cuda_loop(by_hand_rule rule, const by_hand_job *job)
{
    const cudaLaunchConfig_t config = one_thread_each(job);
    return job->tensor.count == 0 || cudaLaunchKernelEx(&config, update, rule, *job) == cudaSuccess;
}

/* ---- chains of cuBLAS calls ---------------------------------------------------------------------------------- */

#ifdef FUSEDOPT_HAVE_CUBLAS

static const cublas *blas;
static cublasHandle_t handle;

/* Computes y += a x, and x *= a. */
static bool axpy(const by_hand_job *j, float a, const float *x, float *y)
{
    return blas->saxpy(handle, (int)j->tensor.count, &a, x, 1, y, 1) == CUBLAS_STATUS_SUCCESS;
}

static bool scale(const by_hand_job *j, float a, float *x)
{
    return blas->sscal(handle, (int)j->tensor.count, &a, x, 1) == CUBLAS_STATUS_SUCCESS;
}

/* Computes y += a x^2. */
static __global__ void __launch_bounds__(BLOCK) add_square(float a, const float *x, float *y, size_t count)
{
    const size_t i = thread_index();
    if (i < count)
        y[i] += a * x[i] * x[i];
}

static bool launch_add_square(const by_hand_job *j, float a, const float *x, float *y)
{
    const cudaLaunchConfig_t config = one_thread_each(j);
    return cudaLaunchKernelEx(&config, add_square, a, x, y, j->tensor.count) == cudaSuccess;
}

/* Computes z = x / (a sqrt(y) + eps). */
static __global__ void __launch_bounds__(BLOCK)
    divide(const float *x, const float *y, float a, float eps, float *z, size_t count)
{
    const size_t i = thread_index();
    if (i < count)
        z[i] = x[i] / (a * sqrtf(y[i]) + eps);
}

static bool launch_divide(const by_hand_job *j, const float *x, const float *y, float a)
{
    const cudaLaunchConfig_t config = one_thread_each(j);
    return cudaLaunchKernelEx(&config, divide, x, y, a, j->eps, j->scratch, j->tensor.count) == cudaSuccess;
}

static bool momentum_chain(const by_hand_job *j)
{
    float *b = j->tensor.state[FOPT_MOMENTUM_BUFFER];
    return scale(j, j->momentum, b) && axpy(j, 1, j->tensor.grad, b) && axpy(j, -j->lr, b, j->tensor.param);
}

static bool rmsprop_chain(const by_hand_job *j)
{
    float *s = j->tensor.state[FOPT_SECOND_MOMENT];
    return scale(j, j->alpha, s) && launch_add_square(j, 1 - j->alpha, j->tensor.grad, s) &&
           launch_divide(j, j->tensor.grad, s, 1) && axpy(j, -j->lr, j->scratch, j->tensor.param);
}

static bool adam_chain(const by_hand_job *j)
{
    float *m = j->tensor.state[FOPT_FIRST_MOMENT], *v = j->tensor.state[FOPT_SECOND_MOMENT];
    return scale(j, j->beta1, m) && axpy(j, 1 - j->beta1, j->tensor.grad, m) && scale(j, j->beta2, v) &&
           launch_add_square(j, 1 - j->beta2, j->tensor.grad, v) && launch_divide(j, m, v, j->correction) &&
           (j->decay == 0 || scale(j, 1 - j->decay, j->tensor.param)) &&
           axpy(j, -j->step_size, j->scratch, j->tensor.param);
}

bool by_hand_cuda_chain(by_hand_rule rule, const by_hand_job *job)
{
    if (job->tensor.count == 0)
        return true;
    blas = cublas_load();
    if (!blas || (!handle && blas->create(&handle) != CUBLAS_STATUS_SUCCESS) ||
        blas->set_stream(handle, job->queue) != CUBLAS_STATUS_SUCCESS)
        return false;
    switch (rule) {
    case BY_HAND_SGD:
        return axpy(job, -job->lr, job->tensor.grad, job->tensor.param);
    case BY_HAND_MOMENTUM:
        return momentum_chain(job);
    case BY_HAND_RMSPROP:
        return rmsprop_chain(job);
    case BY_HAND_ADAM:
        return adam_chain(job);
    }
    return false;
}

#endif
