/* Moments that are the caller's: fopt_tensor.states. */
#include "refuse.h"

#include <stdio.h>
#include <string.h>

/* The moments of all tensors of a model, codes with their absmax behind. */
typedef struct moments {
    unsigned char data[MODEL_TENSORS][FOPT_STATE_KINDS][MODEL_BYTES];
    float absmax[MODEL_TENSORS][FOPT_STATE_KINDS][MODEL_ELEMENTS];
    fopt_array states[MODEL_TENSORS][FOPT_STATE_KINDS];
} moments;

/* Describes a model, one of whose moments is quantized, and what it keeps in memory of the caller's. */
static void describe(model *m, moments *own)
{
    model_describe(m);
    m->groups[MOMENTUM].state_format[FOPT_MOMENTUM_BUFFER] = FOPT_Q8;
    memset(own, 0, sizeof *own);
    model_create(m);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array *state = &own->states[i][kind];
            state->size = sizeof *state;
            ASSERT_OK(fopt_state(m->optimizer, i, (fopt_state_kind)kind, state));
            state->data = state->data ? own->data[i][kind] : NULL;
            state->absmax = state->absmax ? own->absmax[i][kind] : NULL;
        }
    fopt_destroy(m->optimizer);
}

static void use(model *m, moments *own)
{
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        m->tensors[i].states = own->states[i];
}

static void make_steps(model *m)
{
    for (int step = 0; step < 3; step++) {
        ASSERT_OK(fopt_set_lr(m->optimizer, ADAM, 0.01 * (step + 1), NULL));
        ASSERT_OK(fopt_step(m->optimizer, NULL, NULL));
    }
}

Test(states, are_used_where_they_lie)
{
    static model theirs, ours;
    static moments own;
    static model_snapshot want, got;
    describe(&theirs, &own);
    model_create(&theirs);
    make_steps(&theirs);
    model_read(&theirs, &want);

    describe(&ours, &own);
    use(&ours, &own);
    model_create(&ours);
    memset(ours.groups, 0xff, sizeof ours.groups); /* the descriptions are copied */
    const moments described = own;
    memset(own.states, 0xff, sizeof own.states);
    make_steps(&ours);
    model_read(&ours, &got);
    cr_expect_eq(memcmp(&got, &want, sizeof got), 0, "moments of the caller's give other bits");
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            ASSERT_OK(fopt_state(ours.optimizer, i, (fopt_state_kind)kind, &view));
            cr_expect_eq(view.data, described.states[i][kind].data);
            cr_expect_eq(view.absmax, described.states[i][kind].absmax);
        }
    fopt_destroy(ours.optimizer); /* which leaves them */
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        cr_expect_eq(memcmp(own.data[i], want.state[i], sizeof own.data[i]), 0, "tensor %zu", i);
    fopt_destroy(theirs.optimizer);
}

/* An optimizer of one step count goes on where another one left them. */
Test(states, go_on)
{
    static model whole, parts;
    static moments own;
    static model_snapshot want, got;
    describe(&whole, &own);
    model_create(&whole);
    for (int step = 0; step < 4; step++)
        ASSERT_OK(fopt_step(whole.optimizer, NULL, NULL));
    model_read(&whole, &want);
    fopt_destroy(whole.optimizer);

    describe(&parts, &own);
    use(&parts, &own);
    for (int64_t step = 0; step < 4; step++) {
        model_create(&parts);
        for (size_t i = 0; i < MODEL_TENSORS; i++)
            ASSERT_OK(fopt_set_step(parts.optimizer, i, step, NULL));
        ASSERT_OK(fopt_step(parts.optimizer, NULL, NULL));
        if (step == 3)
            model_read(&parts, &got);
        fopt_destroy(parts.optimizer);
    }
    cr_expect_eq(memcmp(&got, &want, sizeof got), 0);
}

