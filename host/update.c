/* fopt_update(): one step of one tensor, with state that the caller owns. */
#include "plan.h"
#include <assert.h>
#include <inttypes.h>

const char *const fopt_i_array_names[] = {
    "param",
    "grad",
    "states[0]",
    "states[1]",
    "states[2]",
    "states[3]",
    "states[0].absmax",
    "states[1].absmax",
    "states[2].absmax",
    "states[3].absmax",
};
static_assert(sizeof fopt_i_array_names / sizeof *fopt_i_array_names == FOPT_I_ARRAYS, "each has a name");

static fopt_status check_absmax(const fopt_array *array, const char *name, fopt_i_subject subject)
{
    if (!fopt_i_is_quantized(array->format))
        return array->absmax ? fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: absmax is %p, but %s of %s has none",
                                           fopt_i_label_of(subject).text, (void *)array->absmax,
                                           fopt_format_name(array->format), name)
                             : FOPT_OK;
    if (!array->absmax)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: absmax is NULL, but %s is %s", fopt_i_label_of(subject).text, name,
                           fopt_format_name(array->format));
    return fopt_i_check_pointer(array->absmax, "absmax", (size_t)fopt_i_absmax_count(array->format, array->count),
                                FOPT_F32, subject);
}

/* Reads one moment, checked against the group. `from` is NULL if the caller gave no states at all. */
static fopt_status read_state(const fopt_array *from, fopt_state_kind kind, const fopt_i_group *group,
                              fopt_i_subject subject, fopt_i_record *record)
{
    const size_t count = (size_t)record->count;
    const fopt_i_rule *rule = fopt_i_find_rule(group->value.rule);
    const char *name = rule->state_names[kind];
    const bool needed = count > 0 && (group->kinds & 1u << kind) != 0;
    fopt_array array = {.data = NULL};
    if (from) {
        fopt_status status = fopt_i_read_struct(&array, from, FOPT_I_LEAST_ARRAY, sizeof array, subject);
        if (status)
            return status;
    }
    record->state[kind] = needed ? array.data : NULL;
    if (!needed && array.data && !(group->kinds & 1u << kind))
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: data is %p, but this group of %s keeps no such array",
                           fopt_i_label_of(subject).text, array.data, rule->name);
    if (!needed)
        return FOPT_OK;
    if (!array.data)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: data is NULL, but %s needs %s", fopt_i_label_of(subject).text,
                           rule->name, name);
    if (array.count != count)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: count of %s is %zu, but the tensor's is %zu",
                           fopt_i_label_of(subject).text, name, array.count, count);
    if (array.format != group->value.state_format[kind])
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: format of %s is %d, but the group's state_format is %s",
                           fopt_i_label_of(subject).text, name, (int)array.format,
                           fopt_format_name(group->value.state_format[kind]));
    fopt_status status = fopt_i_check_pointer(array.data, name, count, array.format, subject);
    if (!status)
        status = check_absmax(&array, name, subject);
    record->absmax[kind] = array.absmax;
    return status;
}

/* Refuses an array of a kind that there is not yet. */
static fopt_status check_reserved(const void *from, unsigned kind, fopt_i_subject subject)
{
    static const char *const parts[] = {"states[4]", "states[5]", "states[6]", "states[7]"};
    static_assert(sizeof parts / sizeof *parts == FOPT_STATE_KINDS - FOPT_I_STATE_KINDS, "each has a name");
    fopt_array array;
    subject.part = parts[kind - FOPT_I_STATE_KINDS];
    fopt_status status = fopt_i_read_struct(&array, from, FOPT_I_LEAST_ARRAY, sizeof array, subject);
    if (!status && array.data)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: data is %p, but there is no such fopt_state_kind",
                           fopt_i_label_of(subject).text, array.data);
    return status;
}

