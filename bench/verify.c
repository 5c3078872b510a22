#include "../tests/cases.h"
#include "check.h"
#include "commands.h"
#include "memory.h"
#include "options.h"

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
    "several steps over tensors of many sizes, and compares the device to the bit with the CPU's portable code (the\n"
    "CPU: each of its instruction sets, with several threads), and that with the formulas in double precision: errors\n"
    "in ULPs of the largest magnitude that a result's computation meets, at most 4 for parameters and 3 for moments,\n"
    "besides the rounding to a 16-bit format. Exits 0 only if all is exact, and within these bounds.\n"
    "\n"
    "  --rule NAME         only sgd, rmsprop, adam or adamw\n"
    "  --case N            only case number N\n"
    "  --seed N            of the numbers (1)\n"
    "  --quick             one case in 13\n"
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
enum { QUICK_STRIDE = 13, SELF_TEST_STRIDE = 169 };

static size_t count_cases(void)
{
    return case_count() * case_formats_count();
}

static check_case describe(const verify_options *chosen, size_t number)
{
    check_case what = {case_group(number / case_formats_count()), case_formats_at(number % case_formats_count()),
                       chosen->seed + number};
    case_set_state(&what.group, what.formats.state);
    return what;
}

static bool is_chosen(const verify_options *chosen, const check_case *what)
{
    return !chosen->rule || strcmp(chosen->rule, fopt_rule_name(what->group.rule)) == 0;
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
    if (!parse_count(command, "--case", text, 0, count_cases() - 1, &chosen->first))
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
            chosen->json_path = optarg;
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

static bool passed(const check_result *result)
{
    return result->message[0] == '\0';
}

static void print_row(const char *command, const verify_options *chosen, size_t number, const check_case *what,
                      const check_result *result)
{
    char name[CASE_NAME_SIZE], formats[32];
    case_name(&what->group, name);
    snprintf(formats, sizeof formats, "%s/%s/%s", fopt_format_name(what->formats.param),
             fopt_format_name(what->formats.grad), fopt_format_name(what->formats.state));
    printf("%4zu %-44s %-15s %9llu %10llu %9.3f %9.3f  %s\n", number, name, formats,
           (unsigned long long)result->elements, (unsigned long long)result->differing_bits, result->param_ulps,
           result->state_ulps, passed(result) ? "ok" : "WRONG");
    if (passed(result))
        return;
    fflush(stdout);
    complain(command, "%s %s: %s\n  to see it alone: %s --seed %zu --case %zu%s", name, formats, result->message,
             command, chosen->seed, number, chosen->device.kind == FOPT_CUDA ? " --device cuda" : "");
}

static json_t *describe_row(size_t number, const check_case *what, const check_result *result)
{
    char name[CASE_NAME_SIZE];
    case_name(&what->group, name);
    /* JSON has no infinity; any error as large as this is as wrong. */
    const double param = fmin(result->param_ulps, 1e300), state = fmin(result->state_ulps, 1e300);
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:b}", "case", (json_int_t)number, "rule",
                     fopt_rule_name(what->group.rule), "variant", name, "param_dtype",
                     fopt_format_name(what->formats.param), "grad_dtype", fopt_format_name(what->formats.grad),
                     "state_format", fopt_format_name(what->formats.state), "elements", (json_int_t)result->elements,
                     "differing_bits", (json_int_t)result->differing_bits, "worst_ulp", fmax(param, state),
                     "worst_param_ulp", param, "worst_state_ulp", state, "passed", passed(result));
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

/* Checks all chosen cases and gathers their rows. Returns whether all could be checked and passed. */
static bool verify(const char *command, const verify_options *chosen, check_bench *bench, json_t *rows)
{
    const bool progress = isatty(STDERR_FILENO);
    size_t done = 0, wrong = 0;
    uint64_t elements = 0;
    double param = 0, state = 0;
    printf("%4s %-44s %-15s %9s %10s %9s %9s\n", "case", "rule", "formats", "elements", "bits", "ulp param",
           "ulp state");
    for (size_t number = chosen->first; number < chosen->end; number += chosen->stride) {
        const check_case what = describe(chosen, number);
        check_result result;
        if (!is_chosen(chosen, &what))
            continue;
        if (progress)
            fprintf(stderr, "\rcase %zu of %zu\033[K", number, chosen->end);
        const bool checked = check(command, bench, &what, NULL, &result);
        if (progress)
            fputs("\r\033[K", stderr); /* clears the line */
        if (!checked)
            return false;
        print_row(command, chosen, number, &what, &result);
        json_array_append_new(rows, describe_row(number, &what, &result));
        done++;
        wrong += !passed(&result);
        elements += result.elements;
        param = fmax(param, result.param_ulps);
        state = fmax(state, result.state_ulps);
    }
    printf("%zu cases, %llu elements: %zu wrong; at most %.3f ulp for parameters and %.3f for moments\n", done,
           (unsigned long long)elements, wrong, param, state);
    return wrong == 0;
}

/* Plants each fault that there can be in some cases of every rule. Returns whether all were found. */
static bool self_test(const char *command, const verify_options *chosen, check_bench *bench)
{
    size_t planted = 0, missed = 0;
    for (size_t number = chosen->first; number < chosen->end; number += SELF_TEST_STRIDE * chosen->stride) {
        const check_case what = describe(chosen, number);
        for (size_t array = 0; array < JUDGE_ARRAYS && is_chosen(chosen, &what); ++array)
            for (int in_reference = 0; in_reference <= 1; ++in_reference) {
                check_result result;
                if (!check_keeps(&what.group, array))
                    continue;
                if (!check(command, bench, &what, &(check_fault){array, in_reference}, &result))
                    return false;
                const double ulps = array == JUDGE_PARAM ? result.param_ulps : result.state_ulps;
                const double bound = array == JUDGE_PARAM ? JUDGE_PARAM_ULPS : JUDGE_STATE_ULPS;
                const bool found = in_reference ? ulps > bound : result.differing_bits > 0;
                planted++;
                missed += !found;
                if (!found)
                    complain(command, "case %zu: a fault planted in %s was not found by the %s", number,
                             judge_array_name(what.group.rule, array), in_reference ? "oracle" : "comparison of bits");
            }
    }
    printf("%zu faults planted, %zu found\n", planted, planted - missed);
    return planted > 0 && missed == 0;
}

int verify_command(int argc, char **argv)
{
    verify_options chosen = {.end = count_cases(), .stride = 1, .seed = 1};
    int status;
    if (!read_options(argc, argv, &chosen, &status))
        return status;
    if (!memory_ready(argv[0], chosen.device) || (chosen.json_path && !can_write(argv[0], chosen.json_path)))
        return EXIT_FAILURE;
    check_bench *bench = check_open(argv[0], chosen.device);
    if (!bench)
        return EXIT_FAILURE;
    json_t *rows = json_array();
    bool good = chosen.self_test ? self_test(argv[0], &chosen, bench) : verify(argv[0], &chosen, bench, rows);
    if (chosen.json_path)
        good = write_json(argv[0], &chosen, rows) && good;
    else
        json_decref(rows);
    check_close(bench);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
