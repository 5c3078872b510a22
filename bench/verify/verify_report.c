/* The lines that the command verify prints. */
#include "verify/verify_report.h"
#include "program/options.h"
#include <stdio.h>

bool verify_row_passed(const verify_row *row)
{
    return row->result.message[0] == '\0';
}

const char *verify_row_state(const verify_row *row)
{
    for (size_t array = JUDGE_STATES; array < JUDGE_ARRAYS; array++)
        if (check_keeps(&row->what.what.group, array))
            return fopt_format_name(row->what.what.group.state_format[array - JUDGE_STATES]);
    return "none";
}

void verify_print_head(void)
{
    printf("%4s %-44s %-15s %7s %10s %10s %9s %9s\n", "case", "rule", "formats", "tensors", "elements", "bits",
           "ulp param", "ulp state");
}

void verify_print_row(const char *command, const verify_setting *setting, const verify_row *row)
{
    const check_case *what = &row->what.what;
    const check_result *result = &row->result;
    char name[CASE_NAME_SIZE], formats[32];
    case_name(&what->group, name);
    snprintf(formats, sizeof formats, "%s/%s/%s", fopt_format_name(what->formats.param),
             fopt_format_name(what->formats.grad), verify_row_state(row));
    printf("%4zu %-44s %-15s %7zu ", row->number, name, formats, row->tensors);
    if (row->skipped[0]) {
        printf("skipped: %s\n", row->skipped);
        return;
    }
    printf("%10llu %10llu %9.3f %9.3f  %s\n", (unsigned long long)result->elements,
           (unsigned long long)result->differing_bits, result->param_ulps, result->state_ulps,
           verify_row_passed(row) ? "ok" : "WRONG");
    if (verify_row_passed(row))
        return;
    fflush(stdout);
    complain(command, "%s %s: %s\n  to see it alone: %s --seed %zu --case %zu%s", name, formats, result->message,
             command, setting->seed, row->number, setting->device.kind == FOPT_CUDA ? " --device cuda" : "");
}
