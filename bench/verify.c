#include "check.h"
#include "commands.h"
#include "long_check.h"
#include "memory.h"
#include "options.h"
#include "verify_cases.h"

#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: fusedopt verify [OPTION]...\n"
    "\n"
    "Computes every rule with every combination of its options and of formats, on ordinary and on adversarial "
    "numbers,\n"
    "several steps over tensors of many sizes, some with ten thousand tensors; and one tensor of more than 2^32 "
    "elements,\n"
    "if memory allows. Compares the device to the bit with the CPU's portable code (the\n"
    "CPU: each of its instruction sets, with several threads), and that with the formulas in double precision: errors\n"
    "in ULPs of the largest magnitude that a result's computation meets, at most 4 for parameters and 3 for moments,\n"
    "besides the rounding to a 16-bit format. Exits 0 only if all is exact, and within these bounds.\n"
    "\n"
    "  --rule NAME         only sgd, rmsprop, adam or adamw\n"
    "  --case N            only case number N\n"
    "  --seed N            of the numbers (1)\n"
    "  --quick             one case in 16, and no tensor that is so long\n"
    "  --self-test         plant a fault in each array that is compared, and see that it is found\n"
    "  --device cpu|cuda   what to verify (cpu)\n"
    "  --json FILE         write a row for each case to FILE\n"
    "  --help              this text\n";

typedef struct verify_options {
    const char *rule; /* NULL: all */
    size_t first, end, stride;
    size_t seed;
    bool self_test;
    fopt_device device;
    const char *json_path; /* NULL: none */
} verify_options;

/* They share no factor with the number of triples of formats: all of these take turns. */
enum { QUICK_STRIDE = 16, SELF_TEST_STRIDE = 169 };

static bool is_chosen(const verify_options *chosen, const verify_case *what)
{
    if (chosen->stride > 1 && what->long_elements > 0)
        return false;
    return !chosen->rule || strcmp(chosen->rule, fopt_rule_name(what->what.group.rule)) == 0;
}

static bool choose_rule(const char *command, const char *name, verify_options *chosen)
{
    for (int rule = 0; fopt_rule_name((fopt_rule)rule); ++rule)
        if (strcmp(name, fopt_rule_name((fopt_rule)rule)) == 0) {
            chosen->rule = name;
            return true;
        }
    complain(command, "--rule: no rule is called '%s'", name);
    return false;
}

static bool choose_case(const char *command, const char *text, verify_options *chosen)
{
    if (!parse_count(command, "--case", text, 0, verify_case_count() - 1, &chosen->first))
        return false;
    chosen->end = chosen->first + 1;
    return true;
}

