/* The command info: what the library and the program were built with, and the devices here. */
#include "fusedopt.h"
#include "machine/hardware.h"
#include "program/commands.h"
#include "program/commit.h"
#include "program/compiler.h"
#include "program/json_file.h"
#include "program/options.h"
#include <stdio.h>
#include <stdlib.h>
#ifdef FUSEDOPT_HAVE_CBLAS
#include <cblas.h>
#endif
#ifdef FUSEDOPT_HAVE_CUBLAS
#include "machine/cublas.h"
#endif

#ifndef FUSEDOPT_CUDA_ARCHITECTURES /* as CMAKE_CUDA_ARCHITECTURES names them */
#define FUSEDOPT_CUDA_ARCHITECTURES "unknown"
#endif

static const char usage[] =
    "usage: fusedopt info\n"
    "\n"
    "Prints the version, how the program was built and with what, and the devices that it can use.\n"
    "\n"
    "Options:\n"
    "\n"
    "  -h, --help          this text\n";

static const char *openmp(void)
{
#ifdef FUSEDOPT_HAVE_OPENMP /* what the library was built with */
    return "yes";
#else
    return "no";
#endif
}

static const char *openblas(void)
{
#ifdef FUSEDOPT_HAVE_CBLAS
    return openblas_get_config();
#else
    return "no";
#endif
}

/* Returns the name of what train/gemm.c computes with. */
static const char *product(void)
{
#ifdef FUSEDOPT_HAVE_CBLAS
    return "OpenBLAS";
#else
    return "plain loops";
#endif
}

static const char *cuda_product(void)
{
#ifdef FUSEDOPT_HAVE_CUBLAS
    return cublas_load() ? ", cuBLAS on CUDA" : ", cuBLAS on CUDA, which was not found";
#else
    return "";
#endif
}

static void print_build(void)
{
    printf("fusedopt %s\n"
           "  commit            %s\n"
           "  compiler          " COMPILER "\n"
           "  OpenMP            %s\n"
           "  jansson           %s\n"
           "  OpenBLAS          %s\n"
           "  matrix product    %s%s\n",
           fopt_version_string(), build_commit, openmp(), json_there ? "yes" : "no", openblas(), product(),
           cuda_product());
#ifdef FUSEDOPT_HAVE_CUDA
    printf("  CUDA              yes; %s\n"
           "  CUDA kernels for  " FUSEDOPT_CUDA_ARCHITECTURES "\n",
           hardware_driver((fopt_device){FOPT_CUDA, 0}));
#else
    puts("  CUDA              no");
#endif
}

static void print_cpu(const fopt_device_info *info)
{
    printf("cpu: %s\n"
           "  threads           %d\n"
           "  instruction sets ",
           info->name, info->threads);
    for (int isa = FOPT_ISA_BASELINE; fopt_isa_name((fopt_isa)isa); isa++)
        if (info->isas & 1u << isa)
            printf(" %s%s", fopt_isa_name((fopt_isa)isa), (int)info->isa == isa ? " (chosen)" : "");
    putchar('\n');
}

/* Prints the devices of a kind. Returns false after a failure of the library, which has said why. */
static bool print_devices(fopt_device_kind kind)
{
    int count;
    fopt_device_info none = {.size = sizeof none};
    if (fopt_device_count(kind, &count) != FOPT_OK)
        return false;
    if (count == 0 && fopt_device_query((fopt_device){kind, 0}, &none) != FOPT_OK)
        printf("%s: none: %s\n", kind == FOPT_CPU ? "cpu" : "cuda", fopt_last_error()); /* which says why */
    for (int index = 0; index < count; index++) {
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
    const option_spec options[] = {{0}};
    int status;
    if (!read_options(argc, argv, usage, options, &status))
        return status;
    print_build();
    if (!print_devices(FOPT_CPU) || !print_devices(FOPT_CUDA)) {
        complain(argv[0], "%s", fopt_last_error());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
