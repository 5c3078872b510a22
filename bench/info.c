#include "commands.h"
#include "fusedopt.h"
#include "gemm.h"
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

#ifdef FUSEDOPT_HAVE_OPENMP /* what the library was built with */
#define OPENMP "yes"
#else
#define OPENMP "no"
#endif

static const char usage[] = "usage: fusedopt info\n"
                            "\n"
                            "Prints the version, how the program was built, and the devices that it can use.\n";

static void print_cpu(const fopt_device_info *info)
{
    printf("cpu: %s\n"
           "  threads           %d\n"
           "  instruction sets ",
           info->name, info->threads);
    for (int isa = FOPT_ISA_BASELINE; fopt_isa_name((fopt_isa)isa); ++isa)
        if (info->isas & 1u << isa)
            printf(" %s%s", fopt_isa_name((fopt_isa)isa), (int)info->isa == isa ? " (chosen)" : "");
    putchar('\n');
}

/* Returns false after a failure of the library, which has said why. */
static bool print_devices(fopt_device_kind kind)
{
    int count;
    if (fopt_device_count(kind, &count) != FOPT_OK)
        return false;
    if (count == 0)
        printf("%s: none\n", kind == FOPT_CPU ? "cpu" : "cuda");
    for (int index = 0; index < count; ++index) {
        fopt_device_info info = {.size = sizeof info};
        if (fopt_device_query((fopt_device){kind, index}, &info) != FOPT_OK)
            return false;
        if (kind == FOPT_CPU)
            print_cpu(&info);
        else
            printf("cuda %d: %s\n", index, info.name);
    }
    return true;
}

int info_command(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'h')
            return EXIT_USAGE;
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (!no_more_arguments(argc, argv))
        return EXIT_USAGE;

    printf("fusedopt %s\n"
           "  compiler          " COMPILER "\n"
           "  OpenMP            " OPENMP "\n"
           "  matrix product    %s\n",
           fopt_version_string(), gemm_name());
    if (!print_devices(FOPT_CPU) || !print_devices(FOPT_CUDA)) {
        complain(argv[0], "%s", fopt_last_error());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
