/* The matrix product of the training engine: OpenBLAS, or plain loops where this build has none. */
#ifndef GEMM_H
#define GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* Computes c = op(a) op(b), or c += op(a) op(b) if `accumulate`, where op() transposes if the matrix's flag is set. c
 * is rows x columns, op(a) rows x inner, op(b) inner x columns; all lie densely, row by row. */
void gemm(bool transpose_a, bool transpose_b, size_t rows, size_t columns, size_t inner, const float *a, const float *b,
          bool accumulate, float *c);

#endif
