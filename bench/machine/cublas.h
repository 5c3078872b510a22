/*
 * cuBLAS, which is loaded when it is first asked for: it would take nearly all the time that the program needs to
 * start, and most commands never call it.
 */
#ifndef CUBLAS_H
#define CUBLAS_H

#include <cublas_v2.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Its functions, as its own header has them. */
typedef struct cublas {
    cublasStatus_t (*create)(cublasHandle_t *handle);
    cublasStatus_t (*destroy)(cublasHandle_t handle);
    cublasStatus_t (*set_stream)(cublasHandle_t handle, cudaStream_t stream);
    cublasStatus_t (*saxpy)(cublasHandle_t handle, int n, const float *alpha, const float *x, int incx, float *y,
                            int incy);
    cublasStatus_t (*sscal)(cublasHandle_t handle, int n, const float *alpha, float *x, int incx);
    cublasStatus_t (*sgemm)(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                            int k, const float *alpha, const float *a, int lda, const float *b, int ldb,
                            const float *beta, float *c, int ldc);
    const char *(*status_name)(cublasStatus_t status);
    const char *(*status_string)(cublasStatus_t status);
} cublas;

/* Returns them, or NULL if cuBLAS cannot be loaded. Called by one thread. */
const cublas *cublas_load(void);

#ifdef __cplusplus
}
#endif

#endif
