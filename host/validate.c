/* Reading what the caller describes: every field is checked before anything acts on it. */
#include "../kernels/rules/element.h"
#include "../kernels/rules/rules.h"
#include "internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- sized structs ------------------------------------------------------------------------------------------- */

/* Bytes that no struct of ours will grow to: a larger size was never set. */
#define LARGEST_STRUCT 4096

static size_t size_of(const void *sized)
{
    size_t size;
    memcpy(&size, sized, sizeof size);
    return size;
}

static fopt_status check_size(const void *sized, size_t least, fopt_i_subject subject)
{
    size_t size = size_of(sized);
    if (size < least || size > LARGEST_STRUCT || size % sizeof(size_t) != 0)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s.size is %zu, must be the sizeof of its type, at least %zu",
                           fopt_i_label_of(subject).text, size, least);
    return FOPT_OK;
}

/* Reads a caller's struct. One that was compiled against an earlier header is shorter: what it lacks is zero. One
 * compiled against a later header may be longer: what lies beyond the end of ours must be zero, since we do not know
 * what it asks for. */
fopt_status fopt_i_read_struct(void *to, const void *from, size_t least, size_t known, fopt_i_subject subject)
{
    fopt_status status = check_size(from, least, subject);
    if (status)
        return status;
    const size_t size = size_of(from);
    const unsigned char *bytes = from;
    for (size_t i = known; i < size; i++)
        if (bytes[i] != 0)
            return fopt_i_fail(FOPT_ERR_UNSUPPORTED,
                               "%s.size is %zu and byte %zu is not zero: fusedopt %s knows only the first %zu bytes",
                               fopt_i_label_of(subject).text, size, i, fopt_version_string(), known);
    memset(to, 0, known);
    memcpy(to, from, size < known ? size : known);
    return FOPT_OK;
}

fopt_status fopt_i_write_struct(void *to, const void *from, size_t least, size_t known, const char *what)
{
    if (!to)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is NULL", what);
    fopt_status status = check_size(to, least, (fopt_i_subject){what, FOPT_I_NO_INDEX, NULL, NULL});
    if (status)
        return status;
    const size_t size = size_of(to);
    memset(to, 0, size);
    memcpy(to, from, size < known ? size : known);
    memcpy(to, &size, sizeof size);
    return FOPT_OK;
}

fopt_status fopt_i_read_options(const fopt_step_options *from, fopt_step_options *options)
{
    *options = (fopt_step_options){.size = sizeof *options};
    return from ? fopt_i_read_struct(options, from, FOPT_I_LEAST_STEP_OPTIONS, sizeof *options,
                                     (fopt_i_subject){"options", FOPT_I_NO_INDEX, NULL, NULL})
                : FOPT_OK;
}

const void *fopt_i_at(const void *array, size_t index)
{
    return (const char *)array + index * size_of(array);
}

fopt_status fopt_i_check_array(const void *array, size_t count, size_t least, const char *array_name,
                               const char *count_name)
{
    if (count > INT32_MAX)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is %zu, at most %d", count_name, count, INT32_MAX);
    if (!array && count > 0)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s is NULL, but %s is %zu", array_name, count_name, count);
    if (count > 0) { /* before it is used as a stride */
        fopt_status status = check_size(array, least, (fopt_i_subject){array_name, FOPT_I_NO_INDEX, NULL, "[0]"});
        if (status)
            return status;
    }
    for (size_t i = 1; i < count; i++)
        if (size_of(fopt_i_at(array, i)) != size_of(array))
            return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s[%zu].size is %zu, but %s[0].size is %zu", array_name, i,
                               size_of(fopt_i_at(array, i)), array_name, size_of(array));
    return FOPT_OK;
}

/* ---- configuration ------------------------------------------------------------------------------------------- */

static fopt_status check_allocator(const fopt_allocator *allocator, const char *name)
{
    if (!allocator->allocate != !allocator->release)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "config.%s has only one of allocate and release", name);
    return FOPT_OK;
}

static fopt_status check_config(const fopt_config *config)
{
    fopt_status status = check_allocator(&config->host_allocator, "host_allocator");
    if (!status)
        status = check_allocator(&config->device_allocator, "device_allocator");
    if (!status && !fopt_isa_name(config->isa))
        status = fopt_i_fail(FOPT_ERR_ARGUMENT, "config.isa is %d, not a fopt_isa", (int)config->isa);
    if (!status && (config->threads < 0 || config->threads > 65536))
        status = fopt_i_fail(FOPT_ERR_ARGUMENT, "config.threads is %d, must be from 0 to 65536", config->threads);
    return status;
}

