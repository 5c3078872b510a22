/* The command bench: its options, and the cases one after the other. */
#include "machine/hardware.h"
#include "program/commands.h"
#include "program/gnuplot.h"
#include "program/json_file.h"
#include "program/options.h"
#include "program/progress.h"
#include "program/stopwatch.h"
#include "program/whole_file.h"
#include "time/bench_cases.h"
#include "time/bench_report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: fusedopt bench [OPTION]...\n"
    "\n"
    "Times the optimizer step, and in turns with it a[i] = a[i] * s + b[i] over arrays of the same total size, the\n"
    "most that this device's memory can do in place. In single precision also what one would use without the library,\n"
    "one tensor at a time: a fused loop and a chain of BLAS calls. Small arrays are not left in the caches.\n"
    "\n"
    "Without a choice of cases: Adam by size, each rule, each kind of format, each set of shapes; some three minutes.\n"
    "With one, all combinations of what was chosen, of adam, f32/f32/f32, flat and 2^26 (CUDA: 2^30) where nothing\n"
    "was. What memory is too small for is left out.\n"
    "\n"
    "Options; the first four may be given several times:\n"
    "\n"
    "  --rule NAME         sgd, momentum, rmsprop, adam or adamw\n"
    "  --formats P/G/S     of parameters, gradients (f32, bf16, f16) and state (f32, bf16, q8, q8_64)\n"
    "  --shapes NAME       flat (one tensor), small (ten thousand of 64 to 4096 elements), gpt2 (124M parameters),\n"
    "                      resnet50, llama (7B, as one of --scale tensor-parallel ranks holds it)\n"
    "  --params LIST       sizes of the flat tensor, 2^10 to 2^40: numbers, powers such as 2^20 and ranges LOW..HIGH,\n"
    "                      which go by factors of four, with commas between them; at most 64 sizes in all\n"
    "  --scale N           1 to 64 (64)\n"
    "  --repeat N          samples of each, 1 to 100000 (31)\n"
    "  --quick             fewer cases, smaller ones, at most 11 samples: half a minute at most\n"
    "  --device cpu|cuda   what to measure (cpu)\n"
    "  --json FILE         write machine, roofs and rows to FILE\n"
    "  --plot FILE.svg     draw throughput by size, through gnuplot\n"
    "  -h, --help          this text\n";

typedef struct bench_options {
    bench_axes axes;
    size_t scale, repeat; /* repeat 0: not given */
    bool quick;
    fopt_device device;
    const char *json_path, *plot_path; /* NULL: none */
} bench_options;

/* ---- the command --------------------------------------------------------------------------------------------- */

/* Tells whether the library has what is to be timed: better said before the first case than at the last. */
static bool all_supported(const char *command, fopt_device device, const bench_plan *made)
{
    for (size_t i = 0; i < made->count; i++) {
        const measure_case *what = &made->entries[i].what;
        const fopt_config config = {.size = sizeof config, .device = device};
        const fopt_tensor empty = {.size = sizeof empty, .param_format = what->param, .grad_format = what->grad};
        fopt_sizes sizes = {.size = sizeof sizes};
        if (fopt_query_sizes(&config, &what->group, 1, &empty, 1, &sizes) != FOPT_OK) {
            complain(command, "%s", fopt_last_error());
            return false;
        }
    }
    return true;
}

/* After this many seconds no round begins, except that each remaining case gets three. */
enum { SECONDS = 180, QUICK_SECONDS = 15 };

/* Tells whether a case fits into the device's memory; says so if not. */
static bool fits(fopt_device device, const measure_case *what)
{
    const double gibibyte = 1 << 30;
    const size_t needed = measure_bytes(device, what), available = hardware_available(device);
    if (available == 0 || needed < available)
        return true;
    printf("%-9s %s of %zu parameters: skipped: it takes %.1f GiB of memory, of which %.1f are free\n", what->rule,
           what->shapes.name, what->shapes.params, (double)needed / gibibyte, (double)available / gibibyte);
    return false;
}

