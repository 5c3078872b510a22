/*
 * A fuzzer of what reads files: whatever a file has, it is loaded or refused, and no byte outside of what belongs to it
 * is touched, as the sanitizers see. By itself it spoils sound files, always in the same ways: the argument says how
 * many times. For an hour with libFuzzer:
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -DLIBFUZZER -D_GNU_SOURCE -Iinclude -Itests -o fuzz \
 *         tests/files/fuzz_header.c checkpoint/[a-z]*.c host/[!c]*.c host/cpu_backend.c kernels/cpu/[a-z]*.c -ljansson
 *         -lm
 *     ./fuzz -max_len=20000 -max_total_time=3600
 */
#include "fusedopt_checkpoint.h"
#include "reference/splitmix.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COUNT = 300, TENSORS = 3, LONGEST = 20000 };

static struct {
    float params[TENSORS][COUNT];
    fopt_group groups[TENSORS];
    fopt_tensor tensors[TENSORS];
    fopt_run run;
} own;

static void need(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s: %s\n", what, fopt_last_error());
        abort();
    }
}

static void create(void)
{
    static const char *const names[TENSORS] = {"w", "v", "w.x"};
    for (size_t i = 0; i < TENSORS; i++) {
        need(fopt_group_init(&own.groups[i], sizeof own.groups[i], i == 1 ? FOPT_SGD : FOPT_ADAM) == FOPT_OK, "init");
        own.tensors[i].size = sizeof own.tensors[i];
        own.tensors[i].name = names[i];
        own.tensors[i].param = own.params[i];
        own.tensors[i].count = COUNT;
        own.tensors[i].group = i;
        own.tensors[i].global_id = i + 1;
    }
    own.groups[1].momentum = 0.5;
    own.groups[1].state_format[FOPT_MOMENTUM_BUFFER] = FOPT_Q8;
    own.groups[2].state_format[FOPT_SECOND_MOMENT] = FOPT_BF16;
    own.tensors[2].first_element = 256;
    own.tensors[2].full_count = 256 + COUNT;
    own.run = (fopt_run){sizeof own.run, NULL, NULL, own.groups, TENSORS, own.tensors, TENSORS};
    need(fopt_create(NULL, own.groups, TENSORS, own.tensors, TENSORS, &own.run.optimizer) == FOPT_OK, "create");
}

/* Notes are as good a place as any for a text that does not end. */
static void note(void *context, const char *text)
{
    *(size_t *)context += strlen(text);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    size_t told = 0;
    char path[32];
    const char *const paths[] = {path};
    const unsigned flags[] = {0, FOPT_CHECKPOINT_MISSING | FOPT_CHECKPOINT_UNEXPECTED | FOPT_CHECKPOINT_CONVERT |
                                     FOPT_CHECKPOINT_PARAMS};
    if (!own.run.optimizer)
        create();
    const int file = memfd_create("fuzz", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    need(file >= 0 && write(file, data, size) == (ssize_t)size, "memfd");
    for (size_t i = 0; i < 2; i++) {
        const fopt_checkpoint_options options = {sizeof options, flags[i], note, &told};
        const fopt_status status = fopt_checkpoint_load(&own.run, paths, 1, &options, NULL);
        need(status == FOPT_OK || (status == FOPT_ERR_FILE && strlen(fopt_last_error()) > 30), "load");
    }
    close(file);
    return 0;
}

#ifndef LIBFUZZER
static const char *const words[] = {"{",
                                    "}",
                                    "[",
                                    "]",
                                    "\"",
                                    ",",
                                    ":",
                                    "\\u0000",
                                    "null",
                                    "true",
                                    "-1",
                                    "0",
                                    "1e999",
                                    "1e3",
                                    "256",
                                    "300",
                                    "4294967296",
                                    "9223372036854775807",
                                    "18446744073709551615",
                                    "[[[[[[[[",
                                    "{\"a\":{\"a\":{\"a\":",
                                    "__metadata__",
                                    "fusedopt.format",
                                    "fusedopt.seed",
                                    "fusedopt.groups",
                                    "fusedopt.tensors",
                                    "dtype",
                                    "shape",
                                    "data_offsets",
                                    "F32",
                                    "BF16",
                                    "U8",
                                    "I64",
                                    "F64",
                                    "w",
                                    "v",
                                    "w.x",
                                    ".step",
                                    ".exp_avg",
                                    ".absmax",
                                    "[256:556]",
                                    "\\\"",
                                    "\xff",
                                    "\\ud800"};

static unsigned char sound[LONGEST], spoiled[LONGEST + 64];

static size_t below(splitmix *random, size_t limit)
{
    return (size_t)(splitmix_next(random) % limit);
}

/* Puts a word in the place of some bytes, most often of the header. */
static size_t put_word(splitmix *random, size_t size, size_t header)
{
    const char *word = words[below(random, sizeof words / sizeof *words)];
    const size_t at = 8 + below(random, below(random, 8) ? header : size - 8), length = strlen(word);
    const size_t gone = below(random, 2) ? below(random, 12) : length, left = size - at < gone ? 0 : size - at - gone;
    if (at + length + left > LONGEST)
        return size;
    memmove(spoiled + at + length, spoiled + (size - left), left);
    for (size_t i = 0; i < length; i++)
        spoiled[at + i] = (unsigned char)word[i];
    return at + length + left;
}

/* Spoils the sound file in one to four ways, and mostly leaves the length of the header right. */
static size_t spoil(splitmix *random, size_t size, size_t header)
{
    memcpy(spoiled, sound, size);
    size_t changed = size;
    for (size_t ways = 1 + below(random, 4); ways > 0; ways--) {
        const size_t at = below(random, changed);
        switch (below(random, 5)) {
        case 0:
            spoiled[at] ^= (unsigned char)(1u << below(random, 8));
            break;
        case 1:
            spoiled[at] = (unsigned char)splitmix_next(random);
            break;
        case 2:
            changed = at > 8 && below(random, 8) == 0 ? at : changed;
            break;
        default:
            changed = put_word(random, changed, header < changed - 8 ? header : changed - 8);
        }
        if (changed <= 9)
            break;
    }
    const uint64_t length = header + changed - size;
    if (below(random, 8) && changed > 8)
        memcpy(spoiled, &length, sizeof length);
    return changed;
}

int main(int argc, char **argv)
{
    const size_t times = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    splitmix random = {1};
    const char path[] = "/tmp/fusedopt.fuzz.XXXXXX";
    char name[sizeof path];
    uint64_t header;
    memcpy(name, path, sizeof path);
    close(mkstemp(name));
    create();
    const fopt_checkpoint_options options = {.size = sizeof options, .flags = FOPT_CHECKPOINT_PARAMS};
    need(fopt_checkpoint_save(&own.run, name, &options, NULL) == FOPT_OK, "save");
    FILE *file = fopen(name, "rb");
    need(file != NULL, name);
    const size_t size = fread(sound, 1, sizeof sound, file);
    fclose(file);
    unlink(name);
    memcpy(&header, sound, sizeof header);
    for (size_t i = 0; i < times; i++)
        LLVMFuzzerTestOneInput(spoiled, spoil(&random, size, (size_t)header));
    printf("ok 1 - %zu spoiled files, seed 1\n1..1\n", times);
    return 0;
}
#endif
