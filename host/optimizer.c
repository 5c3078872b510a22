/* The optimizer object: creation, and the calls on it. */
#include "plan.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- creation ------------------------------------------------------------------------------------------------ */

/* Lays the tables out behind the object, in the one block that the host allocator gave. */
static fopt_optimizer *lay_out(void *block, size_t bytes, const fopt_i_plan *plan)
{
    memset(block, 0, bytes);
    fopt_optimizer *o = block;
    o->config = plan->config;
    o->backend = plan->backend;
    o->group_count = plan->group_count;
    o->tensor_count = plan->tensor_count;
    o->host_bytes = bytes;
    o->groups = (fopt_i_group *)(o + 1);
    o->records = (fopt_i_record *)(o->groups + o->group_count);
    o->written = (fopt_i_interval *)(o->records + o->tensor_count);
    o->names = (const char **)(o->written + plan->written_count);
    o->private = o->names + o->tensor_count;
    return o;
}

/* Copies what describes tensor `index`: all but its moments and its place in the walk. `name` is where its name goes;
 * returns where the next one's does. */
static char *fill_record(fopt_optimizer *o, size_t index, const fopt_tensor *t, char *name)
{
    o->records[index] = (fopt_i_record){
        .param = t->param,
        .grad = t->count > 0 ? t->grad : NULL,
        .count = t->count,
        .id = t->global_id != 0 ? t->global_id : index + 1,
        .tile_offset = t->first_element / FOPT_I_TILE,
        .group = (uint32_t)t->group,
        .param_format = (uint8_t)t->param_format,
        .grad_format = (uint8_t)t->grad_format,
    };
    if (!t->name)
        return name;
    size_t bytes = strlen(t->name) + 1;
    o->names[index] = memcpy(name, t->name, bytes);
    return name + bytes;
}

/* Reads the moments that are the caller's, and notes that they are written. */
static fopt_status read_states(fopt_optimizer *o, size_t index, const fopt_tensor *t)
{
    fopt_i_record *r = &o->records[index];
    const fopt_i_group *group = &o->groups[r->group];
    fopt_status status = fopt_i_read_states(t->states, group, fopt_i_tensor(index, t->name), r);
    if (!status)
        o->written_count += fopt_i_state_intervals(group, r, index * FOPT_I_ARRAYS, o->written + o->written_count);
    return status;
}

/* Reads all descriptions, once, and finishes the plan. */
static fopt_status fill_tables(fopt_optimizer *o, const fopt_group *groups, const fopt_tensor *tensors,
                               fopt_i_plan *plan)
{
    fopt_status status = FOPT_OK;
    for (size_t i = 0; i < o->group_count && !status; i++)
        status = fopt_i_read_group(fopt_i_at(groups, i), i, &o->groups[i]);
    char *name = (char *)o->private + o->backend->private_bytes;
    for (size_t i = 0; i < o->tensor_count && !status; i++) {
        fopt_tensor tensor;
        status = fopt_i_read_tensor(fopt_i_at(tensors, i), i, o->group_count, &tensor);
        if (!status)
            status = fopt_i_check_pointers(&tensor, i);
        if (!status)
            status = fopt_i_plan_tensor(plan, &o->groups[tensor.group], i, &tensor);
        if (!status)
            name = fill_record(o, i, &tensor, name);
        if (!status && tensor.states)
            status = read_states(o, i, &tensor);
    }
    o->tile_count = plan->tile_count;
    o->device_bytes = fopt_i_planned_sizes(plan).device_bytes;
    return status;
}

/* ---- overlaps ------------------------------------------------------------------------------------------------ */

/* "param of tensor 3 'name', count 784": whose memory an interval is. */
typedef struct whose {
    char text[200];
} whose;

static whose whose_is(const fopt_optimizer *o, const fopt_i_interval *interval)
{
    whose w;
    const size_t index = interval->owner / FOPT_I_ARRAYS;
    snprintf(w.text, sizeof w.text, "%s of %s, count %zu", fopt_i_array_names[interval->owner % FOPT_I_ARRAYS],
             fopt_i_label_of(fopt_i_tensor(index, o->names[index])).text, (size_t)o->records[index].count);
    return w;
}

