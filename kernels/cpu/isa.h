/* The CPU's instruction sets, and the choice among them. */
#ifndef FOPT_I_ISA_H
#define FOPT_I_ISA_H

#include "../norm.h"
#include "job.h"

/* Makes the next step on the tiles [first, first + count) of all tensors laid end to end, leaving out tensors without a
 * gradient. Expects the floating-point environment of environment.h. */
typedef void fopt_i_cpu_step(const fopt_i_cpu_job *job, uint64_t first, uint64_t count);

/* Adds the squares of the gradients of such tiles. Expects the same. */
typedef void fopt_i_cpu_sum(const fopt_i_cpu_job *job, uint64_t first, uint64_t count, fopt_i_sum *sum);

/* One of each per instruction set: see walk.h and sums.h. NULL: its file was compiled without the set's flags. */
extern fopt_i_cpu_step *const fopt_i_step_baseline, *const fopt_i_step_avx2, *const fopt_i_step_avx512,
                                                                                 *const fopt_i_step_avx512vbmi;
extern fopt_i_cpu_sum *const fopt_i_sum_baseline, *const fopt_i_sum_avx2, *const fopt_i_sum_avx512,
                                                                              *const fopt_i_sum_avx512vbmi;

typedef struct fopt_i_isa {
    const char *name;
    fopt_i_cpu_step *step; /* NULL: not built */
    fopt_i_cpu_sum *sum;
    bool runs_here;
} fopt_i_isa;

/* Describes an instruction set; the name is NULL if `isa` is not of the enum, or FOPT_ISA_AUTO. */
fopt_i_isa fopt_i_describe_isa(fopt_isa isa);

#endif
