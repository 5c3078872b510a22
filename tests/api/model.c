/* The small model: its tensors, its groups, and what a step can change of it. */
#include "model.h"

#include <string.h>

const char *const model_names[MODEL_TENSORS] = {"sgd", "momentum", "rmsprop", "adam", "adamw"};

/* Fills an array with moderate numbers of both signs. As 16 bits, 0x3c00 begins [1, 2) of f16, and [1/128, 1/64] of
 * bf16. */
static void fill(unsigned char *array, fopt_format format, size_t seed)
{
    for (size_t i = 0; i < MODEL_ELEMENTS; i++) {
        const size_t number = i * 37 + seed;
        const float f32 = (float)((int)(number % 101) - 50) / 64.0f;
        const uint16_t bits = (uint16_t)(number % 2 << 15 | (0x3c00 + number % 128));
        if (format == FOPT_F32)
            memcpy(array + i * sizeof f32, &f32, sizeof f32);
        else
            memcpy(array + i * sizeof bits, &bits, sizeof bits);
    }
}

void model_describe(model *m)
{
    static const fopt_rule rules[] = {FOPT_SGD, FOPT_SGD, FOPT_RMSPROP, FOPT_ADAM, FOPT_ADAMW};
    memset(m, 0, sizeof *m);
    m->config = (fopt_config){.size = sizeof m->config, .seed = 7, .threads = 1};
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        ASSERT_OK(fopt_group_init(&m->groups[i], sizeof m->groups[i], rules[i]));
        m->tensors[i] = (fopt_tensor){.size = sizeof m->tensors[i],
                                      .name = model_names[i],
                                      .param = m->memory.params[i],
                                      .grad = m->memory.grads[i],
                                      .count = MODEL_ELEMENTS,
                                      .group = i};
    }
    m->groups[MOMENTUM].momentum = 0.9;
    m->groups[RMSPROP].momentum = 0.9;
    m->groups[RMSPROP].flags |= FOPT_CENTERED;
    m->groups[ADAM].flags |= FOPT_AMSGRAD;
    m->groups[ADAMW].state_format[FOPT_FIRST_MOMENT] = FOPT_BF16;
    m->groups[ADAMW].state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    m->tensors[RMSPROP].grad_format = FOPT_BF16;
    m->tensors[ADAMW].param_format = FOPT_BF16;
    m->tensors[ADAMW].grad_format = FOPT_F16;
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        fill(m->memory.params[i], m->tensors[i].param_format, 5 * i);
        fill(m->memory.grads[i], m->tensors[i].grad_format, 7 * i + 1);
    }
}

void model_create(model *m)
{
    ASSERT_OK(fopt_create(&m->config, m->groups, MODEL_TENSORS, m->tensors, MODEL_TENSORS, &m->optimizer));
}

void model_open(model *m)
{
    model_describe(m);
    model_create(m);
    ASSERT_OK(fopt_step(m->optimizer, NULL, NULL));
}

void model_states(model *m, size_t tensor, fopt_array states[FOPT_STATE_KINDS])
{
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        fopt_array *state = &states[kind];
        *state = (fopt_array){.size = sizeof *state};
        ASSERT_OK(fopt_state(m->optimizer, tensor, (fopt_state_kind)kind, state));
        if (state->data)
            state->data = m->memory.moments[kind];
    }
}

void model_read(const model *m, model_snapshot *snapshot)
{
    memset(snapshot, 0, sizeof *snapshot);
    memcpy(&snapshot->memory, &m->memory, sizeof m->memory);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        ASSERT_OK(fopt_get_step(m->optimizer, i, &snapshot->steps[i], NULL));
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            ASSERT_OK(fopt_state(m->optimizer, i, (fopt_state_kind)kind, &view));
            cr_assert_leq(view.bytes, MODEL_BYTES);
            if (view.data)
                memcpy(snapshot->state[i][kind], view.data, view.bytes);
        }
    }
}

void model_expect_as_fresh(model *m)
{
    static model fresh;
    static model_snapshot got, want;
    model_open(&fresh);
    ASSERT_OK(fopt_step(fresh.optimizer, NULL, NULL));
    ASSERT_OK(fopt_step(m->optimizer, NULL, NULL));
    model_read(&fresh, &want);
    model_read(m, &got);
    cr_expect_eq(memcmp(&got, &want, sizeof got), 0, "a refused call changed what the next step does");
    fopt_destroy(fresh.optimizer);
    fopt_destroy(m->optimizer);
}

bool mentions(const char *text, const char *pattern)
{
    for (;;) {
        char part[128];
        const size_t length = strcspn(pattern, "*");
        cr_assert_lt(length, sizeof part, "the pattern '%s' has too long a part", pattern);
        memcpy(part, pattern, length);
        part[length] = '\0';
        text = strstr(text, part);
        if (!text)
            return false;
        if (pattern[length] == '\0')
            return true;
        text += length;
        pattern += length + 1;
    }
}