/* Checks that a gradient lies in nothing that a step writes: the caller's arrays and, once it is there, the state. */
static fopt_status check_grad_overlap(const fopt_optimizer *o, size_t index, const void *grad)
{
    const fopt_i_record *r = &o->records[index];
    if (!grad || r->count == 0)
        return FOPT_OK;
    const size_t bytes = r->count * fopt_i_element_bytes(r->grad_format);
    const fopt_i_interval whole = fopt_i_interval_of(grad, bytes, index);
    const fopt_i_interval state = fopt_i_interval_of(o->state, o->state ? o->device_bytes : 0, 0);
    const fopt_i_interval *written = fopt_i_find_overlap(o->written, o->written_count, whole);
    if (written)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: grad is %p, count %zu, which overlaps the %s",
                           fopt_i_label_of(fopt_i_tensor(index, o->names[index])).text, grad, (size_t)r->count,
                           whose_is(o, written).text);
    if (fopt_i_find_overlap(&state, 1, whole))
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: grad is %p, which lies in the state of this optimizer",
                           fopt_i_label_of(fopt_i_tensor(index, o->names[index])).text, grad);
    return FOPT_OK;
}

static fopt_status check_overlaps(fopt_optimizer *o)
{
    for (size_t i = 0; i < o->tensor_count; i++) {
        const fopt_i_record *r = &o->records[i];
        const size_t bytes = fopt_i_element_bytes(r->param_format);
        if (r->count > 0)
            o->written[o->written_count++] = fopt_i_interval_of(r->param, (size_t)r->count * bytes, i * FOPT_I_ARRAYS);
    }
    const fopt_i_interval *first = fopt_i_sort_intervals(o->written, o->written_count);
    if (first) {
        const size_t index = first[1].owner / FOPT_I_ARRAYS;
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is 0x%" PRIx64 ", count %zu, which overlaps the %s",
                           fopt_i_label_of(fopt_i_tensor(index, o->names[index])).text,
                           fopt_i_array_names[first[1].owner % FOPT_I_ARRAYS], first[1].begin,
                           (size_t)o->records[index].count, whose_is(o, &first[0]).text);
    }
    for (size_t i = 0; i < o->tensor_count; i++) {
        fopt_status status = check_grad_overlap(o, i, o->records[i].grad);
        if (status)
            return status;
    }
    return FOPT_OK;
}

/* ---- create, destroy ----------------------------------------------------------------------------------------- */

/* Allocates memory. Returns NULL after a failure, and if no bytes are wanted. */
static void *allocate(const fopt_allocator *allocator, const char *name, size_t bytes, fopt_status *status)
{
    *status = FOPT_OK;
    if (bytes == 0)
        return NULL;
    void *block = allocator->allocate(allocator->context, bytes, FOPT_I_ALIGNMENT, NULL);
    if (!block) {
        *status = fopt_i_fail(FOPT_ERR_MEMORY,
                              "config.%s, or the library's own in its place, returned NULL for %zu bytes", name, bytes);
    } else if ((uintptr_t)block % FOPT_I_ALIGNMENT != 0) {
        *status = fopt_i_fail(FOPT_ERR_ARGUMENT, "config.%s returned %p, must be aligned to %d bytes", name, block,
                              FOPT_I_ALIGNMENT);
        allocator->release(allocator->context, block, bytes, NULL);
        block = NULL;
    }
    return block;
}

/* Checks that no element is there twice, since both would get the same random bits; shards of one tensor may be. Where
 * intervals of parameters will be, those of elements are for now. */
