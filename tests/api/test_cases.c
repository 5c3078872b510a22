/* The list of cases and the library agree on what is accepted. */
#include "../numerics/buffers.h"
#include "../reference/cases.h"

#include <criterion/criterion.h>
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
