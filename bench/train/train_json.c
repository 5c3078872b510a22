/* The JSON file of the command train. */
#include "program/json_file.h"
#include "train/train_report.h"

#ifdef FUSEDOPT_HAVE_JANSSON

#include <jansson.h>
#include <math.h>

/* Describes a loss; JSON has no number for that of a training that diverged. */
static json_t *describe_loss(double loss)
{
    return isfinite(loss) ? json_real(loss) : json_null();
}

bool train_json(const char *command, const char *path, const engine_run *runs, size_t run_count)
{
    json_t *rows = json_array();
    int failed = 0;
    for (size_t i = 0; i < run_count; i++) {
        const engine_run *run = &runs[i];
        failed |= json_array_append_new(rows, json_pack("{s:s, s:s, s:f, s:o, s:f, s:I}", "rule", run->rule->name,
                                                        "state_format", train_state_format(run),
                                                        "state_bytes_per_param", run->state_bytes_per_param,
                                                        "final_loss", describe_loss(train_final_loss(run)), "accuracy",
                                                        run->accuracy, "seed", (json_int_t)run->seed));
    }
    json_t *root = json_pack("{s:o}", "rows", rows);
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return json_write(command, path, root);
}

#else /* --json is refused */

bool train_json(const char *command, const char *path, const engine_run *runs, size_t run_count)
{
    (void)command, (void)path, (void)runs, (void)run_count;
    return false;
}

#endif
