/* The program without jansson: --json is refused, so that no path of a JSON file ever reaches the writers. */
#include "program/json_file.h"
#include "time/bench_report.h"
#include "train/train_report.h"
#include "verify/verify_report.h"

const bool json_there = false;

bool bench_json(const char *command, const char *path, fopt_device on, const bench_entry *entries, size_t count)
{
    (void)command, (void)path, (void)on, (void)entries, (void)count;
    return false;
}

bool train_json(const char *command, const char *path, const engine_run *runs, size_t run_count)
{
    (void)command, (void)path, (void)runs, (void)run_count;
    return false;
}

bool verify_json(const char *command, const char *path, const verify_setting *setting, const verify_row *rows,
                 size_t count)
{
    (void)command, (void)path, (void)setting, (void)rows, (void)count;
    return false;
}
