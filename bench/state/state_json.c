/* The JSON file of the command state. */
#include "machine/machine_json.h"
#include "program/json_file.h"
#include "state/state_report.h"

#ifdef FUSEDOPT_HAVE_JANSSON

#include <jansson.h>
#include <math.h>

/* Sets a figure of a row; NaN is one that there is not. */
static int set_figure(json_t *object, const char *name, double value)
{
    return isnan(value) ? 0 : json_object_set_new(object, name, json_real(value));
}

static json_t *describe_row(const state_row *row)
{
    json_t *object =
        json_pack("{s:s, s:f, s:f, s:s, s:s, s:f}", "gradients", gradients_names[row->what.kind], "beta1",
                  row->what.beta1, "beta2", row->what.beta2, "first_moment", fopt_format_name(row->formats.first),
                  "second_moment", fopt_format_name(row->formats.second), "state_bytes_per_param", row->bytes);
    const int failed = set_figure(object, "error", row->error) | set_figure(object, "gain", row->gain) |
                       set_figure(object, "second_moment_by_exact", row->second) |
                       set_figure(object, "worst_update", row->worst) | set_figure(object, "moved", row->moved);
    if (!failed)
        return object;
    json_decref(object);
    return NULL;
}

bool state_json(const char *command, const char *path, const state_setting *setting, const state_row *rows,
                size_t count)
{
    json_t *described = json_array(), *root = machine_json((fopt_device){FOPT_CPU, 0});
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        failed |= json_array_append_new(described, describe_row(&rows[i]));
    json_t *options = json_pack("{s:I, s:I, s:I, s:i, s:I}", "steps", (json_int_t)setting->steps, "elements",
                                (json_int_t)setting->elements, "seed", (json_int_t)setting->seed, "measured_every",
                                STATE_EVERY, "measured_after", (json_int_t)state_unmeasured(setting));
    failed |= json_object_set_new(root, "options", options);
    failed |= json_object_set_new(root, "rows", described);
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return json_write(command, path, root);
}

#else /* --json is refused */

bool state_json(const char *command, const char *path, const state_setting *setting, const state_row *rows,
                size_t count)
{
    (void)command, (void)path, (void)setting, (void)rows, (void)count;
    return false;
}

#endif