static void drop_what_does_not_fit(fopt_device device, bench_plan *made)
{
    size_t kept = 0;
    for (size_t i = 0; i < made->count; i++)
        if (fits(device, &made->entries[i].what))
            made->entries[kept++] = made->entries[i];
        else
            shapes_free(&made->entries[i].what.shapes);
    made->count = kept;
}

/* Estimates how long a case takes, in any unit: by its bytes, and by what even the smallest does. */
static double work_of(fopt_device device, const bench_entry *entry)
{
    return (double)measure_bytes(device, &entry->what) + (1 << 24);
}

static progress begin_progress(fopt_device device, const bench_plan *made)
{
    double work = 0;
    for (size_t i = 0; i < made->count; i++)
        work += work_of(device, &made->entries[i]);
    return progress_begin(work);
}

/* Times all cases, printing the table as it goes. */
static bool run(const char *command, const bench_options *chosen, bench_plan *made)
{
    const double end = stopwatch() + (chosen->quick ? QUICK_SECONDS : SECONDS);
    bool good = true;
    drop_what_does_not_fit(chosen->device, made);
    if (made->count == 0) {
        complain(command, "nothing is left");
        return false;
    }
    progress shown = begin_progress(chosen->device, made);
    bench_table_head();
    for (size_t i = 0; i < made->count && good; i++) {
        bench_entry *entry = &made->entries[i];
        progress_show(&shown, "%zu of %zu: %s, %s of %zu parameters", i + 1, made->count, entry->what.rule,
                      entry->what.shapes.name, entry->what.shapes.params);
        const double seconds = (end - stopwatch()) / (double)(made->count - i);
        good =
            measure(command, chosen->device, &entry->what, (measure_effort){chosen->repeat, seconds}, &entry->result);
        progress_add(&shown, work_of(chosen->device, entry));
        progress_clear(&shown);
        if (good)
            bench_table_rows(entry);
    }
    measure_end(chosen->device);
    if (good)
        bench_table_foot(made->entries, made->count);
    return good;
}

int bench_command(int argc, char **argv)
{
    bench_options chosen = {.scale = 64};
    const option_spec options[] = {
        {"rule", OPTION_OTHER, &chosen.axes, .read = bench_choose_rule},
        {"formats", OPTION_OTHER, &chosen.axes, .read = bench_choose_formats},
        {"shapes", OPTION_OTHER, &chosen.axes, .read = bench_choose_shapes},
        {"params", OPTION_OTHER, &chosen.axes, .read = bench_choose_params},
        {"scale", OPTION_COUNT, &chosen.scale, .low = 1, .high = 64},
        {"repeat", OPTION_COUNT, &chosen.repeat, .low = 1, .high = 100000},
        {"quick", OPTION_FLAG, .target = &chosen.quick},
        {"device", OPTION_DEVICE, .target = &chosen.device},
        {"json", OPTION_JSON, .target = &chosen.json_path},
        {"plot", OPTION_PLOT, .target = &chosen.plot_path},
        {0},
    };
    int status;
    if (!read_options(argc, argv, usage, options, &status))
        return status;
    if (chosen.repeat == 0)
        chosen.repeat = chosen.quick ? 11 : 31;
    const int large = chosen.device.kind == FOPT_CPU ? 26 : 30, small = chosen.device.kind == FOPT_CPU ? 22 : 26;
    const size_t params = (size_t)1 << (chosen.quick ? small : large);
    const char *command = argv[0];
    if (!hardware_ready(command, chosen.device) || !outputs_ready(command, chosen.json_path, chosen.plot_path))
        return EXIT_FAILURE;

    bench_plan made;
    bool good = bench_plan_new(&chosen.axes, params, chosen.scale, chosen.quick, &made);
    if (!good)
        complain(command, "out of memory");
    good = good && all_supported(command, chosen.device, &made) && run(command, &chosen, &made);
    if (good && chosen.json_path)
        good = bench_json(command, chosen.json_path, chosen.device, made.entries, made.count);
    if (good && chosen.plot_path)
        good = bench_plot(command, chosen.plot_path, chosen.device, made.entries, made.count);
    bench_plan_free(&made);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