static fopt_status check_identities(fopt_optimizer *o)
{
    fopt_i_interval *elements = o->written + o->written_count;
    size_t count = 0;
    for (size_t i = 0; i < o->tensor_count; i++) {
        const fopt_i_record *r = &o->records[i];
        const uint64_t begin = r->tile_offset * FOPT_I_TILE;
        if (r->count > 0)
            elements[count++] = (fopt_i_interval){r->id, begin, begin + r->count, i};
    }
    const fopt_i_interval *first = fopt_i_sort_intervals(elements, count);
    if (!first)
        return FOPT_OK;
    const size_t one = first[0].owner, two = first[1].owner;
    return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: global_id is %" PRIu64 ", with elements that %s has",
                       fopt_i_label_of(fopt_i_tensor(two, o->names[two])).text, o->records[two].id,
                       fopt_i_label_of(fopt_i_tensor(one, o->names[one])).text);
}

/* Checks that the state lies in nothing of the caller's: an allocator's memory may be in use. */
static fopt_status check_state_overlap(const fopt_optimizer *o)
{
    const fopt_i_interval state = fopt_i_interval_of(o->state, o->device_bytes, 0);
    const fopt_i_interval *written = fopt_i_find_overlap(o->written, o->written_count, state);
    if (written)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "config.device_allocator returned %p, which overlaps the %s",
                           (void *)o->state, whose_is(o, written).text);
    for (size_t i = 0; i < o->tensor_count; i++) {
        fopt_status status = check_grad_overlap(o, i, o->records[i].grad);
        if (status)
            return status;
    }
    return FOPT_OK;
}

static void release_state(fopt_optimizer *o)
{
    const fopt_allocator device = o->config.device_allocator;
    if (o->state)
        device.release(device.context, o->state, o->device_bytes, NULL);
    o->state = NULL;
}

static void release(fopt_optimizer *o)
{
    const fopt_allocator host = o->config.host_allocator;
    host.release(host.context, o, o->host_bytes, NULL);
}

/* Allocates the state and fills it, on the device, which is current. */
static fopt_status make_state(fopt_optimizer *o)
{
    fopt_status status;
    o->state = allocate(&o->config.device_allocator, "device_allocator", o->device_bytes, &status);
    if (status)
        return status;
    if (o->state) {
        fopt_i_place_state(o->state, o->groups, o->records, o->tensor_count);
        status = check_state_overlap(o);
    }
    if (!status)
        status = o->backend->fill(o);
    if (status)
        release_state(o);
    return status;
}

static fopt_status open_device(fopt_optimizer *o)
{
    fopt_status status = o->backend->open(o);
    if (!status) {
        status = make_state(o);
        o->backend->shut(o);
    }
    if (status)
        o->backend->close(o);
    return status;
}

fopt_status fopt_create(const fopt_config *config, const fopt_group *groups, size_t group_count,
                        const fopt_tensor *tensors, size_t tensor_count, fopt_optimizer **out)
{
    fopt_i_begin(__func__);
    if (!out)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    fopt_i_plan plan;
    fopt_status status = fopt_i_begin_plan(config, groups, group_count, tensors, tensor_count, &plan);
    if (status)
        return status;
    const size_t bytes = fopt_i_host_bytes(&plan);
    void *block = allocate(&plan.config.host_allocator, "host_allocator", bytes, &status);
    if (!block)
        return status;

    fopt_optimizer *o = lay_out(block, bytes, &plan);
    status = fill_tables(o, groups, tensors, &plan);
    if (!status)
        status = check_identities(o);
    if (!status)
        status = check_overlaps(o);
    if (!status)
        status = open_device(o);
    if (status)
        release(o);
    else
        *out = o;
    return status;
}

/* Releases everything, unless the device cannot be waited for: steps may then still use the state, which is never
 * released, nor is what open() began. */
void fopt_destroy(fopt_optimizer *optimizer)
{
    fopt_i_begin(__func__);
    if (!optimizer)
        return;
    const fopt_i_backend *backend = optimizer->backend;
    backend->reopen(optimizer);
    const bool idle = backend->wait(optimizer);
    if (idle)
        release_state(optimizer);
    backend->shut(optimizer);
    if (idle)
        backend->close(optimizer);
    release(optimizer);
}

/* ---- calls --------------------------------------------------------------------------------------------------- */

static fopt_status check_optimizer(const fopt_optimizer *o)
{
    if (!o)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "optimizer is NULL");
    if (o->broken)
        return fopt_i_fail(FOPT_ERR_BROKEN, "an earlier step of this optimizer failed half-way: destroy it");
    return FOPT_OK;
}

