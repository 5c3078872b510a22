/* The lists of kernels/, as tables that the host looks things up in. */
#include "../kernels/cpu/isa.h"
#include "../kernels/formats/formats.h"
#include "../kernels/rules/rules.h"
#include "internal.h"

static const fopt_i_rule rules[] = {
#define ROW(rule, PREFIX, rule_name, arithmetic)                                                                       \
    [rule] = {.name = #rule_name,                                                                                      \
              .flags = FOPT_I_##PREFIX##_FLAGS,                                                                        \
              .hyperparameters = FOPT_I_##PREFIX##_HYPERPARAMETERS,                                                    \
              .state_names = FOPT_I_##PREFIX##_STATE_NAMES,                                                            \
              .defaults = fopt_i_##rule_name##_defaults,                                                               \
              .kinds = fopt_i_##rule_name##_kinds,                                                                     \
              .check = fopt_i_##rule_name##_check},
    FOPT_I_RULES(ROW)
#undef ROW
};

static const fopt_i_format formats[] = {
#define ANY(format, format_name)    [format] = {#format_name, .stores_params = true, .stores_moments = true},
#define PARAMS(format, format_name) [format] = {#format_name, .stores_params = true, .stores_moments = false},
#define QUANTIZED(format, format_name)                                                                                 \
    [format] = {#format_name, .stores_params = false, .stores_moments = true},                                         \
    [format##_64] = {#format_name "_64", .stores_params = false, .stores_moments = true},
    FOPT_I_FORMAT_LIST(ANY, PARAMS, QUANTIZED)
#undef ANY
#undef PARAMS
#undef QUANTIZED
};

static const fopt_i_arithmetic arithmetics[] = {
#define ROW(rule, PREFIX, name, arithmetic) [rule] = fopt_i_arithmetic_##arithmetic,
    FOPT_I_RULES(ROW)
#undef ROW
};

static const struct {
    fopt_i_arithmetic arithmetic;
    unsigned kinds;
    bool quantized;
} loops[] = {
#define ROW(arithmetic, variant, kinds, quantized) {fopt_i_arithmetic_##arithmetic, kinds, quantized},
    FOPT_I_LOOPS(ROW)
#undef ROW
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

const fopt_i_rule *fopt_i_find_rule(fopt_rule rule)
{
    return (size_t)rule < LENGTH(rules) ? &rules[rule] : NULL;
}

const fopt_i_format *fopt_i_find_format(fopt_format format)
{
    return (size_t)format < LENGTH(formats) ? &formats[format] : NULL;
}

unsigned fopt_i_find_loop(fopt_rule rule, unsigned kinds, bool quantized)
{
    unsigned i = 0;
    while (i < FOPT_I_LOOP_COUNT &&
           (loops[i].arithmetic != arithmetics[rule] || loops[i].kinds != kinds || loops[i].quantized != quantized))
        i++;
    return i;
}

const char *fopt_rule_name(fopt_rule rule)
{
    const fopt_i_rule *found = fopt_i_find_rule(rule);
    return found ? found->name : NULL;
}

const char *fopt_format_name(fopt_format format)
{
    const fopt_i_format *found = fopt_i_find_format(format);
    return found ? found->name : NULL;
}

const char *fopt_state_kind_name(fopt_rule rule, fopt_state_kind kind)
{
    const fopt_i_rule *found = fopt_i_find_rule(rule);
    return found && (size_t)kind < FOPT_I_STATE_KINDS ? found->state_names[kind] : NULL;
}

const char *fopt_isa_name(fopt_isa isa)
{
    return isa == FOPT_ISA_AUTO ? "auto" : fopt_i_describe_isa(isa).name;
}
