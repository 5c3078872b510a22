/* The calls that take descriptions, made with a valid one of which a test has spoiled a part. */
#ifndef FUSEDOPT_TESTS_REFUSE_H
#define FUSEDOPT_TESTS_REFUSE_H

#include "model.h"

/* The calls that a description is tried on. */
enum { QUERY = 1, CREATE = 2, UPDATE = 4, SET_GROUP = 8 };
#define LISTS       (QUERY | CREATE)
#define DESCRIBED   (LISTS | UPDATE)
#define WITH_GROUP  (DESCRIBED | SET_GROUP)
#define WITH_MEMORY (CREATE | UPDATE)

/* The arguments of those calls. fopt_update() and fopt_set_group() get one of the tensors and groups. */
typedef struct arguments {
    fopt_config config;
    fopt_group groups[MODEL_TENSORS];
    fopt_tensor tensors[MODEL_TENSORS];
    fopt_array states[FOPT_STATE_KINDS];
    int64_t step;

    const fopt_config *config_at;
    const fopt_group *groups_at, *group_at;
    const fopt_tensor *tensors_at, *tensor_at;
    const fopt_array *states_at;
    fopt_optimizer **out_at;
    fopt_sizes *sizes_at;
    size_t group_count, tensor_count;
} arguments;

/* The model that the arguments describe, and on which no call but valid ones of tests succeeds. */
extern model refuse_model;

/* Opens the model, before a test; expects that the refused calls left no trace in it, at the end of one. */
void refuse_open(void);
void refuse_close(void);

/* Fills in valid arguments, about one of the groups or tensors where a call takes one. */
void fill_arguments(arguments *a, size_t index);

/*
 * Makes each of the calls, and expects it to be refused in these words, and to have written nothing. '*' in the words
 * stands for any text; '#' behind "group" or "tensor" for the index and the name, as far as the call has them.
 */
void expect_refused(unsigned calls, const arguments *a, size_t index, fopt_status want, const char *words);

/* Makes each of the calls, and expects it to be accepted. `what` is for messages. */
void expect_accepted(unsigned calls, const arguments *a, size_t index, const char *what);

#endif