/* Makes the device current, until leave(), for every call that reaches it; leave() returns the call's status. */
static fopt_status enter(const fopt_optimizer *o)
{
    return o->backend->enter(o);
}

static fopt_status leave(const fopt_optimizer *o, fopt_status status)
{
    o->backend->leave(o);
    return status;
}

static fopt_status check_index(const char *what, size_t index, size_t count)
{
    if (index >= count)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is %zu, must be below %s_count, which is %zu", what, index, what,
                           count);
    return FOPT_OK;
}

fopt_status fopt_step(fopt_optimizer *optimizer, const fopt_step_options *options, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_step_options read;
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = fopt_i_read_options(options, &read);
    if (!status)
        status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->step(optimizer, stream));
}

fopt_status fopt_set_group(fopt_optimizer *optimizer, size_t group, const fopt_group *value, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_i_group read;
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = check_index("group", group, optimizer->group_count);
    if (!status)
        status = fopt_i_read_group(value, group, &read);
    if (status)
        return status;

    const fopt_i_group *old = &optimizer->groups[group];
    const fopt_i_rule *rule = fopt_i_find_rule(old->value.rule);
    if (read.value.rule != old->value.rule)
        return fopt_i_fail(FOPT_ERR_UNSUPPORTED, "group %zu: rule is %s, but the optimizer was created with %s", group,
                           fopt_rule_name(read.value.rule), rule->name);
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS; kind++) {
        const char *name = rule->state_names[kind];
        if ((read.kinds ^ old->kinds) & 1u << kind)
            return fopt_i_fail(FOPT_ERR_UNSUPPORTED, "group %zu: %s %s, but the optimizer was created %s it", group,
                               read.kinds & 1u << kind ? "needs" : "does without", name,
                               old->kinds & 1u << kind ? "with" : "without");
        if (read.kinds & 1u << kind && read.value.state_format[kind] != old->value.state_format[kind])
            return fopt_i_fail(FOPT_ERR_UNSUPPORTED,
                               "group %zu: state_format of %s is %s, but the optimizer was created with %s", group,
                               name, fopt_format_name(read.value.state_format[kind]),
                               fopt_format_name(old->value.state_format[kind]));
    }
    status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->set_group(optimizer, group, &read, stream));
}

fopt_status fopt_set_lr(fopt_optimizer *optimizer, size_t group, double lr, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = check_index("group", group, optimizer->group_count);
    if (!status)
        status = fopt_i_check_lr(group, lr);
    if (!status)
        status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->set_lr(optimizer, group, lr, stream));
}

fopt_status fopt_set_grads(fopt_optimizer *optimizer, void *const *grads, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (!status && !grads && optimizer->tensor_count > 0)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "grads is NULL, but the optimizer has %zu tensors",
                           optimizer->tensor_count);
    for (size_t i = 0; !status && i < optimizer->tensor_count; i++) {
        const fopt_i_record *r = &optimizer->records[i];
        status = fopt_i_check_grad(grads[i], (size_t)r->count, (fopt_format)r->grad_format,
                                   fopt_i_tensor(i, optimizer->names[i]));
        if (!status)
            status = check_grad_overlap(optimizer, i, grads[i]);
    }
    if (!status)
        status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->set_grads(optimizer, grads, stream));
}

fopt_status fopt_zero_grads(fopt_optimizer *optimizer, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->zero_grads(optimizer, stream));
}

/* Checks that doubles which a call writes are aligned, and lie in nothing that a step writes. */
static fopt_status check_result(const fopt_optimizer *o, const double *result, size_t count, const char *name)
{
    if ((uintptr_t)result % sizeof *result != 0)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is %p, not aligned to the %zu bytes of a double", name,
                           (const void *)result, sizeof *result);
    const fopt_i_interval whole = fopt_i_interval_of(result, count * sizeof *result, 0);
    const fopt_i_interval state = fopt_i_interval_of(o->state, o->device_bytes, 0);
    const fopt_i_interval *written = fopt_i_find_overlap(o->written, o->written_count, whole);
    if (written)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is %p, which overlaps the %s", name, (const void *)result,
                           whose_is(o, written).text);
    if (fopt_i_find_overlap(&state, 1, whole))
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is %p, which lies in the state of this optimizer", name,
                           (const void *)result);
    return FOPT_OK;
}