fopt_status fopt_i_read_states(const fopt_array *states, const fopt_i_group *group, fopt_i_subject tensor,
                               fopt_i_record *record)
{
    fopt_status status =
        states ? fopt_i_check_array(states, FOPT_STATE_KINDS, FOPT_I_LEAST_ARRAY, "states", "FOPT_STATE_KINDS")
               : FOPT_OK;
    for (unsigned kind = FOPT_I_STATE_KINDS; !status && states && kind < FOPT_STATE_KINDS; kind++)
        status = check_reserved(fopt_i_at(states, kind), kind, tensor);
    for (unsigned kind = 0; !status && kind < FOPT_I_STATE_KINDS; kind++) {
        tensor.part = fopt_i_array_names[FOPT_I_STATE_ARRAYS + kind];
        status = read_state(states ? fopt_i_at(states, kind) : NULL, (fopt_state_kind)kind, group, tensor, record);
    }
    return status;
}

size_t fopt_i_state_intervals(const fopt_i_group *group, const fopt_i_record *r, size_t owner,
                              fopt_i_interval *intervals)
{
    size_t count = 0;
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS; kind++) {
        const fopt_i_state_bytes bytes = fopt_i_bytes_of_state(group, kind, (size_t)r->count);
        if (bytes.data > 0)
            intervals[count++] = fopt_i_interval_of(r->state[kind], bytes.data, owner + FOPT_I_STATE_ARRAYS + kind);
        if (bytes.absmax > 0)
            intervals[count++] = fopt_i_interval_of(r->absmax[kind], bytes.absmax, owner + FOPT_I_ABSMAX_ARRAYS + kind);
    }
    return count;
}

static fopt_status check_overlaps(const fopt_i_group *group, const fopt_i_record *r, fopt_i_subject tensor)
{
    fopt_i_interval intervals[FOPT_I_ARRAYS];
    size_t count = 0;
    if (r->count == 0)
        return FOPT_OK;
    intervals[count++] = fopt_i_interval_of(r->param, r->count * fopt_i_element_bytes(r->param_format), 0);
    intervals[count++] = fopt_i_interval_of(r->grad, r->count * fopt_i_element_bytes(r->grad_format), 1);
    count += fopt_i_state_intervals(group, r, 0, intervals + count);
    const fopt_i_interval *first = fopt_i_sort_intervals(intervals, count);
    if (first)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is 0x%" PRIx64 ", which overlaps %s, 0x%" PRIx64,
                           fopt_i_label_of(tensor).text, fopt_i_array_names[first[0].owner], first[0].begin,
                           fopt_i_array_names[first[1].owner], first[1].begin);
    return FOPT_OK;
}

fopt_status fopt_update(const fopt_config *config, const fopt_group *group, const fopt_tensor *tensor,
                        const fopt_array *states, int64_t step, const fopt_step_options *options, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_config complete;
    const fopt_i_backend *backend;
    fopt_i_group g;
    fopt_tensor t;
    fopt_step_options read;
    fopt_status status = fopt_i_read_config(config, &complete, &backend);
    if (!status)
        status = fopt_i_read_group(group, FOPT_I_NO_INDEX, &g);
    if (!status)
        status = fopt_i_read_tensor(tensor, FOPT_I_NO_INDEX, FOPT_I_NO_INDEX, &t);
    if (!status)
        status = fopt_i_check_pointers(&t, FOPT_I_NO_INDEX);
    if (!status)
        status = fopt_i_read_options(options, &read);
    if (status)
        return status;
    const fopt_i_subject subject = fopt_i_tensor(FOPT_I_NO_INDEX, t.name);
    if (step < 1 || step > FOPT_I_LAST_STEP)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: step is %lld, must be in [1, 2^53]", fopt_i_label_of(subject).text,
                           (long long)step);
    if (t.count > 0 && !t.grad)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: grad is NULL, but count is %zu", fopt_i_label_of(subject).text,
                           t.count);

    fopt_i_record record = {
        .param = t.param,
        .grad = t.grad,
        .count = t.count,
        .id = t.global_id != 0 ? t.global_id : 1,
        .tile_offset = t.first_element / FOPT_I_TILE,
        .step = step - 1,
        .param_format = (uint8_t)t.param_format,
        .grad_format = (uint8_t)t.grad_format,
    };
    status = fopt_i_read_states(states, &g, subject, &record);
    if (!status)
        status = check_overlaps(&g, &record, subject);
    if (status || t.count == 0)
        return status;
    return backend->update(&complete, &g, &record, subject, stream);
}
