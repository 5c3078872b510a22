/* examples/checkpoint.c, as an engine would copy it. */
int example_main(void);
#define main example_main
#include "../../examples/checkpoint.c" /* NOLINT(bugprone-suspicious-include) */
#undef main

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <string.h>

enum { COUNT = 300, TENSORS = 3 };
static const fopt_rule rules[TENSORS] = {FOPT_ADAM, FOPT_SGD, FOPT_ADAMW};
static const fopt_format formats[TENSORS] = {FOPT_BF16, FOPT_F32, FOPT_Q8}; /* of second moments */

typedef struct run {
    float params[TENSORS][COUNT + 1], grads[TENSORS][COUNT + 1];
    fopt_optimizer *optimizer;
} run;

/* Makes a run whose last tensor may differ from the others': in the format of its second moment, rule or count. */
static void open_other(run *r, size_t tensor_count, fopt_format last_format, fopt_rule last_rule, size_t last_count)
{
    fopt_group groups[TENSORS];
    fopt_tensor tensors[TENSORS] = {0};
    for (size_t i = 0; i < tensor_count; i++) {
        const int last = i == TENSORS - 1;
        cr_assert_eq(fopt_group_init(&groups[i], sizeof groups[i], last ? last_rule : rules[i]), FOPT_OK);
        groups[i].state_format[FOPT_SECOND_MOMENT] = last ? last_format : formats[i];
        tensors[i] = (fopt_tensor){.size = sizeof tensors[i], .param = r->params[i], .grad = r->grads[i]};
        tensors[i].count = last ? last_count : COUNT;
        tensors[i].group = i;
    }
    cr_assert_eq(fopt_create(NULL, groups, tensor_count, tensors, tensor_count, &r->optimizer), FOPT_OK);
}

static void open_run(run *r)
{
    open_other(r, TENSORS, formats[TENSORS - 1], rules[TENSORS - 1], COUNT);
}

static void step(run *r, int number)
{
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t j = 0; j < COUNT; j++)
            r->grads[i][j] = (float)((int)(j * 7 + i) % 11 - 5 + number) * 0.1f;
    cr_assert_eq(fopt_step(r->optimizer, NULL, NULL), FOPT_OK);
}

Test(checkpoint, checkpoint)
{
    static run first, second;
    open_run(&first);
    for (int i = 0; i < 5; i++)
        step(&first, i);
    FILE *file = tmpfile();
    cr_assert(file && move_state(first.optimizer, TENSORS, file, 1));

    memcpy(second.params, first.params, sizeof second.params);
    open_run(&second);
    rewind(file);
    cr_assert(move_state(second.optimizer, TENSORS, file, 0));
    cr_expect_eq(fgetc(file), EOF);
    for (int i = 5; i < 9; i++) {
        step(&first, i);
        step(&second, i);
    }
    cr_expect_eq(memcmp(second.params, first.params, sizeof second.params), 0);

    fclose(file);
    fopt_destroy(first.optimizer);
    fopt_destroy(second.optimizer);
}

/* Loads a file into an optimizer that it does not fit. */
static void refused(const char *what, FILE *file, size_t tensor_count, fopt_format format, fopt_rule rule, size_t count)
{
    static run other;
    open_other(&other, tensor_count, format, rule, count);
    rewind(file);
    cr_expect(!move_state(other.optimizer, tensor_count, file, 0), "%s", what);
    fopt_destroy(other.optimizer);
}

static FILE *saved(void)
{
    static run r;
    open_run(&r);
    step(&r, 0);
    FILE *file = tmpfile();
    cr_assert(file && move_state(r.optimizer, TENSORS, file, 1));
    fopt_destroy(r.optimizer);
    return file;
}

Test(checkpoint, checkpoint_of_another, .init = cr_redirect_stderr)
{
    FILE *file = saved();
    refused("another format", file, TENSORS, FOPT_F32, FOPT_ADAMW, COUNT);
    refused("another one", file, TENSORS, FOPT_BF16, FOPT_ADAMW, COUNT);
    refused("a rule with fewer moments", file, TENSORS, FOPT_Q8, FOPT_SGD, COUNT);
    refused("fewer elements", file, TENSORS, FOPT_Q8, FOPT_ADAMW, COUNT - 1);
    refused("more elements", file, TENSORS, FOPT_Q8, FOPT_ADAMW, COUNT + 1);
    refused("fewer tensors", file, TENSORS - 1, FOPT_Q8, FOPT_ADAMW, COUNT);
    fclose(file);
    fflush(stderr);
    cr_expect_stderr_eq_str("tensor 2: format, elements, bytes are 3, 300, 300 in the file, not 0, 300, 1200\n"
                            "tensor 2: format, elements, bytes are 3, 300, 300 in the file, not 1, 300, 600\n"
                            "tensor 2: format, elements, bytes are 0, 300, 1200 in the file, not 0, 0, 0\n"
                            "tensor 2: format, elements, bytes are 0, 300, 1200 in the file, not 0, 299, 1196\n"
                            "tensor 2: format, elements, bytes are 0, 300, 1200 in the file, not 0, 301, 1204\n"
                            "the file has the state of more than 2 tensors\n");
}

Test(checkpoint, checkpoint_cut_off, .init = cr_redirect_stderr)
{
    static char all[1 << 16];
    FILE *file = saved();
    rewind(file);
    const size_t length = fread(all, 1, sizeof all, file);
    cr_assert(length > 1000 && length < sizeof all);
    fclose(file);
    for (size_t bytes = 0; bytes < length; bytes += bytes + 7 < length ? 7 : 1) {
        file = tmpfile();
        cr_assert(file && fwrite(all, 1, bytes, file) == bytes);
        refused("a file that is cut off", file, TENSORS, FOPT_Q8, FOPT_ADAMW, COUNT);
        fclose(file);
    }
}

Test(checkpoint, checkpoint_without_room, .init = cr_redirect_stderr)
{
    static run r;
    open_run(&r);
    FILE *full = fopen("/dev/full", "w");
    cr_assert(full);
    cr_expect(!move_state(r.optimizer, TENSORS, full, 1));
    fclose(full);
    fopt_destroy(r.optimizer);
}

Test(checkpoint, the_example_runs, .init = cr_redirect_stdout)
{
    cr_expect_eq(example_main(), 0);
    fflush(stdout);
    cr_expect_stdout_eq_str("resumed: the same bits\n");
}
