/* Memory between inaccessible pages, data for tests, and comparisons to the bit. */
#include "buffers.h"
#include "../reference/oracle.h"
#include "../reference/quantized.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what runs ----------------------------------------------------------------------------------------------- */

static char running[512];

static void report_crash(int number)
{
    static const char crashed[] = ": segmentation fault\n";
    ssize_t written = write(STDERR_FILENO, running, strlen(running));
    written += write(STDERR_FILENO, crashed, sizeof crashed - 1);
    (void)written;
    signal(number, SIG_DFL); /* the instruction is run again, and the process dies of it */
}

void now_running(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(running, sizeof running, format, arguments);
    va_end(arguments);
    signal(SIGSEGV, report_crash);
}

const char *what_runs(void)
{
    return running;
}

void expect_ok(fopt_status status)
{
    cr_assert_eq(status, FOPT_OK, "%s: %s: %s", running, fopt_status_string(status), fopt_last_error());
}

static unsigned isas_here(void)
{
    fopt_device_info info = {.size = sizeof info};
    expect_ok(fopt_device_query((fopt_device){FOPT_CPU, 0}, &info));
    cr_assert(info.isas & 1u << FOPT_ISA_BASELINE);
    return info.isas;
}

size_t isa_count(void)
{
    size_t count = 0;
    for (unsigned left = isas_here(); left != 0; left &= left - 1)
        count++;
    return count;
}

fopt_isa isa_at(size_t index)
{
    unsigned left = isas_here(), isa = 0;
    for (; index > 0; index--)
        left &= left - 1;
    while (!(left & 1u << isa))
        isa++;
    return (fopt_isa)isa;
}

/* ---- guarded memory ------------------------------------------------------------------------------------------ */

#define UNTOUCHED 0xa5

guarded guarded_new(size_t bytes, size_t offset)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t slack = offset == GUARD_END ? 0 : offset;
    const size_t inner = (bytes + slack + page - 1) / page * page;
    guarded memory = {.bytes = bytes, .page_bytes = inner + 2 * page};
    memory.pages = mmap(NULL, memory.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)memory.pages, MAP_FAILED, "mmap of %zu bytes failed", memory.page_bytes);
    unsigned char *first = memory.pages + page;
    if (inner > 0) {
        cr_assert_eq(mprotect(first, inner, PROT_READ | PROT_WRITE), 0);
        memset(first, UNTOUCHED, inner);
    }
    memory.data = offset == GUARD_END ? first + inner - bytes : first + offset;
    return memory;
}

static void expect_untouched(guarded memory, const unsigned char *begin, const unsigned char *end)
{
    for (const unsigned char *byte = begin; byte < end; byte++)
        if (*byte != UNTOUCHED)
            cr_assert_fail("%s: byte %td of an array of %zu was written", running,
                           byte - (const unsigned char *)memory.data, memory.bytes);
}

void guarded_free(guarded memory)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const unsigned char *data = memory.data;
    expect_untouched(memory, memory.pages + page, data);
    expect_untouched(memory, data + memory.bytes, memory.pages + memory.page_bytes - page);
    munmap(memory.pages, memory.page_bytes);
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

double get_value(fopt_format format, const void *array, size_t index)
{
    return numbers_value(format, numbers_get(format, array, index));
}

void set_value(fopt_format format, void *array, size_t index, double value)
{
    numbers_set(format, array, index, numbers_nearest(format, value));
}

void fill_random(fopt_format format, void *array, size_t count, uint64_t seed, unsigned special)
{
    splitmix random = {seed};
    for (size_t i = 0; i < count; i++)
        numbers_set(format, array, i,
                    special != 0 && splitmix_next(&random) % special == 0 ? numbers_special(format, &random)
                                                                          : numbers_ordinary(format, &random));
}

/* ---- moments ------------------------------------------------------------------------------------------------- */

size_t moment_bytes(fopt_format format, size_t count)
{
    return is_quantized(format) ? count + 3 + quantized_blocks(format, count) * sizeof(float)
                                : count * numbers_bytes(format);
}

fopt_array moment_array(fopt_format format, void *data, size_t count)
{
    char *behind = (char *)data + count;
    return (fopt_array){.size = sizeof(fopt_array),
                        .data = data,
                        .count = count,
                        .bytes = count * numbers_bytes(format),
                        .format = format,
                        .absmax = is_quantized(format) ? (float *)(behind + (-(uintptr_t)behind & 3)) : NULL};
}

fopt_array moment_part(fopt_array whole, size_t first, size_t count)
{
    whole.data = (char *)whole.data + first * numbers_bytes(whole.format);
    whole.absmax = whole.absmax ? whole.absmax + first / quantized_block(whole.format) : NULL;
    whole.count = count;
    whole.bytes = count * numbers_bytes(whole.format);
    return whole;
}

void copy_moments(fopt_array to, fopt_array from)
{
    memcpy(to.data, from.data, from.bytes);
    if (from.absmax)
        memcpy(to.absmax, from.absmax, quantized_blocks(from.format, from.count) * sizeof(float));
}

fopt_array kept_moment(const fopt_group *group, fopt_state_kind kind, void *data, size_t count)
{
    return oracle_keeps(group, kind) ? moment_array(group->state_format[kind], data, count)
                                     : (fopt_array){.size = sizeof(fopt_array)};
}

void update_tensor(const fopt_config *config, const fopt_group *group, const fopt_tensor *tensor, void *moments,
                   size_t stride, int64_t step)
{
    fopt_array states[FOPT_STATE_KINDS];
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        states[kind] = kept_moment(group, kind, (char *)moments + kind * stride, tensor->count);
    expect_ok(fopt_update(config, group, tensor, states, step, NULL, NULL));
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

void expect_same(const char *what, fopt_format format, const void *got, const void *want, size_t count)
{
    if (count == 0 || memcmp(got, want, count * numbers_bytes(format)) == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        const uint32_t g = numbers_get(format, got, i), w = numbers_get(format, want, i);
        const bool both_nan = format == FOPT_F32 && isnan(numbers_value(format, g)) && isnan(numbers_value(format, w));
        if (g != w && !both_nan)
            cr_assert_fail("%s %s element=%zu: got 0x%0*x want 0x%0*x", running, what, i,
                           (int)(2 * numbers_bytes(format)), g, (int)(2 * numbers_bytes(format)), w);
    }
}

void expect_same_moments(const char *what, fopt_array got, fopt_array want)
{
    cr_assert(got.format == want.format && got.count == want.count, "%s %s: formats or counts differ", running, what);
    expect_same(what, got.format, got.data, want.data, got.count);
    if (got.absmax)
        expect_same("absmax", FOPT_F32, got.absmax, want.absmax, quantized_blocks(got.format, got.count));
}
