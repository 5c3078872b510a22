/* Makes the calls that take descriptions, and expects them to be refused. */
#include "refuse.h"

#include <stdio.h>
#include <string.h>

model refuse_model;

static fopt_optimizer *out;
static fopt_sizes sizes;

void refuse_open(void)
{
    model_open(&refuse_model);
}

void refuse_close(void)
{
    model_expect_as_fresh(&refuse_model);
}

void fill_arguments(arguments *a, size_t index)
{
    memset(a, 0, sizeof *a);
    a->config = refuse_model.config;
    memcpy(a->groups, refuse_model.groups, sizeof refuse_model.groups);
    memcpy(a->tensors, refuse_model.tensors, sizeof refuse_model.tensors);
    model_states(&refuse_model, index, a->states);
    a->step = 1;
    a->config_at = &a->config;
    a->groups_at = a->groups;
    a->group_at = &a->groups[index];
    a->tensors_at = a->tensors;
    a->tensor_at = &a->tensors[index];
    a->states_at = a->states;
    a->out_at = &out;
    a->sizes_at = &sizes;
    a->group_count = a->tensor_count = MODEL_TENSORS;
}

static const char *call_name(unsigned call)
{
    return call == QUERY    ? "fopt_query_sizes: "
           : call == CREATE ? "fopt_create: "
           : call == UPDATE ? "fopt_update: "
                            : "fopt_set_group: ";
}

static fopt_status make_call(unsigned call, const arguments *a, size_t index)
{
    switch (call) {
    case QUERY:
        return fopt_query_sizes(a->config_at, a->groups_at, a->group_count, a->tensors_at, a->tensor_count,
                                a->sizes_at);
    case CREATE:
        return fopt_create(a->config_at, a->groups_at, a->group_count, a->tensors_at, a->tensor_count, a->out_at);
    case UPDATE:
        return fopt_update(a->config_at, a->group_at, a->tensor_at, a->states_at, a->step, NULL, NULL);
    default:
        return fopt_set_group(refuse_model.optimizer, index, a->group_at, NULL);
    }
}

/* Replaces '#' in `words`: fopt_update() has no index to tell. */
static void expand(const char *words, unsigned call, size_t index, char pattern[256])
{
    const char *place = strchr(words, '#');
    const bool tensor = strncmp(words, "tensor#", strlen("tensor#")) == 0;
    char number[8] = "", name[16] = "";
    if (call != UPDATE)
        snprintf(number, sizeof number, " %zu", index);
    if (tensor)
        snprintf(name, sizeof name, " '%s'", model_names[index]);
    if (place)
        snprintf(pattern, 256, "%.*s%s%s%s", (int)(place - words), words, number, name, place + 1);
    else
        snprintf(pattern, 256, "%s", words);
}

void expect_refused(unsigned calls, const arguments *a, size_t index, fopt_status want, const char *words)
{
    static model_snapshot before, after;
    model_read(&refuse_model, &before);
    for (unsigned call = QUERY; call <= SET_GROUP; call *= 2) {
        if (!(calls & call))
            continue;
        char pattern[256];
        expand(words, call, index, pattern);
        out = refuse_model.optimizer;
        sizes = (fopt_sizes){.size = sizeof sizes, .state_bytes = 42};
        const fopt_status got = make_call(call, a, index);
        cr_expect_eq(got, want, "call %u, '%s': status %d, want %d", call, pattern, (int)got, (int)want);
        if (got == FOPT_OK && call == CREATE)
            fopt_destroy(out);
        if (got == FOPT_OK)
            continue;
        cr_expect(strncmp(fopt_last_error(), call_name(call), strlen(call_name(call))) == 0, "call %u: '%s'", call,
                  fopt_last_error());
        cr_expect(mentions(fopt_last_error(), pattern), "call %u: got '%s' want '%s'", call, fopt_last_error(),
                  pattern);
        cr_expect_eq(out, call == CREATE && a->out_at ? NULL : refuse_model.optimizer, "call %u, '%s': *out", call,
                     pattern);
        cr_expect_eq(sizes.state_bytes, 42, "call %u, '%s': *sizes was written", call, pattern);
        model_read(&refuse_model, &after);
        cr_expect_eq(memcmp(&after, &before, sizeof after), 0, "call %u, '%s': the model changed", call, pattern);
    }
}

void expect_accepted(unsigned calls, const arguments *a, size_t index, const char *what)
{
    for (unsigned call = QUERY; call <= SET_GROUP; call *= 2) {
        if (!(calls & call))
            continue;
        sizes = (fopt_sizes){.size = sizeof sizes};
        cr_expect_eq(make_call(call, a, index), FOPT_OK, "call %u, %s: %s", call, what, fopt_last_error());
        if (call == CREATE)
            fopt_destroy(out);
    }
}