Test(states, take_no_memory_of_the_library)
{
    static model m;
    static moments own;
    describe(&m, &own);
    fopt_sizes all = {.size = sizeof all}, some = all, none = all;
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &all));
    m.tensors[ADAM].states = own.states[ADAM];
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &some));
    use(&m, &own);
    ASSERT_OK(fopt_query_sizes(&m.config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &none));
    cr_expect_eq(all.state_bytes - some.state_bytes, 3 * MODEL_BYTES);
    cr_expect_eq(none.state_bytes, 0);
    cr_expect_eq(none.device_bytes, 0);
    model_create(&m); /* mixed and empty ones can be made */
    fopt_destroy(m.optimizer);
    m.tensors[ADAM].states = NULL;
    m.tensors[ADAMW].count = 0;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        own.states[ADAMW][kind].count = 0; /* of an empty tensor nothing is used, or shown */
    model_create(&m);
    fopt_array view = {.size = sizeof view};
    ASSERT_OK(fopt_state(m.optimizer, ADAMW, FOPT_FIRST_MOMENT, &view));
    cr_expect_null(view.data);
    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    fopt_destroy(m.optimizer);
}

TestSuite(states_refused, .init = refuse_open, .fini = refuse_close);

Test(states_refused, one_that_is_wrong)
{
    static moments own;
    static float elsewhere[MODEL_ELEMENTS];
    static model m;
    describe(&m, &own);
    const struct {
        void *data;
        size_t count;
        fopt_format format;
        size_t kind;
        const char *words;
    } cases[] = {
        {NULL, MODEL_ELEMENTS, FOPT_F32, 1, "tensor 3 'adam': states[1]: data is NULL, but adam needs exp_avg_sq"},
        {elsewhere, 699, FOPT_F32, 1,
         "tensor 3 'adam': states[1]: count of exp_avg_sq is 699, but the tensor's is 700"},
        {elsewhere, MODEL_ELEMENTS, FOPT_BF16, 0, "tensor 3 'adam': states[0]: format of exp_avg is 1, but*f32"},
        {(char *)elsewhere + 2, MODEL_ELEMENTS, FOPT_F32, 2,
         "tensor 3 'adam': states[2]: max_exp_avg_sq is 0x*aligned"},
        {elsewhere, MODEL_ELEMENTS, FOPT_F32, 3, "tensor 3 'adam': states[3]: data is 0x*adam keeps no such array"},
        {elsewhere, MODEL_ELEMENTS, FOPT_F32, 5, "tensor 3 'adam': states[5]: data is 0x*no such fopt_state_kind"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arguments a;
        fill_arguments(&a, ADAM);
        a.tensors[ADAM].states = a.states;
        expect_accepted(LISTS, &a, ADAM, "moments of the caller's");
        a.states[cases[i].kind].data = cases[i].data;
        a.states[cases[i].kind].count = cases[i].count;
        a.states[cases[i].kind].format = cases[i].format;
        expect_refused(CREATE, &a, ADAM, FOPT_ERR_ARGUMENT, cases[i].words);
    }
}

Test(states_refused, overlaps)
{
    arguments a;
    const size_t last = MODEL_BYTES - sizeof(float);
    fill_arguments(&a, ADAM);
    a.tensors[ADAM].states = a.states;
    unsigned char *const good = a.states[0].data;
    const struct {
        void *exp_avg;
        const char *words;
    } cases[] = {
        {refuse_model.memory.params[SGD] + last,
         "tensor 3 'adam': states[0] is 0x*overlaps the param of tensor 0 'sgd'"},
        {refuse_model.memory.params[ADAM], "tensor 3 'adam': *overlaps the * of tensor 3 'adam', count 700"},
        {(unsigned char *)a.states[1].data + last, "tensor 3 'adam': states[*] is 0x*overlaps the states["},
        {refuse_model.memory.grads[SGD], "tensor 0 'sgd': grad is 0x*overlaps the states[0] of tensor 3 'adam'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        a.states[0].data = cases[i].exp_avg;
        expect_refused(CREATE, &a, ADAM, FOPT_ERR_ARGUMENT, cases[i].words);
    }
    a.states[0].data = good;
    expect_accepted(CREATE, &a, ADAM, "moments beside each other");
    a.tensors[SGD].grad = NULL;
    fopt_optimizer *optimizer;
    void *grads[MODEL_TENSORS] = {good + last};
    ASSERT_OK(fopt_create(&a.config, a.groups, MODEL_TENSORS, a.tensors, MODEL_TENSORS, &optimizer));
    cr_expect_eq(fopt_set_grads(optimizer, grads, NULL), FOPT_ERR_ARGUMENT);
    cr_expect(mentions(fopt_last_error(), "tensor 0 'sgd': grad is 0x*overlaps the states[0] of tensor 3 'adam'"), "%s",
              fopt_last_error());
    fopt_destroy(optimizer);
}