fopt_status fopt_grad_norm(fopt_optimizer *optimizer, size_t first_tensor, size_t tensor_count, double *norm,
                           double *tensor_norms, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (status)
        return status;
    if (first_tensor > optimizer->tensor_count || tensor_count > optimizer->tensor_count - first_tensor)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "first_tensor is %zu and tensor_count %zu, but the optimizer has %zu",
                           first_tensor, tensor_count, optimizer->tensor_count);
    if (!norm && !tensor_norms)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "norm and tensor_norms are NULL: one must take what is computed");
    if (norm)
        status = check_result(optimizer, norm, 1, "norm");
    if (!status && tensor_norms && tensor_count > 0)
        status = check_result(optimizer, tensor_norms, tensor_count, "tensor_norms");
    if (!status)
        status = enter(optimizer);
    if (status)
        return status;
    return leave(optimizer,
                 optimizer->backend->grad_norm(optimizer, first_tensor, tensor_count, norm, tensor_norms, stream));
}

fopt_status fopt_state(const fopt_optimizer *optimizer, size_t tensor, fopt_state_kind kind, fopt_array *view)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = check_index("tensor", tensor, optimizer->tensor_count);
    if (!status && (unsigned)kind >= FOPT_STATE_KINDS)
        status = fopt_i_fail(FOPT_ERR_ARGUMENT, "kind is %d, not a fopt_state_kind", (int)kind);
    if (status)
        return status;
    const fopt_i_record *r = &optimizer->records[tensor];
    const fopt_i_group *group = &optimizer->groups[r->group];
    if (kind >= FOPT_I_STATE_KINDS) { /* reserved: no rule keeps it */
        const fopt_array none = {.size = sizeof none};
        return fopt_i_write_struct(view, &none, FOPT_I_LEAST_ARRAY, sizeof none, "view");
    }
    const fopt_i_state_bytes bytes = fopt_i_bytes_of_state(group, kind, (size_t)r->count);
    fopt_array array = {
        .size = sizeof array,
        .data = r->state[kind],
        .count = r->state[kind] ? (size_t)r->count : 0,
        .bytes = bytes.data,
        .format = group->value.state_format[kind],
        .absmax = r->absmax[kind],
    };
    return fopt_i_write_struct(view, &array, FOPT_I_LEAST_ARRAY, sizeof array, "view");
}

fopt_status fopt_get_step(const fopt_optimizer *optimizer, size_t tensor, int64_t *step, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = check_index("tensor", tensor, optimizer->tensor_count);
    if (!status && !step)
        status = fopt_i_fail(FOPT_ERR_ARGUMENT, "step is NULL");
    if (!status)
        status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->get_step(optimizer, tensor, step, stream));
}

fopt_status fopt_copy(const fopt_optimizer *optimizer, void *to, const void *from, size_t bytes, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (status || bytes == 0)
        return status;
    if (!to || !from)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is NULL, but bytes is %zu", to ? "from" : "to", bytes);
    status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->copy(optimizer, to, from, bytes, stream));
}

fopt_status fopt_set_step(fopt_optimizer *optimizer, size_t tensor, int64_t step, fopt_stream stream)
{
    fopt_i_begin(__func__);
    fopt_status status = check_optimizer(optimizer);
    if (!status)
        status = check_index("tensor", tensor, optimizer->tensor_count);
    if (!status && (step < 0 || step > FOPT_I_LAST_STEP))
        status = fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: step is %lld, must be in [0, 2^53]",
                             fopt_i_label_of(fopt_i_tensor(tensor, optimizer->names[tensor])).text, (long long)step);
    if (!status)
        status = enter(optimizer);
    return status ? status : leave(optimizer, optimizer->backend->set_step(optimizer, tensor, step, stream));
}
