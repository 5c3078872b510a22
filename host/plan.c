#include "plan.h"
#include <string.h>

fopt_i_state_bytes fopt_i_bytes_of_state(const fopt_i_group *group, unsigned kind, size_t count)
{
    if (!(group->kinds & 1u << kind))
        return (fopt_i_state_bytes){0, 0};
    const fopt_i_format *format = fopt_i_find_format(group->value.state_format[kind]);
    return (fopt_i_state_bytes){count * format->element_bytes, fopt_i_tile_count(count) * format->tile_bytes};
}

static fopt_status add_tensor(fopt_i_plan *plan, const fopt_i_group *group, const fopt_tensor *tensor, size_t index)
{
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS; kind++) {
        const fopt_i_state_bytes bytes = fopt_i_bytes_of_state(group, kind, tensor->count);
        plan->sizes.state_bytes += bytes.data + bytes.absmax;
        plan->sizes.padding_bytes +=
            fopt_i_padded(bytes.data) - bytes.data + fopt_i_padded(bytes.absmax) - bytes.absmax;
    }
    plan->tile_count += fopt_i_tile_count(tensor->count);
    plan->name_bytes += tensor->name ? strlen(tensor->name) + 1 : 0;
    /* A tensor adds less than a quarter of PTRDIFF_MAX, so that the sums cannot have wrapped before this sees it. */
    if (plan->sizes.state_bytes + plan->sizes.padding_bytes > PTRDIFF_MAX / 2 || plan->tile_count > PTRDIFF_MAX / 256)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: with it the tensors are larger than any memory",
                           fopt_i_label_of(fopt_i_tensor(index, tensor->name)).text);
    return FOPT_OK;
}

fopt_status fopt_i_make_plan(const fopt_config *config, const fopt_group *groups, size_t group_count,
                             const fopt_tensor *tensors, size_t tensor_count, fopt_i_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    fopt_status status = fopt_i_read_config(config, &plan->config, &plan->backend);
    if (!status)
        status = fopt_i_check_array(groups, group_count, FOPT_I_LEAST_GROUP, "groups", "group_count");
    if (!status)
        status = fopt_i_check_array(tensors, tensor_count, FOPT_I_LEAST_TENSOR, "tensors", "tensor_count");
    if (status)
        return status;

    fopt_i_group group;
    for (size_t i = 0; i < group_count; i++) {
        status = fopt_i_read_group(fopt_i_at(groups, i), i, &group);
        if (status)
            return status;
    }
    for (size_t i = 0; i < tensor_count; i++) {
        fopt_tensor tensor;
        status = fopt_i_read_tensor(fopt_i_at(tensors, i), i, group_count, &tensor);
        if (!status)
            status = fopt_i_read_group(fopt_i_at(groups, tensor.group), tensor.group, &group);
        if (!status)
            status = add_tensor(plan, &group, &tensor, i);
        if (status)
            return status;
    }

    const size_t device_tables = plan->backend->table_bytes(group_count, tensor_count, plan->tile_count);
    const size_t host_tables = group_count * sizeof(fopt_i_group) +
                               tensor_count * (sizeof(fopt_i_record) + sizeof(fopt_i_interval) + sizeof(char *));
    fopt_sizes *sizes = &plan->sizes;
    sizes->size = sizeof *sizes;
    if (sizes->state_bytes > 0)
        sizes->padding_bytes += (size_t)FOPT_I_STATE_KINDS * FOPT_I_KIND_PADDING;
    sizes->table_bytes = device_tables > 0 ? device_tables : host_tables;
    sizes->host_bytes = sizeof(fopt_optimizer) + host_tables + plan->backend->private_bytes + plan->name_bytes;
    sizes->device_bytes = sizes->state_bytes + sizes->padding_bytes + device_tables;
    return FOPT_OK;
}

fopt_status fopt_query_sizes(const fopt_config *config, const fopt_group *groups, size_t group_count,
                             const fopt_tensor *tensors, size_t tensor_count, fopt_sizes *sizes)
{
    fopt_i_begin(__func__);
    fopt_i_plan plan;
    fopt_status status = fopt_i_make_plan(config, groups, group_count, tensors, tensor_count, &plan);
    return status ? status : fopt_i_write_struct(sizes, &plan.sizes, FOPT_I_LEAST_SIZES, sizeof plan.sizes, "sizes");
}