fopt_status fopt_i_read_config(const fopt_config *from, fopt_config *config, const fopt_i_backend **backend)
{
    fopt_status status = FOPT_OK;
    *config = (fopt_config){.size = sizeof *config};
    if (from)
        status = fopt_i_read_struct(config, from, FOPT_I_LEAST_CONFIG, sizeof *config,
                                    (fopt_i_subject){"config", FOPT_I_NO_INDEX, NULL, NULL});
    if (!status)
        status = check_config(config);
    if (status)
        return status;
    *backend = fopt_i_find_backend(config->device.kind);
    return *backend ? (*backend)->complete_config(config) : fopt_i_fail_without_backend(config->device.kind);
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

static const struct hyperparameter {
    const char *name;
    size_t offset;
    unsigned set; /* the rules that have it name this set; 0: all have it */
    double limit;
    bool open; /* the limit itself is excluded */
} hyperparameters[] = {
    {"lr", offsetof(fopt_group, lr), 0, 1e9, false},
    {"beta1", offsetof(fopt_group, beta1), FOPT_I_BETAS, 1, true},
    {"beta2", offsetof(fopt_group, beta2), FOPT_I_BETAS, 1, true},
    {"eps", offsetof(fopt_group, eps), FOPT_I_EPS, 1e9, false},
    {"weight_decay", offsetof(fopt_group, weight_decay), 0, 1e9, false},
    {"momentum", offsetof(fopt_group, momentum), FOPT_I_MOMENTUM, 1, true},
    {"dampening", offsetof(fopt_group, dampening), FOPT_I_DAMPENING, 1, false},
    {"alpha", offsetof(fopt_group, alpha), FOPT_I_ALPHA, 1, true},
};

static const struct flag {
    const char *name;
    unsigned bit;
} flags[] = {
    {"FOPT_MAXIMIZE", FOPT_MAXIMIZE},
    {"FOPT_DECOUPLED_DECAY", FOPT_DECOUPLED_DECAY},
    {"FOPT_NESTEROV", FOPT_NESTEROV},
    {"FOPT_EMA_MOMENTUM", FOPT_EMA_MOMENTUM},
    {"FOPT_CLASSIC_MOMENTUM", FOPT_CLASSIC_MOMENTUM},
    {"FOPT_CENTERED", FOPT_CENTERED},
    {"FOPT_EPS_INSIDE_SQRT", FOPT_EPS_INSIDE_SQRT},
    {"FOPT_AMSGRAD", FOPT_AMSGRAD},
    {"FOPT_NO_BIAS_CORRECTION", FOPT_NO_BIAS_CORRECTION},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static fopt_i_subject group_subject(size_t index)
{
    return (fopt_i_subject){"group", index, NULL, NULL};
}

static double value_of(const fopt_group *group, const struct hyperparameter *h)
{
    double value;
    memcpy(&value, (const char *)group + h->offset, sizeof value);
    return value;
}

static fopt_status check_range(const struct hyperparameter *h, double value, fopt_i_subject group)
{
    if (value >= 0 && (h->open ? value < h->limit : value <= h->limit)) /* false for NaN */
        return FOPT_OK;
    return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is %.9g, must be in [0, %g%c", fopt_i_label_of(group).text, h->name,
                       value, h->limit, h->open ? ')' : ']');
}

static fopt_status check_hyperparameters(const fopt_group *group, const fopt_i_rule *rule, fopt_i_subject subject)
{
    for (size_t i = 0; i < LENGTH(hyperparameters); i++) {
        const struct hyperparameter *h = &hyperparameters[i];
        const double value = value_of(group, h);
        bool used = h->set == 0 || (rule->hyperparameters & h->set) != 0;
        if (!used && value != 0)
            return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is %.9g, but %s has none: must be 0",
                               fopt_i_label_of(subject).text, h->name, value, rule->name);
        fopt_status status = check_range(h, value, subject);
        if (status)
            return status;
    }
    return FOPT_OK;
}

/* Writes the hyperparameters that not every rule has, as ", momentum 0.9, dampening 0.5". */
static void describe_own(const fopt_group *group, const fopt_i_rule *rule, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < LENGTH(hyperparameters) && used < size; i++)
        if (rule->hyperparameters & hyperparameters[i].set)
            used += (size_t)snprintf(text + used, size - used, ", %s %.9g", hyperparameters[i].name,
                                     value_of(group, &hyperparameters[i]));
}

