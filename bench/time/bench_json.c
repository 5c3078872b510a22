/* The JSON file of the command bench. */
#include "machine/machine_json.h"
#include "program/json_file.h"
#include "time/bench_report.h"

#ifdef FUSEDOPT_HAVE_JANSSON

#include <jansson.h>
#include <math.h>

static json_t *describe_quartiles(quartiles q)
{
    return json_pack("[f, f, f]", q.low, q.middle, q.high);
}

static json_t *describe_row(const bench_entry *entry, const measure_row *row)
{
    const measure_case *what = &entry->what;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:i, s:f, s:I, s:o, s:o, s:b, s:f, s:f, s:f}",
        "engine", row->engine, "rule", what->rule, "param_dtype", fopt_format_name(what->param), "grad_dtype",
        fopt_format_name(what->grad), "state_format", bench_state_name(entry), "shape_set", what->shapes.name, "params",
        (json_int_t)what->shapes.params, "tensors", (json_int_t)what->shapes.tensors, "ns_per_param",
        row->ns_per_param.middle, "gb_per_s", row->gb_per_s, "roof_fraction", row->roof_fraction.middle, "host_us",
        row->host_us, "launches", row->launches, "spread", quartiles_spread(row->ns_per_param), "samples",
        (json_int_t)entry->result.samples, "ns_per_param_quartiles", describe_quartiles(row->ns_per_param),
        "roof_fraction_quartiles", describe_quartiles(row->roof_fraction), "wide", row->wide, "bytes_per_param",
        entry->result.bytes_per_param, "roof_fraction_best", row->roof_best, "copy_fraction", row->copy_fraction);
    if (object && !isnan(row->tensor_ns))
        json_object_set_new(object, "ns_per_tensor", json_real(row->tensor_ns));
    return object;
}

static json_t *describe_roof(const bench_entry *entry)
{
    return json_pack("{s:I, s:f, s:f}", "bytes", (json_int_t)entry->result.total_bytes, "copy_gb_per_s",
                     entry->result.copy_gb_per_s, "stream_gb_per_s", entry->result.stream_gb_per_s);
}

bool bench_json(const char *command, const char *path, fopt_device device, const bench_entry *entries, size_t count)
{
    json_t *roofs = json_array(), *rows = json_array();
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        failed |= json_array_append_new(roofs, describe_roof(&entries[i]));
        for (size_t k = 0; k < entries[i].result.row_count; k++)
            failed |= json_array_append_new(rows, describe_row(&entries[i], &entries[i].result.rows[k]));
    }
    json_t *root = machine_json(device);
    failed |= json_object_set_new(root, "roofs", roofs);
    failed |= json_object_set_new(root, "rows", rows);
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return json_write(command, path, root);
}

#else /* --json is refused */

bool bench_json(const char *command, const char *path, fopt_device on, const bench_entry *entries, size_t count)
{
    (void)command, (void)path, (void)on, (void)entries, (void)count;
    return false;
}

#endif
