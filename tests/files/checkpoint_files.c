/*
 * Writes a checkpoint, or reads one, and prints what the optimizer then has: a line for each array, its name in files,
 * its format, and its bytes in hexadecimal digits. For tests/delivery/test_safetensors.py.
 *
 *     checkpoint_files write FILE
 *     checkpoint_files read FILE...
 */
#include "fusedopt_checkpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 5, COUNT = 600, STEPS = 3 };

static const struct {
    const char *name;
    fopt_rule rule;
    unsigned flags;
    double momentum;
    fopt_format params, first, second;
} tensors[TENSORS] = {
    {"embed.weight", FOPT_ADAMW, FOPT_DECOUPLED_DECAY, 0, FOPT_F32, FOPT_F32, FOPT_F32},
    {"layers.0.weight", FOPT_ADAM, FOPT_AMSGRAD, 0, FOPT_BF16, FOPT_BF16, FOPT_BF16},
    {"layers.1.weight", FOPT_ADAM, 0, 0, FOPT_F32, FOPT_Q8, FOPT_Q8},
    {"head \xe2\x82\xac \"quoted\"", FOPT_SGD, 0, 0.9, FOPT_F32, FOPT_F32, FOPT_F32},
    {"layers.2.weight", FOPT_ADAM, 0, 0, FOPT_F16, FOPT_BF16, FOPT_Q8_64},
};

static void need(fopt_status status)
{
    if (status != FOPT_OK) {
        fprintf(stderr, "%s\n", fopt_last_error());
        exit(1);
    }
}

static void print_bytes(const char *name, const char *end, const char *format, const void *bytes, size_t count)
{
    printf("%s%s%s %s ", name, *end ? "." : "", end, format);
    for (size_t i = 0; i < count; i++)
        printf("%02x", ((const unsigned char *)bytes)[i]);
    printf("\n");
}

static void print_tensor(const fopt_optimizer *optimizer, size_t i, const void *param)
{
    int64_t step;
    need(fopt_get_step(optimizer, i, &step, NULL));
    print_bytes(tensors[i].name, "step", "i64", &step, sizeof step);
    print_bytes(tensors[i].name, "", fopt_format_name(tensors[i].params), param,
                (size_t)COUNT * (tensors[i].params == FOPT_F32 ? 4 : 2));
    for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        char end[64];
        fopt_array view = {.size = sizeof view};
        need(fopt_state(optimizer, i, (fopt_state_kind)kind, &view));
        if (!view.data)
            continue;
        snprintf(end, sizeof end, "%s", fopt_state_kind_name(tensors[i].rule, (fopt_state_kind)kind));
        print_bytes(tensors[i].name, end, fopt_format_name(view.format), view.data, view.bytes);
        strcat(end, ".absmax");
        const size_t block = view.format == FOPT_Q8 ? 256 : 64;
        if (view.absmax)
            print_bytes(tensors[i].name, end, "f32", view.absmax, (COUNT + block - 1) / block * sizeof(float));
    }
}

int main(int argc, char **argv)
{
    static _Alignas(64) unsigned char params[TENSORS][COUNT * 4], grads[TENSORS][COUNT * 4];
    const fopt_checkpoint_options options = {.size = sizeof options, .flags = FOPT_CHECKPOINT_PARAMS};
    fopt_config config = {.size = sizeof config, .seed = 11111111111111111111u, .threads = 1};
    fopt_group groups[TENSORS];
    fopt_tensor described[TENSORS];
    fopt_run run = {sizeof run, NULL, &config, groups, TENSORS, described, TENSORS};
    const int writes = argc == 3 && strcmp(argv[1], "write") == 0;
    if (argc < 3)
        return 2;
    for (size_t i = 0; i < TENSORS; i++) {
        need(fopt_group_init(&groups[i], sizeof groups[i], tensors[i].rule));
        groups[i].lr = 0.3;
        groups[i].flags = tensors[i].flags;
        groups[i].momentum = tensors[i].momentum;
        groups[i].state_format[FOPT_FIRST_MOMENT] = tensors[i].first;
        groups[i].state_format[FOPT_SECOND_MOMENT] = tensors[i].second;
        described[i] = (fopt_tensor){.size = sizeof described[i], .name = tensors[i].name, .group = i};
        described[i].param = params[i];
        described[i].grad = grads[i];
        described[i].count = COUNT;
        described[i].param_format = described[i].grad_format = tensors[i].params;
        for (size_t j = 0; j < sizeof grads[i]; j++) /* numbers below 1 in every format */
            grads[i][j] = (unsigned char)(j % 2 ? 0x30 + j % 11 : j * 37 + i);
    }
    need(fopt_create(&config, groups, TENSORS, described, TENSORS, &run.optimizer));
    for (int step = 0; writes && step < STEPS; step++)
        need(fopt_step(run.optimizer, NULL, NULL));
    need(writes ? fopt_checkpoint_save(&run, argv[2], &options, NULL)
                : fopt_checkpoint_load(&run, (const char *const *)argv + 2, (size_t)argc - 2, &options, NULL));
    for (size_t i = 0; i < TENSORS; i++)
        print_tensor(run.optimizer, i, params[i]);
    fopt_destroy(run.optimizer);
    return 0;
}
