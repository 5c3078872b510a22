/* Matrix products by OpenBLAS, or by plain loops. */
#include "train/gemm.h"

#ifdef FUSEDOPT_HAVE_CBLAS

#include <cblas.h>

void gemm(bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner, const float *a, const float *b,
          bool accumulate, float *c)
{
    /* These products are so small that threads cost more than they bring, and would compete with OpenMP's. */
    openblas_set_num_threads(1);
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                (blasint)rows, (blasint)columns, (blasint)inner, 1.0f, a, (blasint)(transpose_a ? rows : inner), b,
                (blasint)(transpose_b ? inner : columns), accumulate ? 1.0f : 0.0f, c, (blasint)columns);
}

#else

#include <string.h>

void gemm(bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner, const float *a, const float *b,
          bool accumulate, float *c)
{
    const size_t a_row = transpose_a ? 1 : inner, a_column = transpose_a ? rows : 1;
    const size_t b_row = transpose_b ? 1 : columns, b_column = transpose_b ? inner : 1;
    if (!accumulate)
        memset(c, 0, rows * columns * sizeof *c);
    for (size_t i = 0; i < rows; i++) {
        float *restrict sums = c + i * columns;
        for (size_t k = 0; k < inner; k++) {
            const float scale = a[i * a_row + k * a_column];
            const float *restrict terms = b + k * b_row;
            for (size_t j = 0; j < columns; j++)
                sums[j] += scale * terms[j * b_column];
        }
    }
}

#endif
