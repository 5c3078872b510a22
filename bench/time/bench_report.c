/* The table of the command bench. */
#include "time/bench_report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *bench_state_name(const bench_entry *entry)
{
    return strcmp(entry->what.rule, "sgd") == 0 ? "none" : fopt_format_name(entry->what.state);
}

void bench_table_head(void)
{
    printf("%-8s %-14s %-8s %10s %7s %-8s %8s %6s %5s %6s %6s %7s %5s %9s\n", "rule", "formats", "shapes", "params",
           "tensors", "engine", "ns/param", "GB/s", "copy", "stream", "spread", "host us", "kern.", "ns/tensor");
}

void bench_table_rows(const bench_entry *entry)
{
    const measure_case *what = &entry->what;
    char formats[32];
    snprintf(formats, sizeof formats, "%s/%s/%s", fopt_format_name(what->param), fopt_format_name(what->grad),
             bench_state_name(entry));
    for (size_t i = 0; i < entry->result.row_count; i++) {
        const measure_row *row = &entry->result.rows[i];
        printf("%-8s %-14s %-8s %10zu %7zu %-8s %8.4f %6.*f %5.3f %6.3f %4.0f%%%s %7.*f %5d", what->rule, formats,
               what->shapes.name, what->shapes.params, what->shapes.tensors, row->engine, row->ns_per_param.middle,
               row->gb_per_s < 1e3 ? 2 : 0, row->gb_per_s, row->copy_fraction, row->roof_fraction.middle,
               100 * quartiles_spread(row->ns_per_param), row->wide ? "!" : " ", row->host_us < 1e4 ? 1 : 0,
               row->host_us, row->launches);
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
    for (size_t i = 0; i < count; i++) {
        const measure_result *result = &entries[i].result;
        copy = fmax(copy, result->copy_gb_per_s);
        stream = fmax(stream, result->stream_gb_per_s);
        for (size_t k = 0; k < result->row_count; k++)
            wide += result->rows[k].wide;
    }
    printf("\n"
           "GB/s       bytes that the step must read and write, by the median time\n"
           "copy       the part of what a[i] = b[i] reaches in arrays of the same total size (at most %.2f GB/s), "
           "timed in\n"
           "           turns with the step\n"
           "stream     the same of a[i] = a[i] * s + b[i], in place as a step is (at most %.2f GB/s)\n"
           "spread     the middle half of the times, by their median\n"
           "kern.      kernels that a step launches\n"
           "ns/tensor  what a tensor takes beyond its share of one flat tensor's step by fusedopt\n",
           copy, stream);
    if (wide > 0)
        printf("!          %zu of the rows are spread over more than %.0f %% of their median, or not within %.0f %% "
               "the same\n"
               "           in both halves of the run: this machine was too busy for them\n",
               wide, 100 * MEASURE_WIDE, 100 * MEASURE_DRIFT);
}
