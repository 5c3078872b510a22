#include "commands.h"
#include "fusedopt.h"
#include "options.h"

#include <errno.h>
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
    {"train", train_command, "train a small network with each rule and compare"},
    {"verify", verify_command, "compare every rule and format with exact results"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *stream)
{
    fputs("usage: fusedopt COMMAND [OPTION]...\n"
          "       fusedopt --help | --version\n"
          "\n",
          stream);
    for (size_t i = 0; i < COMMAND_COUNT; ++i)
        fprintf(stream, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fputs("\n'fusedopt COMMAND --help' lists a command's options.\n", stream);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("fusedopt %s\n", fopt_version_string());
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < COMMAND_COUNT; ++i) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            char name[32]; /* for the command's messages, and those of getopt_long() */
            snprintf(name, sizeof name, "fusedopt %s", commands[i].name);
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    complain("fusedopt", "unknown command '%s'", argv[1]);
    print_usage(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const int status = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        complain("fusedopt", "cannot write the output: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    return status;
}