static fopt_status check_flags(const fopt_group *group, const fopt_i_rule *rule, fopt_i_subject subject)
{
    unsigned refused = group->flags & ~rule->flags;
    for (size_t i = 0; i < LENGTH(flags); i++)
        if (refused & flags[i].bit)
            return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: flags has %s, which %s does not have",
                               fopt_i_label_of(subject).text, flags[i].name, rule->name);
    if (refused)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: flags is 0x%x, of which 0x%x is unknown",
                           fopt_i_label_of(subject).text, group->flags, refused);
    const char *problem = rule->check(group);
    if (!problem)
        return FOPT_OK;
    char values[160];
    describe_own(group, rule, values, sizeof values);
    return fopt_i_fail(FOPT_ERR_UNSUPPORTED, "%s: %s (flags is 0x%x%s)", fopt_i_label_of(subject).text, problem,
                       group->flags, values);
}

/* Checks the formats of a group's moments, and finds its loop. */
static fopt_status check_state_formats(fopt_i_group *group, const fopt_i_rule *rule, fopt_i_subject subject)
{
    const char *quantized = NULL, *in = NULL; /* names of a moment that is, and of its format */
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS; kind++) {
        if (!(group->kinds & 1u << kind))
            continue;
        const fopt_i_format *format = fopt_i_find_format(group->value.state_format[kind]);
        if (!format)
            return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: state_format of %s is %d, not a fopt_format",
                               fopt_i_label_of(subject).text, rule->state_names[kind],
                               (int)group->value.state_format[kind]);
        if (!format->stores_moments)
            return fopt_i_fail(FOPT_ERR_UNSUPPORTED, "%s: state_format of %s is %s, which cannot store moments",
                               fopt_i_label_of(subject).text, rule->state_names[kind], format->name);
        if (fopt_i_is_quantized(group->value.state_format[kind]))
            quantized = rule->state_names[kind], in = format->name;
    }
    group->loop = fopt_i_find_loop(group->value.rule, group->kinds, quantized != NULL);
    if (group->loop == FOPT_I_LOOP_COUNT)
        return fopt_i_fail(FOPT_ERR_UNSUPPORTED,
                           "%s: state_format of %s is %s, in which %s with flags 0x%x keeps no moment",
                           fopt_i_label_of(subject).text, quantized ? quantized : "its moments", in ? in : "float",
                           rule->name, group->value.flags);
    return FOPT_OK;
}

fopt_status fopt_i_read_group(const fopt_group *from, size_t index, fopt_i_group *group)
{
    const fopt_i_subject subject = group_subject(index);
    if (!from)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "the description of %s is NULL", fopt_i_label_of(subject).text);
    fopt_status status = fopt_i_read_struct(&group->value, from, FOPT_I_LEAST_GROUP, sizeof group->value, subject);
    if (status)
        return status;
    const fopt_i_rule *rule = fopt_i_find_rule(group->value.rule);
    if (!rule)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: rule is %d, not a fopt_rule", fopt_i_label_of(subject).text,
                           (int)group->value.rule);
    status = check_hyperparameters(&group->value, rule, subject);
    if (!status)
        status = check_flags(&group->value, rule, subject);
    if (status)
        return status;
    group->kinds = rule->kinds(&group->value);
    return check_state_formats(group, rule, subject);
}

fopt_status fopt_i_check_lr(size_t group, double lr)
{
    return check_range(&hyperparameters[0], lr, group_subject(group));
}

fopt_status fopt_group_init(fopt_group *group, size_t size, fopt_rule rule)
{
    fopt_i_begin(__func__);
    const fopt_i_rule *found = fopt_i_find_rule(rule);
    fopt_group defaults = {.size = size, .rule = rule};
    if (!group)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "group is NULL");
    if (!found)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "rule is %d, not a fopt_rule", (int)rule);
    fopt_status status = check_size(&defaults, FOPT_I_LEAST_GROUP, group_subject(FOPT_I_NO_INDEX));
    if (status)
        return status;
    found->defaults(&defaults);
    memset(group, 0, size);
    memcpy(group, &defaults, size < sizeof defaults ? size : sizeof defaults);
    return FOPT_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

fopt_i_subject fopt_i_tensor(size_t index, const char *name)
{
    return (fopt_i_subject){"tensor", index, name, NULL};
}

