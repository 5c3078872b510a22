/*
 * Saves an optimizer's state and resumes from it: the step count of each tensor, and its moments, of which fopt_state()
 * gives a view. This is for the CPU; on a GPU the views are of the device's memory: copy them with cudaMemcpyAsync() on
 * the stream of the steps, and wait.
 *
 *     cc -Iinclude examples/checkpoint.c build/library/libfusedopt.a -lm -fopenmp && ./a.out
 */
#include "fusedopt.h"
#include <stdio.h>
#include <string.h>

static int move_bytes(void *bytes, size_t count, FILE *file, int saving)
{
    if (count == 0)
        return 1;
    size_t moved = saving ? fwrite(bytes, 1, count, file) : fread(bytes, 1, count, file);
    if (moved != count)
        fprintf(stderr, "%s\n", saving ? "the state cannot be written" : "the file of the state ends too early");
    return moved == count;
}

/* Writes or reads what an array is, and the array; refuses to read any other one than the optimizer has. */
static int move_array(const fopt_array *array, size_t tensor, FILE *file, int saving)
{
    long long here[3] = {array->count ? (long long)array->format : 0, (long long)array->count, (long long)array->bytes};
    long long there[3];
    memcpy(there, here, sizeof there);
    if (!move_bytes(there, sizeof there, file, saving))
        return 0;
    if (memcmp(there, here, sizeof there) != 0) {
        fprintf(stderr, "tensor %zu: format, elements, bytes are %lld, %lld, %lld in the file, not %lld, %lld, %lld\n",
                tensor, there[0], there[1], there[2], here[0], here[1], here[2]);
        return 0;
    }
    size_t block = array->format == FOPT_Q8_64 ? 64 : 256;
    size_t scales = array->absmax ? (array->count + block - 1) / block * sizeof(float) : 0;
    return move_bytes(array->data, array->bytes, file, saving) && move_bytes(array->absmax, scales, file, saving);
}

/* Writes the state of all tensors to a file, or reads it from one that has nothing else. An optimizer that could not
 * read it may have a part of it: destroy it. */
static int move_state(fopt_optimizer *optimizer, size_t tensor_count, FILE *file, int saving)
{
    for (size_t tensor = 0; tensor < tensor_count; tensor++) {
        int64_t step;
        if (saving && fopt_get_step(optimizer, tensor, &step, NULL) != FOPT_OK)
            return 0;
        if (!move_bytes(&step, sizeof step, file, saving))
            return 0;
        if (!saving && fopt_set_step(optimizer, tensor, step, NULL) != FOPT_OK)
            return 0;
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {0};
            view.size = sizeof view;
            if (fopt_state(optimizer, tensor, (fopt_state_kind)kind, &view) != FOPT_OK ||
                !move_array(&view, tensor, file, saving))
                return 0;
        }
    }
    if (!saving && fgetc(file) != EOF)
        fprintf(stderr, "the file has the state of more than %zu tensors\n", tensor_count);
    return saving ? fflush(file) == 0 : feof(file) != 0;
}

/* Minimizes sum (w - 3)^2 with Adam by steps [begin, end) of a run that a file carries on. Returns 0 if it fails. */
static int train(float w[4], int begin, int end, FILE *file)
{
    float gradient[4];
    fopt_group group;
    fopt_group_init(&group, sizeof group, FOPT_ADAM);
    group.lr = 0.1;
    fopt_tensor tensor = {0};
    tensor.size = sizeof tensor;
    tensor.param = w;
    tensor.grad = gradient;
    tensor.count = 4;
    fopt_optimizer *optimizer;
    if (fopt_create(NULL, &group, 1, &tensor, 1, &optimizer) != FOPT_OK)
        return 0;
    int good = begin == 0 || move_state(optimizer, 1, file, 0);
    for (int step = begin; good && step < end; step++) {
        for (int i = 0; i < 4; i++)
            gradient[i] = 2 * (w[i] - 3);
        good = fopt_step(optimizer, NULL, NULL) == FOPT_OK;
    }
    rewind(file);
    good = good && move_state(optimizer, 1, file, 1);
    rewind(file);
    fopt_destroy(optimizer);
    return good;
}

/* A run in two parts gives the bits of one that was never interrupted. */
int main(void)
{
    float whole[4] = {0, 1, 2, 10}, parts[4] = {0, 1, 2, 10};
    FILE *one = tmpfile(), *other = tmpfile();
    if (!one || !other || !train(whole, 0, 100, one) || !train(parts, 0, 40, other) || !train(parts, 40, 100, other)) {
        fprintf(stderr, "%s\n", fopt_last_error());
        return 1;
    }
    printf("resumed: %s\n", memcmp(whole, parts, sizeof whole) == 0 ? "the same bits" : "other bits");
    return 0;
}
