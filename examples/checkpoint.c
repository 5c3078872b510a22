/*
 * Saves an optimizer's state and its parameters to a file, and resumes from there. It prints "resumed: the same bits",
 * and why an optimizer with its moments in bf16 cannot resume.
 *
 *     cc -Iinclude examples/checkpoint.c build/library/libfusedopt{_checkpoint,}.a -ljansson -lm -fopenmp && ./a.out
 */
#include "fusedopt_checkpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char path[] = "checkpoint.safetensors";

static void need(fopt_status status)
{
    if (status != FOPT_OK) {
        fprintf(stderr, "%s\n", fopt_last_error());
        exit(1);
    }
}

/* Minimizes sum (w - 3)^2 with Adam by steps [begin, end), from the file unless it is the first. Returns what resuming
 * says. */
static fopt_status train(float w[4], int begin, int end, fopt_format moments)
{
    float gradient[4];
    fopt_group group;
    need(fopt_group_init(&group, sizeof group, FOPT_ADAM));
    group.lr = 0.1;
    group.state_format[FOPT_FIRST_MOMENT] = group.state_format[FOPT_SECOND_MOMENT] = moments;
    fopt_tensor tensor = {0};
    tensor.size = sizeof tensor;
    tensor.name = "w";
    tensor.param = w;
    tensor.grad = gradient;
    tensor.count = 4;
    fopt_run run = {0};
    run.size = sizeof run;
    run.groups = &group;
    run.group_count = 1;
    run.tensors = &tensor;
    run.tensor_count = 1;
    need(fopt_create(NULL, &group, 1, &tensor, 1, &run.optimizer));

    fopt_checkpoint_options options = {0};
    options.size = sizeof options;
    options.flags = FOPT_CHECKPOINT_PARAMS;
    const char *const files[] = {path}; /* or those of all ranks of the earlier run */
    fopt_status status = begin == 0 ? FOPT_OK : fopt_checkpoint_load(&run, files, 1, &options, NULL);
    for (int step = begin; status == FOPT_OK && step < end; step++) {
        for (int i = 0; i < 4; i++)
            gradient[i] = 2 * (w[i] - 3);
        need(fopt_step(run.optimizer, NULL, NULL));
    }
    if (status == FOPT_OK)
        need(fopt_checkpoint_save(&run, path, &options, NULL));
    fopt_destroy(run.optimizer);
    return status;
}

/* A run in two parts gives the bits of one that was never interrupted. */
int main(void)
{
    float whole[4] = {0, 1, 2, 10}, first[4] = {0, 1, 2, 10}, second[4] = {0};
    need(train(whole, 0, 100, FOPT_F32));
    need(train(first, 0, 40, FOPT_F32));
    need(train(second, 40, 100, FOPT_F32));
    printf("resumed: %s\n", memcmp(whole, second, sizeof whole) == 0 ? "the same bits" : "other bits");
    if (train(second, 100, 101, FOPT_BF16) == FOPT_ERR_FILE)
        printf("%s\n", fopt_last_error());
    return 0;
}
