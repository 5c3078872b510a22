/* The list of cases and the library agree on what is accepted. */
#include "../numerics/buffers.h"
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static bool is_listed(const fopt_group *group)
{
    for (size_t i = 0; i < case_count(); i++) {
        const fopt_group listed = case_group(i);
        if (memcmp(&listed, group, sizeof listed) == 0)
            return true;
    }
    return false;
}

/* The library accepts exactly the combinations in the list. */
Test(cases, are_complete)
{
    size_t accepted = 0;
    for (fopt_rule rule = 0; fopt_rule_name(rule); rule++)
        for (unsigned flags = 0; flags < 4 * FOPT_NO_BIAS_CORRECTION; flags++)
            for (unsigned numbers = 0; numbers < 8; numbers++) {
                const fopt_group like = case_group(0);
                fopt_group group;
                fopt_sizes sizes = {.size = sizeof sizes};
                expect_ok(fopt_group_init(&group, sizeof group, rule));
                group.lr = like.lr;
                group.flags = flags;
                group.weight_decay = numbers & 1 ? case_group(1).weight_decay : 0;
                group.momentum = numbers & 2 ? 0.9 : 0;
                group.dampening = numbers & 4 ? 0.25 : 0;
                if (fopt_query_sizes(NULL, &group, 1, NULL, 0, &sizes))
                    continue;
                accepted++;
                cr_expect(is_listed(&group), "%s flags 0x%x numbers %u is accepted, but not in cases.c",
                          fopt_rule_name(rule), flags, numbers);
            }
    cr_expect_eq(accepted, case_count(), "%zu combinations are accepted, but cases.c has %zu", accepted, case_count());
}

/* Each format that the library knows is in the lists, if it may be there. */
Test(cases, have_every_format)
{
    for (fopt_format format = 0; fopt_format_name(format); format++) {
        bool as_param = false, as_state = false;
        fopt_group group = case_group(case_count() - 1), stored = group;
        fopt_tensor tensor = {.size = sizeof tensor, .param_format = format};
        fopt_sizes sizes = {.size = sizeof sizes};
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
            stored.state_format[kind] = format;
        for (size_t f = 0; f < case_formats_count(); f++) {
            as_param |= case_formats_at(f).param == format;
            as_state |= case_formats_at(f).state == format;
        }
        const char *name = fopt_format_name(format);
        cr_expect_eq(as_param, fopt_query_sizes(NULL, &group, 1, &tensor, 1, &sizes) == FOPT_OK, "%s", name);
        cr_expect_eq(as_state, fopt_query_sizes(NULL, &stored, 1, NULL, 0, &sizes) == FOPT_OK, "%s", name);
    }
}

/* Creates an optimizer, and makes a step. */
static fopt_status try_group(const fopt_group *group)
{
    float param = 1, grad = 1;
    const fopt_tensor tensor = {.size = sizeof tensor, .param = &param, .grad = &grad, .count = 1};
    fopt_optimizer *optimizer;
    const fopt_status status = fopt_create(NULL, group, 1, &tensor, 1, &optimizer);
    if (!status)
        expect_ok(fopt_step(optimizer, NULL, NULL));
    fopt_destroy(optimizer);
    return status;
}

/* With each of its moments in each format a case is computed, or refused in words that name them; and refused is only
 * what case_set_state() leaves out. */
Test(cases, are_computed_or_refused_in_every_format)
{
    for (size_t index = 0; index < case_count(); index++)
        for (size_t state = 0; state < case_states_count(); state++)
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                fopt_group group = case_group(index), allowed = group;
                if (!oracle_keeps(&group, kind))
                    continue;
                case_set_state(&allowed, case_state_at(state));
                group.state_format[kind] = case_state_at(state);
                const fopt_status want =
                    allowed.state_format[kind] == group.state_format[kind] ? FOPT_OK : FOPT_ERR_UNSUPPORTED;
                char name[CASE_NAME_SIZE], words[200];
                case_name(&group, name);
                snprintf(words, sizeof words, "group 0: state_format of %s is %s, in which %s with flags 0x%x keeps",
                         fopt_state_kind_name(group.rule, kind), fopt_format_name(group.state_format[kind]),
                         fopt_rule_name(group.rule), group.flags);
                now_running("%s, %s in %s", name, fopt_state_kind_name(group.rule, kind),
                            fopt_format_name(group.state_format[kind]));
                const fopt_status got = try_group(&group);
                cr_expect_eq(got, want, "%s: status %d, want %d: %s", what_runs(), (int)got, (int)want,
                             got ? fopt_last_error() : "");
                cr_expect(!got || mentions(fopt_last_error(), words), "%s: got '%s' want '%s'", what_runs(),
                          fopt_last_error(), words);
            }
}
