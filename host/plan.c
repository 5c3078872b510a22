/* Planning: how many bytes the descriptions of an optimizer will take, and fopt_query_sizes(), which tells. */
#include "plan.h"
#include <string.h>

fopt_status fopt_i_begin_plan(const fopt_config *config, const fopt_group *groups, size_t group_count,
                              const fopt_tensor *tensors, size_t tensor_count, fopt_i_plan *plan)
{
    *plan = (fopt_i_plan){.group_count = group_count, .tensor_count = tensor_count};
    fopt_status status = fopt_i_read_config(config, &plan->config, &plan->backend);
    if (!status)
        status = fopt_i_check_array(groups, group_count, FOPT_I_LEAST_GROUP, "groups", "group_count");
    if (!status)
        status = fopt_i_check_array(tensors, tensor_count, FOPT_I_LEAST_TENSOR, "tensors", "tensor_count");
    for (size_t i = 0; i < tensor_count && !status; i++) {
        const char *const tensor = fopt_i_at(tensors, i), *name;
        const fopt_array *states = NULL;
        size_t size;
        memcpy(&size, tensor, sizeof size);
        memcpy((void *)&name, tensor + offsetof(fopt_tensor, name), sizeof name);
        if (size >= offsetof(fopt_tensor, states) + sizeof(void *))
            memcpy((void *)&states, tensor + offsetof(fopt_tensor, states), sizeof(void *));
        plan->name_bytes += name ? strlen(name) + 1 : 0;
        plan->written_count += states ? FOPT_I_ARRAYS : 1;
    }
    return status;
}

fopt_status fopt_i_plan_tensor(fopt_i_plan *plan, const fopt_i_group *group, size_t index, const fopt_tensor *tensor)
{
    fopt_i_record counted = {.count = tensor->count};
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS && !tensor->states; kind++)
        fopt_i_place_moment(&plan->state, group, kind, &counted);
    plan->tile_count += fopt_i_tile_count(tensor->count);
    /* A tensor adds less than a quarter of PTRDIFF_MAX, so that the sums cannot have wrapped before this sees it. */
    if (plan->state.bytes + plan->state.padding > PTRDIFF_MAX / 2 || plan->tile_count > PTRDIFF_MAX / 256)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: with it the tensors are larger than any memory",
                           fopt_i_label_of(fopt_i_tensor(index, tensor->name)).text);
    return FOPT_OK;
}

static size_t host_tables(const fopt_i_plan *plan)
{
    return plan->group_count * sizeof(fopt_i_group) + plan->tensor_count * (sizeof(fopt_i_record) + sizeof(char *)) +
           plan->written_count * sizeof(fopt_i_interval);
}

size_t fopt_i_host_bytes(const fopt_i_plan *plan)
{
    return sizeof(fopt_optimizer) + host_tables(plan) + plan->backend->private_bytes + plan->name_bytes;
}

fopt_sizes fopt_i_planned_sizes(const fopt_i_plan *plan)
{
    const size_t device_tables = plan->backend->table_bytes(plan->group_count, plan->tensor_count, plan->tile_count);
    fopt_sizes sizes = {.size = sizeof sizes};
    sizes.state_bytes = plan->state.bytes;
    sizes.padding_bytes = plan->state.padding;
    if (sizes.state_bytes > 0)
        sizes.padding_bytes += (size_t)FOPT_I_STATE_KINDS * FOPT_I_KIND_PADDING;
    sizes.table_bytes = device_tables > 0 ? device_tables : host_tables(plan);
    sizes.host_bytes = fopt_i_host_bytes(plan);
    sizes.device_bytes = sizes.state_bytes + sizes.padding_bytes + device_tables;
    return sizes;
}

/* Plans all tensors. There is no memory to keep groups in, so that each tensor's is read again. */
static fopt_status plan_all(fopt_i_plan *plan, const fopt_group *groups, const fopt_tensor *tensors)
{
    fopt_i_group group;
    fopt_status status = FOPT_OK;
    for (size_t i = 0; i < plan->group_count && !status; i++)
        status = fopt_i_read_group(fopt_i_at(groups, i), i, &group);
    for (size_t i = 0; i < plan->tensor_count && !status; i++) {
        fopt_tensor tensor;
        status = fopt_i_read_tensor(fopt_i_at(tensors, i), i, plan->group_count, &tensor);
        if (!status)
            status = fopt_i_read_group(fopt_i_at(groups, tensor.group), tensor.group, &group);
        if (!status)
            status = fopt_i_plan_tensor(plan, &group, i, &tensor);
    }
    return status;
}

fopt_status fopt_query_sizes(const fopt_config *config, const fopt_group *groups, size_t group_count,
                             const fopt_tensor *tensors, size_t tensor_count, fopt_sizes *sizes)
{
    fopt_i_begin(__func__);
    fopt_i_plan plan;
    fopt_status status = fopt_i_begin_plan(config, groups, group_count, tensors, tensor_count, &plan);
    if (!status)
        status = plan_all(&plan, groups, tensors);
    if (status)
        return status;
    const fopt_sizes planned = fopt_i_planned_sizes(&plan);
    return fopt_i_write_struct(sizes, &planned, FOPT_I_LEAST_SIZES, sizeof planned, "sizes");
}
