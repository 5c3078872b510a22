/* The README's checkpoint, as an engine would copy it. */
#include "readme_2.h"

#include <criterion/criterion.h>
#include <string.h>

enum { COUNT = 300, TENSORS = 3 };

typedef struct run {
    float params[TENSORS][COUNT], grads[TENSORS][COUNT];
    fopt_optimizer *optimizer;
} run;

static void open_run(run *r)
{
    fopt_group groups[TENSORS];
    fopt_tensor tensors[TENSORS] = {0};
    const fopt_rule rules[TENSORS] = {FOPT_ADAM, FOPT_SGD, FOPT_ADAMW};
    const fopt_format formats[TENSORS] = {FOPT_BF16, FOPT_F32, FOPT_Q8};
    for (size_t i = 0; i < TENSORS; i++) {
        cr_assert_eq(fopt_group_init(&groups[i], sizeof groups[i], rules[i]), FOPT_OK);
        groups[i].state_format[FOPT_SECOND_MOMENT] = formats[i];
        tensors[i] = (fopt_tensor){.size = sizeof tensors[i], .param = r->params[i], .grad = r->grads[i]};
        tensors[i].count = COUNT;
        tensors[i].group = i;
    }
    cr_assert_eq(fopt_create(NULL, groups, TENSORS, tensors, TENSORS, &r->optimizer), FOPT_OK);
}

static void step(run *r, int number)
{
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t j = 0; j < COUNT; j++)
            r->grads[i][j] = (float)((int)(j * 7 + i) % 11 - 5 + number) * 0.1f;
    cr_assert_eq(fopt_step(r->optimizer, NULL, NULL), FOPT_OK);
}

Test(readme, checkpoint)
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

    rewind(file);
    cr_expect(!move_state(second.optimizer, TENSORS + 1, file, 0), "a tensor more than there are");
    fclose(file);
    fopt_destroy(first.optimizer);
    fopt_destroy(second.optimizer);
}
