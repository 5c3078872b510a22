#include "bench_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *bench_state_name(const bench_entry *entry)
{
    return strcmp(entry->what.rule, "sgd") == 0 ? "none" : fopt_format_name(entry->what.state);
}

void bench_table_head(void)
{
    printf("%-9s %-15s %-9s %11s %7s  %-9s %9s %7s %6s %11s %6s %11s %7s %9s\n", "rule", "formats", "shapes", "params",
           "tensors", "engine", "ns/param", "GB/s", "roof", "spread ", "best", "host us", "kernels", "ns/tensor");
}

void bench_table_rows(const bench_entry *entry)
{
    const measure_case *what = &entry->what;
    char formats[32];
    snprintf(formats, sizeof formats, "%s/%s/%s", fopt_format_name(what->param), fopt_format_name(what->grad),
             bench_state_name(entry));
    for (size_t i = 0; i < entry->result.row_count; ++i) {
        const measure_row *row = &entry->result.rows[i];
        printf("%-9s %-15s %-9s %11zu %7zu  %-9s %9.4f %7.2f %6.3f %5.3f-%5.3f%s %5.3f %11.1f %7d", what->rule, formats,
               what->shapes.name, what->shapes.params, what->shapes.tensors, row->engine, row->ns_per_param.middle,
               row->gb_per_s, row->roof_fraction.middle, row->roof_fraction.low, row->roof_fraction.high,
               row->wide ? "!" : " ", row->roof_best, row->host_us, row->launches);
        if (!isnan(row->tensor_ns))
            printf(" %9.1f", row->tensor_ns);
        putchar('\n');
    }
    fflush(stdout); /* the next rows may take a while */
}

void bench_table_foot(const bench_entry *entries, size_t count)
{
    size_t wide = 0;
    double copy = 0, stream = 0;
    for (size_t i = 0; i < count; ++i) {
        const measure_result *result = &entries[i].result;
        copy = fmax(copy, result->copy_gb_per_s);
        stream = fmax(stream, result->stream_gb_per_s);
        for (size_t k = 0; k < result->row_count; ++k)
            wide += result->rows[k].wide;
    }
    printf(
        "\n"
        "GB/s  bytes that the step must read and write, by the median time\n"
        "roof  the part of what a[i] = a[i] * s + b[i] reaches in arrays of the same total size (at most %.2f GB/s;\n"
        "      a copy %.2f GB/s), timed in turns with the step; spread: its middle half; best: the\n"
        "      fastest step by the fastest such loop\n"
        "ns/tensor  what a tensor takes beyond its share of one flat tensor's step by fusedopt\n",
        stream, copy);
    if (wide > 0)
        printf(
            "!     %zu of the rows are spread over more than %.0f %% of their median, or not within %.0f %% the same\n"
            "      in both halves of the run: this machine was too busy for them\n",
            wide, 100 * MEASURE_WIDE, 100 * MEASURE_DRIFT);
}
