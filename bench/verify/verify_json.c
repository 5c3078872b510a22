/* The JSON file of the command verify. */
#include "program/json_file.h"
#include "verify/verify_report.h"

#ifdef FUSEDOPT_HAVE_JANSSON

#include <jansson.h>
#include <math.h>

static json_t *describe_row(const verify_row *row)
{
    const check_case *what = &row->what.what;
    const check_result *result = &row->result;
    char name[CASE_NAME_SIZE];
    case_name(&what->group, name);
    /* JSON has no infinity; any error as large as this is as wrong. */
    const double param = fmin(result->param_ulps, 1e300), state = fmin(result->state_ulps, 1e300);
    json_t *object = json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:b}", "case",
                               (json_int_t)row->number, "rule", fopt_rule_name(what->group.rule), "variant", name,
                               "param_dtype", fopt_format_name(what->formats.param), "grad_dtype",
                               fopt_format_name(what->formats.grad), "state_format", verify_row_state(row), "tensors",
                               (json_int_t)row->tensors, "elements", (json_int_t)result->elements, "differing_bits",
                               (json_int_t)result->differing_bits, "worst_ulp", fmax(param, state), "worst_param_ulp",
                               param, "worst_state_ulp", state, "passed", verify_row_passed(row) && !row->skipped[0]);
    if (object && row->skipped[0])
        json_object_set_new(object, "skipped", json_string(row->skipped));
    return object;
}

bool verify_json(const char *command, const char *path, const verify_setting *setting, const verify_row *rows,
                 size_t count)
{
    json_t *described = json_array();
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        failed |= json_array_append_new(described, describe_row(&rows[i]));
    json_t *root = json_pack("{s:s, s:s, s:I, s:o}", "version", fopt_version_string(), "device",
                             setting->device.kind == FOPT_CPU ? "cpu" : "cuda", "seed", (json_int_t)setting->seed,
                             "rows", described);
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return json_write(command, path, root);
}

#else /* --json is refused */

bool verify_json(const char *command, const char *path, const verify_setting *setting, const verify_row *rows,
                 size_t count)
{
    (void)command, (void)path, (void)setting, (void)rows, (void)count;
    return false;
}

#endif
