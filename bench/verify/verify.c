/* The command verify: its options, its cases on all threads, and the test of itself by planted faults. */
#include "machine/hardware.h"
#include "machine/parallel.h"
#include "program/commands.h"
#include "program/json_file.h"
#include "program/options.h"
#include "program/progress.h"
#include "program/whole_file.h"
#include "reference/quantized.h"
#include "verify/check.h"
#include "verify/long_check.h"
#include "verify/verify_cases.h"
#include "verify/verify_report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: fusedopt verify [OPTION]...\n"
    "\n"
    "Computes every rule with every combination of its options and of formats, on ordinary and on adversarial\n"
    "numbers, several steps over tensors of many sizes, some with ten thousand tensors; and one tensor of more than\n"
    "2^32 elements, if memory allows. Compares the device to the bit with the CPU's portable code (the CPU: each of\n"
    "its instruction sets, with several threads), and that with the formulas in double precision: errors in ULPs of\n"
    "the largest magnitude that a result's computation meets, at most 4 for parameters and 3 for moments, besides the\n"
    "rounding to a 16-bit format. Exits 0 only if all is exact, and within these bounds.\n"
    "\n"
    "Options:\n"
    "\n"
    "  --rule NAME         only this rule, \"adam\" say; may be given several times\n"
    "  --case N            only case number N\n"
    "  --seed N            of the numbers, 0 to 2^53 (1)\n"
    "  --quick             one case in 23, and no tensor that is so long\n"
    "  --self-test         plant a fault in each array that is compared, and see that it is found\n"
    "  --device cpu|cuda   what to verify (cpu)\n"
    "  --json FILE         write a row for each case to FILE\n"
    "  -h, --help          this text\n";

typedef struct verify_options {
    unsigned rules; /* a bit for each; 0: all */
    size_t first, end, stride;
    bool quick, self_test;
    verify_setting setting;
    const char *json_path; /* NULL: none */
} verify_options;

/* Strides through the cases. They share no factor with the number of triples of formats: all of these take turns. */
enum { QUICK_STRIDE = 23, SELF_TEST_STRIDE = 169 };

static bool is_chosen(const verify_options *chosen, const verify_case *what)
{
    if (chosen->quick && what->long_elements > 0)
        return false;
    return chosen->rules == 0 || (chosen->rules & 1u << what->what.group.rule);
}