/* Returns whether to go on; if not, *status is the exit status. */
static bool read_options(int argc, char **argv, verify_options *chosen, int *status)
{
    static const struct option options[] = {
        {"rule", required_argument, NULL, 'r'},
        {"case", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'},
        {"quick", no_argument, NULL, 'q'},
        {"self-test", no_argument, NULL, 't'},
        {"device", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *status = EXIT_USAGE;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        bool good = true;
        switch (option) {
        case 'r':
            good = choose_rule(argv[0], optarg, chosen);
            break;
        case 'c':
            good = choose_case(argv[0], optarg, chosen);
            break;
        case 's':
            good = parse_count(argv[0], "--seed", optarg, 0, (size_t)1 << 53, &chosen->seed);
            break;
        case 'q':
            chosen->stride = QUICK_STRIDE;
            break;
        case 't':
            chosen->self_test = true;
            break;
        case 'd':
            good = parse_device(argv[0], optarg, &chosen->device);
            break;
        case 'j':
            good = parse_file(argv[0], "--json", optarg, "", &chosen->json_path);
            break;
        case 'h':
            fputs(usage, stdout);
            *status = EXIT_SUCCESS;
            return false;
        default: /* getopt_long() has said what is wrong */
            return false;
        }
        if (!good)
            return false;
    }
    return no_more_arguments(argc, argv);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* What became of a case. */
typedef struct verify_row {
    size_t number;
    verify_case what;
    size_t tensors;
    check_result result;
    char skipped[96]; /* why; "" if it was not */
} verify_row;

static bool passed(const verify_row *row)
{
    return row->result.message[0] == '\0';
}

/* Of the moments, if there are any. */
static const char *state_name(const verify_row *row)
{
    for (size_t array = JUDGE_STATES; array < JUDGE_ARRAYS; ++array)
        if (check_keeps(&row->what.what.group, array))
            return fopt_format_name(row->what.what.group.state_format[array - JUDGE_STATES]);
    return "none";
}

static void print_head(void)
{
    printf("%4s %-44s %-15s %7s %10s %10s %9s %9s\n", "case", "rule", "formats", "tensors", "elements", "bits",
           "ulp param", "ulp state");
}

static void print_row(const char *command, const verify_options *chosen, const verify_row *row)
{
    const check_case *what = &row->what.what;
    const check_result *result = &row->result;
    char name[CASE_NAME_SIZE], formats[32];
    case_name(&what->group, name);
    snprintf(formats, sizeof formats, "%s/%s/%s", fopt_format_name(what->formats.param),
             fopt_format_name(what->formats.grad), state_name(row));
    printf("%4zu %-44s %-15s %7zu ", row->number, name, formats, row->tensors);
    if (row->skipped[0]) {
        printf("skipped: %s\n", row->skipped);
        return;
    }
    printf("%10llu %10llu %9.3f %9.3f  %s\n", (unsigned long long)result->elements,
           (unsigned long long)result->differing_bits, result->param_ulps, result->state_ulps,
           passed(row) ? "ok" : "WRONG");
    if (passed(row))
        return;
    fflush(stdout);
    complain(command, "%s %s: %s\n  to see it alone: %s --seed %zu --case %zu%s", name, formats, result->message,
             command, chosen->seed, row->number, chosen->device.kind == FOPT_CUDA ? " --device cuda" : "");
}

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
                               fopt_format_name(what->formats.grad), "state_format", state_name(row), "tensors",
                               (json_int_t)row->tensors, "elements", (json_int_t)result->elements, "differing_bits",
                               (json_int_t)result->differing_bits, "worst_ulp", fmax(param, state), "worst_param_ulp",
                               param, "worst_state_ulp", state, "passed", passed(row) && !row->skipped[0]);
    if (object && row->skipped[0])
        json_object_set_new(object, "skipped", json_string(row->skipped));
    return object;
}

/* Consumes the rows. */
static bool write_json(const char *command, const verify_options *chosen, json_t *rows)
{
    json_t *root =
        json_pack("{s:s, s:s, s:I, s:o}", "version", fopt_version_string(), "device",
                  chosen->device.kind == FOPT_CPU ? "cpu" : "cuda", "seed", (json_int_t)chosen->seed, "rows", rows);
    const bool good = root && json_dump_file(root, chosen->json_path, JSON_INDENT(2)) == 0;
    if (!good)
        complain(command, "cannot write %s", chosen->json_path);
    json_decref(root);
    return good;
}

/* ---- the command --------------------------------------------------------------------------------------------- */

/* The memory for the cases that have so many small tensors. */
typedef struct verify_room {
    check_bench *bench;
    size_t small_tensors;
} verify_room;

static bool make_room(const char *command, fopt_device device, size_t small_tensors, verify_room *room)
{
    if (room->bench && room->small_tensors == small_tensors)
        return true;
    check_close(room->bench);
    *room = (verify_room){check_open(command, device, small_tensors), small_tensors};
    return room->bench;
}

/* Where less memory would be left to others than this, the long tensor is not for this machine. */
static const size_t memory_to_spare = (size_t)2 << 30;

static bool run_long(const char *command, fopt_device device, verify_row *row)
{
    const double gibibyte = 1 << 30;
    const size_t needed = long_check_bytes(&row->what.what, row->what.long_elements);
    const size_t available = memory_available(device);
    row->tensors = 1;
    if (available > needed + memory_to_spare)
        return long_check(command, device, &row->what.what, row->what.long_elements, false, &row->result);
    snprintf(row->skipped, sizeof row->skipped, "it takes %.1f GiB of memory, of which %.1f are free",
             (double)(needed + memory_to_spare) / gibibyte, (double)available / gibibyte);
    return true;
}

static bool run_case(const char *command, fopt_device device, verify_room *room, verify_row *row)
{
    if (row->what.long_elements > 0)
        return run_long(command, device, row);
    if (!make_room(command, device, row->what.small_tensors, room))
        return false;
    row->tensors = check_tensors(room->bench);
    return check(command, room->bench, &row->what.what, NULL, &row->result);
}

/* Checks all chosen cases and gathers their rows. Returns whether all could be checked and passed. */
static bool verify(const char *command, const verify_options *chosen, verify_room *room, json_t *rows)
{
    const bool progress = isatty(STDERR_FILENO);
    size_t done = 0, wrong = 0, skipped = 0;
    check_result sum = {0};
    print_head();
    for (size_t number = chosen->first; number < chosen->end; number += chosen->stride) {
        verify_row row = {.number = number, .what = verify_case_at(number, chosen->seed)};
        if (!is_chosen(chosen, &row.what))
            continue;
        if (progress)
            fprintf(stderr, "\rcase %zu of %zu\033[K", number, chosen->end);
        const bool checked = run_case(command, chosen->device, room, &row);
        if (progress)
            fputs("\r\033[K", stderr); /* clears the line */
        if (!checked)
            return false;
        print_row(command, chosen, &row);
        json_array_append_new(rows, describe_row(&row));
        done += !row.skipped[0];
        skipped += row.skipped[0] != '\0';
        wrong += !passed(&row);
        sum.elements += row.result.elements;
        sum.param_ulps = fmax(sum.param_ulps, row.result.param_ulps);
        sum.state_ulps = fmax(sum.state_ulps, row.result.state_ulps);
    }
    printf("%zu cases, %llu elements: %zu wrong; at most %.3f ulp for parameters and %.3f for moments\n", done,
           (unsigned long long)sum.elements, wrong, sum.param_ulps, sum.state_ulps);
    if (skipped > 0)
        printf("%zu skipped\n", skipped);
    return wrong == 0;
}

/* Counts of faults. */
typedef struct verify_faults {
    size_t planted, missed;
} verify_faults;

static void count_fault(const char *command, bool found, size_t number, const char *array, const char *by,
                        verify_faults *faults)
{
    faults->planted++;
    faults->missed += !found;
    if (!found)
        complain(command, "case %zu: a fault planted in %s was not found by the %s", number, array, by);
}

static bool is_quantized(const fopt_group *group, size_t array)
{
    return array != JUDGE_PARAM && group->state_format[array - JUDGE_STATES] == FOPT_Q8;
}

/* Plants a fault in the device's result, and in the reference. */
static bool test_array(const char *command, check_bench *bench, size_t number, const check_case *what,
                       check_fault fault, verify_faults *faults)
{
    check_result result;
    if (!check(command, bench, what, &fault, &result))
        return false;
    const char *name = judge_array_name(what->group.rule, fault.array);
    count_fault(command, result.differing_bits > 0, number, name, "comparison of bits", faults);
    fault.in_reference = true;
    if (!check(command, bench, what, &fault, &result))
        return false;
    const bool found =
        fault.array == JUDGE_PARAM ? result.param_ulps > JUDGE_PARAM_ULPS : result.state_ulps > JUDGE_STATE_ULPS;
    count_fault(command, found, number, name, "oracle", faults);
    return true;
}

/* Plants each fault that there can be in a case, which without them must be right. */
static bool test_case(const char *command, check_bench *bench, size_t number, const check_case *what,
                      verify_faults *faults)
{
    check_result result;
    if (!check(command, bench, what, NULL, &result))
        return false;
    if (result.message[0] != '\0') {
        complain(command, "case %zu: %s", number, result.message);
        return false;
    }
    for (size_t array = 0; array < JUDGE_ARRAYS; ++array)
        if (check_keeps(&what->group, array) &&
            (!test_array(command, bench, number, what, (check_fault){.array = array}, faults) ||
             (is_quantized(&what->group, array) &&
              !test_array(command, bench, number, what, (check_fault){.array = array, .absmax = true}, faults))))
            return false;
    return true;
}

/* In a tensor as long as is needed for the fault to lie in the last of several periods. */
static bool test_long(const char *command, fopt_device device, const check_case *what, verify_faults *faults)
{
    check_result sound, faulty;
    if (!long_check(command, device, what, 3 * LONG_CHECK_PERIOD + 1, false, &sound) ||
        !long_check(command, device, what, 3 * LONG_CHECK_PERIOD + 1, true, &faulty))
        return false;
    count_fault(command, sound.differing_bits == 0 && faulty.differing_bits > 0, verify_case_count() - 1, "param",
                "comparison of bits", faults);
    return true;
}

/* Returns whether all faults were found that it plants, in some cases of every rule. */
static bool self_test(const char *command, const verify_options *chosen, verify_room *room)
{
    verify_faults faults = {0};
    for (size_t number = chosen->first; number < chosen->end; ++number) {
        const verify_case what = verify_case_at(number, chosen->seed);
        const bool one_of_some = number % (SELF_TEST_STRIDE * chosen->stride) == 0;
        bool good = true;
        if (!is_chosen(chosen, &what))
            continue;
        if (what.long_elements > 0)
            good = test_long(command, chosen->device, &what.what, &faults);
        else if (one_of_some || chosen->end - chosen->first == 1)
            good = make_room(command, chosen->device, what.small_tensors, room) &&
                   test_case(command, room->bench, number, &what.what, &faults);
        if (!good)
            return false;
    }
    printf("%zu faults planted, %zu found\n", faults.planted, faults.planted - faults.missed);
    return faults.planted > 0 && faults.missed == 0;
}

int verify_command(int argc, char **argv)
{
    verify_options chosen = {.end = verify_case_count(), .stride = 1, .seed = 1};
    int status;
    if (!read_options(argc, argv, &chosen, &status))
        return status;
    if (!memory_ready(argv[0], chosen.device) || (chosen.json_path && !can_write(argv[0], chosen.json_path)))
        return EXIT_FAILURE;
    verify_room room = {0};
    json_t *rows = json_array();
    bool good = chosen.self_test ? self_test(argv[0], &chosen, &room) : verify(argv[0], &chosen, &room, rows);
    if (chosen.json_path)
        good = write_json(argv[0], &chosen, rows) && good;
    else
        json_decref(rows);
    check_close(room.bench);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