fopt_status fopt_i_check_pointer(const void *pointer, const char *field, size_t count, fopt_format format,
                                 fopt_i_subject subject)
{
    size_t bytes = fopt_i_element_bytes(format);
    if ((uintptr_t)pointer % bytes != 0)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is %p, not aligned to the %zu bytes of a %s element",
                           fopt_i_label_of(subject).text, field, pointer, bytes, fopt_format_name(format));
    if ((uintptr_t)pointer > UINTPTR_MAX - count * bytes)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is %p, and %zu elements from there leave the address space",
                           fopt_i_label_of(subject).text, field, pointer, count);
    return FOPT_OK;
}

fopt_status fopt_i_check_grad(const void *grad, size_t count, fopt_format format, fopt_i_subject tensor)
{
    return grad && count > 0 ? fopt_i_check_pointer(grad, "grad", count, format, tensor) : FOPT_OK;
}

static fopt_status check_shard(const fopt_tensor *t, fopt_i_subject subject)
{
    if (t->first_element % FOPT_I_TILE != 0)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: first_element is %zu, must be a multiple of %d",
                           fopt_i_label_of(subject).text, t->first_element, FOPT_I_TILE);
    if (t->count > SIZE_MAX - t->first_element)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: first_element is %zu, too large for a count of %zu",
                           fopt_i_label_of(subject).text, t->first_element, t->count);
    const size_t full_count = t->full_count > 0 ? t->full_count : t->first_element + t->count;
    if (t->first_element > full_count || t->count > full_count - t->first_element)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: full_count is %zu, less than first_element %zu + count %zu",
                           fopt_i_label_of(subject).text, t->full_count, t->first_element, t->count);
    if (t->count % FOPT_I_TILE != 0 && t->count < full_count - t->first_element)
        return fopt_i_fail(FOPT_ERR_ARGUMENT,
                           "%s: count is %zu, but a shard that is not the last must be a multiple of %d",
                           fopt_i_label_of(subject).text, t->count, FOPT_I_TILE);
    if (t->global_id == 0 && (t->first_element > 0 || full_count > t->count))
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: global_id is 0, but a shard must say of which tensor it is",
                           fopt_i_label_of(subject).text);
    return FOPT_OK;
}

static fopt_status check_array_format(fopt_format format, const char *field, fopt_i_subject subject)
{
    const fopt_i_format *found = fopt_i_find_format(format);
    if (!found)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is %d, not a fopt_format", fopt_i_label_of(subject).text, field,
                           (int)format);
    if (!found->stores_params)
        return fopt_i_fail(FOPT_ERR_UNSUPPORTED, "%s: %s is %s, which only moments are stored in",
                           fopt_i_label_of(subject).text, field, found->name);
    return FOPT_OK;
}

fopt_status fopt_i_read_tensor(const fopt_tensor *from, size_t index, size_t group_count, fopt_tensor *tensor)
{
    if (!from)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "tensor is NULL");
    fopt_status status =
        fopt_i_read_struct(tensor, from, FOPT_I_LEAST_TENSOR, sizeof *tensor, fopt_i_tensor(index, NULL));
    if (status)
        return status;
    const fopt_i_subject subject = fopt_i_tensor(index, tensor->name);
    if (index != FOPT_I_NO_INDEX && tensor->group >= group_count) /* alone it is in no group */
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: group is %zu, but group_count is %zu", fopt_i_label_of(subject).text,
                           tensor->group, group_count);
    if (!status)
        status = check_array_format(tensor->param_format, "param_format", subject);
    if (!status)
        status = check_array_format(tensor->grad_format, "grad_format", subject);
    if (status)
        return status;
    /* Bytes of a tensor's arrays, and their sum, must fit size_t by far. */
    if (tensor->count > PTRDIFF_MAX / 64)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: count is %zu, more than any memory holds",
                           fopt_i_label_of(subject).text, tensor->count);
    return check_shard(tensor, subject);
}

fopt_status fopt_i_check_pointers(const fopt_tensor *t, size_t index)
{
    const fopt_i_subject subject = fopt_i_tensor(index, t->name);
    if (t->count == 0)
        return FOPT_OK;
    if (!t->param)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: param is NULL, but count is %zu", fopt_i_label_of(subject).text,
                           t->count);
    fopt_status status = fopt_i_check_pointer(t->param, "param", t->count, t->param_format, subject);
    return status ? status : fopt_i_check_grad(t->grad, t->count, t->grad_format, subject);
}