static bool choose_rule(const char *command, const char *name, void *rules)
{
    for (int rule = 0; fopt_rule_name((fopt_rule)rule); rule++)
        if (strcmp(name, fopt_rule_name((fopt_rule)rule)) == 0) {
            *(unsigned *)rules |= 1u << rule;
            return true;
        }
    complain(command, "--rule: no rule is called '%s' (momentum is an option of sgd)", name);
    return false;
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* The memory in which a thread checks its cases. */
typedef struct verify_room {
    check_bench *bench;
    size_t small_tensors;
} verify_room;

/* The cases of a run, which threads share. Each has a room of its own, and works on one case after the other. */
typedef struct verify_hall {
    const char *command;
    const verify_options *chosen;
    verify_row *rows;
    size_t row_count, printed;
    verify_room *rooms;
    size_t room_count;
    progress shown; /* a case is one unit of its work */
} verify_hall;

static bool open_hall(const char *command, const verify_options *chosen, verify_hall *hall)
{
    const size_t most = verify_case_count(), threads = parallel_threads(most);
    *hall = (verify_hall){command, chosen, calloc(most, sizeof *hall->rows), 0, 0, calloc(threads, sizeof *hall->rooms),
                          threads, {0}};
    if (!hall->rows || !hall->rooms)
        complain(command, "out of memory");
    return hall->rows && hall->rooms;
}

static void empty_rooms(verify_hall *hall)
{
    for (size_t i = 0; i < hall->room_count && hall->rooms; i++) {
        check_close(hall->rooms[i].bench);
        hall->rooms[i] = (verify_room){0};
    }
}

static void close_hall(verify_hall *hall)
{
    empty_rooms(hall);
    free(hall->rooms);
    free(hall->rows);
}

static bool make_room(const verify_hall *hall, size_t thread, size_t small_tensors)
{
    verify_room *room = &hall->rooms[thread];
    if (room->bench && room->small_tensors == small_tensors)
        return true;
    check_close(room->bench);
    *room = (verify_room){check_open(hall->command, hall->chosen->setting.device, small_tensors), small_tensors};
    return room->bench;
}

/* ---- all cases ----------------------------------------------------------------------------------------------- */

/* Bytes of memory to leave to others: where there would be less, the long tensor is not for this machine. */
static const size_t memory_to_spare = (size_t)2 << 30;

static bool check_long(const char *command, fopt_device device, verify_row *row)
{
    const double gibibyte = 1 << 30;
    const size_t needed = long_check_bytes(&row->what.what, row->what.long_elements);
    const size_t available = hardware_available(device);
    row->tensors = 1;
    if (available > needed + memory_to_spare)
        return long_check(command, device, &row->what.what, row->what.long_elements, false, &row->result);
    snprintf(row->skipped, sizeof row->skipped, "it takes %.1f GiB of memory, of which %.1f are free",
             (double)(needed + memory_to_spare) / gibibyte, (double)available / gibibyte);
    return true;
}

static bool check_row(void *context, size_t thread, size_t item)
{
    const verify_hall *hall = context;
    verify_row *row = &hall->rows[item];
    if (!make_room(hall, thread, row->what.small_tensors))
        return false;
    row->tensors = check_tensors(hall->rooms[thread].bench);
    return check_run(hall->command, hall->rooms[thread].bench, &row->what.what, NULL, &row->result);
}

/* Shows which case comes next, once so many are done. */
static void show_progress(verify_hall *hall, size_t done)
{
    if (done == 0)
        hall->shown = progress_begin((double)hall->row_count);
    else
        progress_add(&hall->shown, 1);
    if (done < hall->row_count)
        progress_show(&hall->shown, "case %zu of %zu", hall->rows[done].number, hall->chosen->end);
    else
        progress_clear(&hall->shown);
}

static bool print_row(void *context, size_t thread, size_t item)
{
    verify_hall *hall = context;
    (void)thread;
    progress_clear(&hall->shown);
    verify_print_row(hall->command, &hall->chosen->setting, &hall->rows[item]);
    hall->printed = item + 1;
    show_progress(hall, hall->printed);
    return true;
}

/* Complains unless there is something to check. */
static bool has_rows(const verify_hall *hall)
{
    if (hall->row_count == 0)
        complain(hall->command, "no case is left");
    return hall->row_count > 0;
}

/* Lists all chosen cases. Returns whether there are any. */
static bool list_rows(verify_hall *hall)
{
    const verify_options *chosen = hall->chosen;
    for (size_t number = chosen->first; number < chosen->end; number += chosen->stride) {
        const verify_row row = {.number = number, .what = verify_case_at(number, chosen->setting.seed)};
        if (is_chosen(chosen, &row.what))
            hall->rows[hall->row_count++] = row;
    }
    return has_rows(hall);
}

/* Returns whether no row is wrong. */
static bool print_sum(const verify_row *rows, size_t count)
{
    size_t wrong = 0, skipped = 0;
    check_result sum = {0};
    for (const verify_row *row = rows; row < rows + count; row++) {
        skipped += row->skipped[0] != '\0';
        wrong += !verify_row_passed(row);
        sum.elements += row->result.elements;
        sum.param_ulps = fmax(sum.param_ulps, row->result.param_ulps);
        sum.state_ulps = fmax(sum.state_ulps, row->result.state_ulps);
    }
    printf("%zu cases, %llu elements: %zu wrong; at most %.3f ulp for parameters and %.3f for moments\n",
           count - skipped, (unsigned long long)sum.elements, wrong, sum.param_ulps, sum.state_ulps);
    if (skipped > 0)
        printf("%zu skipped\n", skipped);
    return wrong == 0;
}

/* Checks all chosen cases, one a thread. The long one comes last and has all threads, and the memory, to itself.
 * Returns whether all could be checked and passed. */
static bool verify(verify_hall *hall)
{
    if (!list_rows(hall))
        return false;
    verify_print_head();
    show_progress(hall, 0);
    const size_t count = hall->row_count;
    const bool has_long = count > 0 && hall->rows[count - 1].what.long_elements > 0;
    bool good = parallel_items(check_row, print_row, hall, count - has_long);
    empty_rooms(hall);
    if (good && has_long)
        good = check_long(hall->command, hall->chosen->setting.device, &hall->rows[count - 1]) &&
               print_row(hall, 0, count - 1);
    if (good)
        good = print_sum(hall->rows, count);
    if (hall->chosen->json_path)
        good = verify_json(hall->command, hall->chosen->json_path, &hall->chosen->setting, hall->rows, hall->printed) &&
               good;
    return good;
}

/* ---- planted faults ------------------------------------------------------------------------------------------ */

/* Counts of the faults that were planted in a case, and missed. */
typedef struct verify_faults {
    size_t planted, missed;
    char message[160]; /* of the first that was missed */
} verify_faults;

static void count_fault(bool found, const char *array, const char *by, verify_faults *faults)
{
    faults->planted++;
    faults->missed += !found;
    if (!found && faults->message[0] == '\0')
        snprintf(faults->message, sizeof faults->message, "a fault planted in %s was not found by the %s", array, by);
}

static bool has_absmax(const fopt_group *group, size_t array)
{
    return array != JUDGE_PARAM && is_quantized(group->state_format[array - JUDGE_STATES]);
}

/* Plants a fault in the device's result, and in the reference. */
static bool test_array(const char *command, check_bench *bench, const check_case *what, check_fault fault,
                       verify_faults *faults)
{
    check_result result;
    if (!check_run(command, bench, what, &fault, &result))
        return false;
    const char *name = judge_array_name(what->group.rule, fault.array);
    count_fault(result.differing_bits > 0, name, "comparison of bits", faults);
    fault.in_reference = true;
    if (!check_run(command, bench, what, &fault, &result))
        return false;
    const bool found =
        fault.array == JUDGE_PARAM ? result.param_ulps > ORACLE_PARAM_ULPS : result.state_ulps > ORACLE_STATE_ULPS;
    count_fault(found, name, "oracle", faults);
    return true;
}

/* Plants each fault that there can be in a case, which without them must be right. */
static bool test_case(const char *command, check_bench *bench, const check_case *what, verify_faults *faults)
{
    check_result result;
    if (!check_run(command, bench, what, NULL, &result))
        return false;
    if (result.message[0] != '\0') {
        complain(command, "%s", result.message);
        return false;
    }
    for (size_t array = 0; array < JUDGE_ARRAYS; array++)
        if (check_keeps(&what->group, array) &&
            (!test_array(command, bench, what, (check_fault){.array = array}, faults) ||
             (has_absmax(&what->group, array) &&
              !test_array(command, bench, what, (check_fault){.array = array, .absmax = true}, faults))))
            return false;
    return true;
}

/* Plants one in a tensor as long as is needed for it to lie in the last of several periods. */
static bool test_long(const char *command, fopt_device device, const check_case *what, verify_faults *faults)
{
    check_result sound, faulty;
    if (!long_check(command, device, what, 3 * LONG_CHECK_PERIOD + 1, false, &sound) ||
        !long_check(command, device, what, 3 * LONG_CHECK_PERIOD + 1, true, &faulty))
        return false;
    count_fault(sound.differing_bits == 0 && faulty.differing_bits > 0, "param", "comparison of bits", faults);
    return true;
}

typedef struct faults_context {
    verify_hall *hall;
    verify_faults *faults; /* by row */
} faults_context;

static bool test_row(void *context, size_t thread, size_t item)
{
    const faults_context *c = context;
    const verify_case *what = &c->hall->rows[item].what;
    if (what->long_elements > 0)
        return test_long(c->hall->command, c->hall->chosen->setting.device, &what->what, &c->faults[item]);
    return make_room(c->hall, thread, what->small_tensors) &&
           test_case(c->hall->command, c->hall->rooms[thread].bench, &what->what, &c->faults[item]);
}

static bool complain_of_row(void *context, size_t thread, size_t item)
{
    const faults_context *c = context;
    (void)thread;
    progress_clear(&c->hall->shown);
    if (c->faults[item].message[0] != '\0')
        complain(c->hall->command, "case %zu: %s", c->hall->rows[item].number, c->faults[item].message);
    show_progress(c->hall, item + 1);
    return true;
}

/* Lists some of the chosen cases of every rule, or the one that was chosen alone. Returns whether there are any. */
static bool list_some_rows(verify_hall *hall)
{
    const verify_options *chosen = hall->chosen;
    for (size_t number = chosen->first; number < chosen->end; number++) {
        const verify_row row = {.number = number, .what = verify_case_at(number, chosen->setting.seed)};
        const bool one_of_some = (number - chosen->first) % (SELF_TEST_STRIDE * chosen->stride) == 0;
        if (is_chosen(chosen, &row.what) && (one_of_some || row.what.long_elements > 0))
            hall->rows[hall->row_count++] = row;
    }
    return has_rows(hall);
}

/* Returns whether all faults were found that it plants. */
static bool self_test(verify_hall *hall)
{
    verify_faults sum = {0};
    if (!list_some_rows(hall))
        return false;
    faults_context context = {hall, calloc(hall->row_count + 1, sizeof *context.faults)};
    bool good = context.faults;
    if (!good)
        complain(hall->command, "out of memory");
    show_progress(hall, 0);
    good = good && parallel_items(test_row, complain_of_row, &context, hall->row_count);
    for (size_t i = 0; i < hall->row_count && good; i++) {
        sum.planted += context.faults[i].planted;
        sum.missed += context.faults[i].missed;
    }
    free(context.faults);
    if (good)
        printf("%zu faults planted, %zu found\n", sum.planted, sum.planted - sum.missed);
    return good && sum.planted > 0 && sum.missed == 0;
}

int verify_command(int argc, char **argv)
{
    verify_options chosen = {.end = verify_case_count(), .stride = 1, .setting = {.seed = 1}};
    size_t number = chosen.end;
    const option_spec options[] = {
        {"rule", OPTION_OTHER, &chosen.rules, .read = choose_rule},
        {"case", OPTION_COUNT, &number, .low = 0, .high = chosen.end - 1},
        {"seed", OPTION_COUNT, &chosen.setting.seed, .low = 0, .high = (size_t)1 << 53},
        {"quick", OPTION_FLAG, .target = &chosen.quick},
        {"self-test", OPTION_FLAG, .target = &chosen.self_test},
        {"device", OPTION_DEVICE, .target = &chosen.setting.device},
        {"json", OPTION_JSON, .target = &chosen.json_path},
        {0},
    };
    int status;
    if (!read_options(argc, argv, usage, options, &status))
        return status;
    if (chosen.self_test && chosen.json_path) {
        complain(argv[0], "--self-test writes no JSON");
        return EXIT_USAGE;
    }
    if (chosen.quick) { /* the first with ten thousand tensors is among them */
        chosen.stride = QUICK_STRIDE;
        chosen.first = verify_usual_count() % QUICK_STRIDE;
    }
    if (number < chosen.end) {
        chosen.first = number;
        chosen.end = number + 1;
    }
    if (!hardware_ready(argv[0], chosen.setting.device) || !whole_file_writable(argv[0], chosen.json_path))
        return EXIT_FAILURE;
    verify_hall hall;
    judge_prepare();
    const bool good = open_hall(argv[0], &chosen, &hall) && (chosen.self_test ? self_test(&hall) : verify(&hall));
    close_hall(&hall);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
