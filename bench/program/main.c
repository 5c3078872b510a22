/* The program fusedopt: finds the command, and checks that what it printed could be written. */
#include "fusedopt.h"
#include "program/commands.h"
#include "program/options.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"bench", bench_command, "time the step against what the memory can do"},
    {"info", info_command, "what this build and this machine offer"},
    {"state", state_command, "how good updates are with the moments in each format"},
    {"train", train_command, "train a small network with each rule and compare"},
    {"verify", verify_command, "compare every rule and format with exact results"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *stream)
{
    fputs(
        "usage: fusedopt COMMAND [OPTION]...\n"
        "       fusedopt help [COMMAND]\n"
        "       fusedopt --version\n"
        "\n"
        "Fused optimizer steps for training neural networks, on CUDA and CPU: this program measures and verifies them\n"
        "on this machine.\n"
        "\n"
        "Commands:\n"
        "\n",
        stream);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(stream, "  %-19s %s\n", commands[i].name, commands[i].summary);
    fputs("  help                this text, or a command's own: its options\n"
          "\n"
          "Options:\n"
          "\n"
          "  -h, --help          this text; behind a command, its options\n"
          "  --version           the version\n"
          "\n"
          "Exit status: 0 if all went well, 1 after a failure, 2 if the command line was wrong.\n",
          stream);
}

/* Runs the command of this name with the arguments behind argv[0]. */
static int run_command(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0) {
            char full_name[32]; /* for the command's messages, and those of getopt_long() */
            snprintf(full_name, sizeof full_name, "fusedopt %s", name);
            argv[0] = full_name;
            return commands[i].run(argc, argv);
        }
    complain("fusedopt", "unknown command '%s'", name);
    print_usage(stderr);
    return EXIT_USAGE;
}

static int unexpected(const char *argument)
{
    complain("fusedopt", "unexpected argument '%s'", argument);
    return EXIT_USAGE;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "help") == 0 || strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* Prints the program's usage, or that of the command that is named behind "help". */
static int help(int argc, char **argv)
{
    if (argc > 2)
        return unexpected(argv[2]);
    if (argc == 2 && !asks_for_help(argv[1])) {
        static char option[] = "--help";
        char *arguments[] = {NULL, option, NULL};
        return run_command(argv[1], 2, arguments);
    }
    print_usage(stdout);
    return EXIT_SUCCESS;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (asks_for_help(argv[1]))
        return help(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") != 0)
        return run_command(argv[1], argc - 1, argv + 1);
    if (argc > 2)
        return unexpected(argv[2]);
    printf("fusedopt %s\n", fopt_version_string());
    return EXIT_SUCCESS;
}

/* Puts something in the place of standard streams that are closed, so that no file that is opened later becomes one.
 * What is written to them fails still. */
static void open_streams(void)
{
    for (int file = 0; file <= 2; file++)
        if (fcntl(file, F_GETFD) < 0 && open("/dev/null", file == 0 ? O_WRONLY : O_RDONLY) != file)
            exit(EXIT_FAILURE);
}

/* Returns whether all that was printed could be written. */
static bool close_output(void)
{
    errno = 0;
    const bool failed = ferror(stdout); /* perhaps long ago: then errno does not know why */
    if (fclose(stdout) == 0 && !failed)
        return true;
    complain("fusedopt", "cannot write the output: %s", errno ? strerror(errno) : "an earlier part of it is missing");
    return false;
}

int main(int argc, char **argv)
{
    open_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error to report, not a reason to die */
    const int status = run(argc, argv);
    return close_output() ? status : EXIT_FAILURE;
}
