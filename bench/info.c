#include "commands.h"
#include "compiler.h"
#include "fusedopt.h"
#include "gemm.h"
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef FUSEDOPT_HAVE_OPENMP /* what the library was built with */
#define OPENMP "yes"
#else
#define OPENMP "no"
#endif

#ifdef FUSEDOPT_HAVE_CUBLAS
#define CUBLAS ", cuBLAS on CUDA"
#else
#define CUBLAS ""
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
    fopt_device_info none = {.size = sizeof none};
    if (fopt_device_count(kind, &count) != FOPT_OK)
        return false;
    if (count == 0 && fopt_device_query((fopt_device){kind, 0}, &none) != FOPT_OK)
        printf("%s: none: %s\n", kind == FOPT_CPU ? "cpu" : "cuda", fopt_last_error()); /* which says why */
    for (int index = 0; index < count; ++index) {
        fopt_device_info info = {.size = sizeof info};
        if (fopt_device_query((fopt_device){kind, index}, &info) != FOPT_OK)
            return false;
        if (kind == FOPT_CPU)
            print_cpu(&info);
        else
            printf("cuda %d: %s, compute capability %d.%d, %d multiprocessors, %.1f GiB\n", index, info.name,
                   info.compute_major, info.compute_minor, info.multiprocessors,
                   (double)info.memory_bytes / (1u << 30));
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
           "  matrix product    %s" CUBLAS "\n",
           fopt_version_string(), gemm_name());
    if (!print_devices(FOPT_CPU) || !print_devices(FOPT_CUDA)) {
        complain(argv[0], "%s", fopt_last_error());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
