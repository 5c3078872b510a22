/*
 * A small model that the tests of the API share: one tensor for each way of using state, in several formats, each in a
 * group of its own with the same index and name.
 */
#ifndef FUSEDOPT_TESTS_MODEL_H
#define FUSEDOPT_TESTS_MODEL_H

#include "fusedopt.h"

#include <criterion/criterion.h>
#include <stdbool.h>

#define ASSERT_OK(call) cr_assert_eq(call, FOPT_OK, "%s: %s", #call, fopt_last_error())

enum { SGD, MOMENTUM, RMSPROP, ADAM, ADAMW, MODEL_TENSORS };
extern const char *const model_names[MODEL_TENSORS];

#define MODEL_ELEMENTS 700 /* three tiles, the last not full */
#define MODEL_BYTES    (MODEL_ELEMENTS * sizeof(float))

/* All that the model's caller owns. */
typedef struct model_memory {
    _Alignas(64) unsigned char params[MODEL_TENSORS][MODEL_BYTES];
    unsigned char grads[MODEL_TENSORS][MODEL_BYTES];
    unsigned char moments[FOPT_STATE_KINDS][MODEL_BYTES]; /* of the one tensor that fopt_update() is tried on */
} model_memory;

typedef struct model {
    model_memory memory;
    fopt_config config;
    fopt_group groups[MODEL_TENSORS];
    fopt_tensor tensors[MODEL_TENSORS];
    fopt_optimizer *optimizer;
} model;

/* Fills the memory and the descriptions, always alike; there is no optimizer yet. */
void model_describe(model *m);

/* Creates the optimizer from the descriptions. */
void model_create(model *m);

/* Does both, and makes a first step, so that no state is zero. */
void model_open(model *m);

/* Describes the moments of one tensor as fopt_update() takes them: they lie in m->memory. */
void model_states(model *m, size_t tensor, fopt_array states[FOPT_STATE_KINDS]);

/* Everything that a step can change, to be compared with memcmp(). */
typedef struct model_snapshot {
    model_memory memory;
    unsigned char state[MODEL_TENSORS][FOPT_STATE_KINDS][MODEL_BYTES];
    int64_t steps[MODEL_TENSORS];
} model_snapshot;

void model_read(const model *m, model_snapshot *snapshot);

/* Makes a step of a model on which all calls since model_open() were refused, and expects what a fresh one gives. */
void model_expect_as_fresh(model *m);

/* Tells whether the parts of `pattern` between asterisks occur in the text, in that order. */
bool mentions(const char *text, const char *pattern);

#endif
