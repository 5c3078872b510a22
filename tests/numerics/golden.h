/* The golden trajectories of tests/golden, whose generate.py describes the files. */
#ifndef FUSEDOPT_TESTS_GOLDEN_H
#define FUSEDOPT_TESTS_GOLDEN_H

#include "fusedopt.h"

#include <stdbool.h>

#define GOLDEN_ELEMENTS_MAX 16
#define GOLDEN_STEPS_MAX    64
#define GOLDEN_ERROR_SIZE   256

/* The two runs of a trajectory. Both start from, and get, the same single-precision numbers. */
typedef enum golden_run { GOLDEN_F32, GOLDEN_F64 } golden_run;
#define GOLDEN_RUNS 2

typedef double golden_values[GOLDEN_ELEMENTS_MAX];

typedef struct golden_step {
    double lr, weight_decay;
    golden_values grad;
    bool recorded; /* whether the parameters after this step are known */
    golden_values param[GOLDEN_RUNS];
} golden_step;

typedef struct golden_case {
    fopt_group group; /* lr and weight_decay are those of the steps */
    int elements, steps;
    golden_values start;
    golden_step step[GOLDEN_STEPS_MAX]; /* step[0] is the first */
    bool has_state[FOPT_STATE_KINDS];
    golden_values state[FOPT_STATE_KINDS][GOLDEN_RUNS]; /* after the last step */
} golden_case;

/* Reads a file. On anything unexpected returns false, and in `error` the path, the line and what is wrong there. */
bool golden_read(const char *path, golden_case *golden, char error[GOLDEN_ERROR_SIZE]);

#endif
