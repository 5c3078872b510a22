#include "memory.h"

#include "options.h"
#include "parallel.h"
#include "stopwatch.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool memory_ready(const char *command, fopt_device device)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(device, &info) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        return false;
    }
    if (device.kind != FOPT_CPU) {
        complain(command, "works on the CPU alone yet");
        return false;
    }
    return true;
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

enum { ALIGNMENT = 1 << 21, STAGGER = 5 * 4096 + 192 };

static void zero_range(const void *context, size_t begin, size_t end)
{
    memset(*(char *const *)context + begin, 0, end - begin);
}

/* What malloc() gave is kept before the array. */
void *memory_new(fopt_device device, size_t bytes, size_t index)
{
    (void)device;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    char *memory = malloc(bytes + sizeof(void *) + ALIGNMENT + index * STAGGER);
    if (!memory)
        return NULL;
    const size_t past = (uintptr_t)(memory + sizeof(void *)) % ALIGNMENT;
    char *array = memory + sizeof(void *) + (past == 0 ? 0 : ALIGNMENT - past) + index * STAGGER;
    memcpy(array - sizeof memory, &memory, sizeof memory);
    /* By all threads: where there are several memories, a page lies with the thread that will use it. */
    parallel_ranges(zero_range, &array, bytes);
    return array;
}

void memory_free(fopt_device device, void *memory)
{
    (void)device;
    if (!memory)
        return;
    void *start;
    memcpy(&start, (char *)memory - sizeof start, sizeof start);
    free(start);
}

bool memory_write(fopt_device device, void *to, const void *from, size_t bytes)
{
    (void)device;
    memcpy(to, from, bytes);
    return true;
}

bool memory_read(fopt_device device, void *to, const void *from, size_t bytes)
{
    return memory_write(device, to, from, bytes);
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

bool memory_time(fopt_device device, bool (*work)(void *context), void *context, memory_timing *timing)
{
    (void)device;
    const double start = stopwatch();
    const bool good = work(context);
    timing->seconds = timing->host_seconds = stopwatch() - start;
    timing->launches = 0;
    return good;
}

/* ---- roofs --------------------------------------------------------------------------------------------------- */

/* Above the indices of the arrays that are measured against them. */
enum { INDEX_A = 14, INDEX_B = 15 };

bool memory_roof_new(fopt_device device, size_t bytes, memory_roof *roof)
{
    const size_t count = bytes / 2 / sizeof(float);
    *roof = (memory_roof){.device = device, .count = count};
    roof->a = memory_new(device, count * sizeof(float), INDEX_A);
    roof->b = memory_new(device, count * sizeof(float), INDEX_B);
    if (roof->a && roof->b)
        return true;
    memory_roof_free(roof);
    return false;
}

void memory_roof_free(memory_roof *roof)
{
    memory_free(roof->device, roof->a);
    memory_free(roof->device, roof->b);
    *roof = (memory_roof){.device = roof->device};
}

static void copy_range(const void *context, size_t begin, size_t end)
{
    const memory_roof *roof = context;
    memcpy(roof->a + begin, roof->b + begin, (end - begin) * sizeof(float));
}

bool memory_copy(void *roof)
{
    parallel_ranges(copy_range, roof, ((const memory_roof *)roof)->count);
    return true;
}

FOR_EACH_ISA static void stream_range(const void *context, size_t begin, size_t end)
{
    const memory_roof *roof = context;
    float *restrict a = roof->a;
    const float *restrict b = roof->b;
    for (size_t i = begin; i < end; ++i)
        a[i] = a[i] * 0.5f + b[i];
}

bool memory_stream(void *roof)
{
    parallel_ranges(stream_range, roof, ((const memory_roof *)roof)->count);
    return true;
}

/* ---- caches -------------------------------------------------------------------------------------------------- */

size_t memory_cache_bytes(void)
{
    long bytes = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return bytes > 0 ? (size_t)bytes : (size_t)32 << 20;
}

enum { LINE = 64 };

static void read_range(const void *context, size_t begin, size_t end)
{
    const volatile char *array = *(const char *const *)context;
    for (size_t line = begin; line < end; ++line)
        (void)array[line * LINE];
}

void memory_evict(fopt_device device, const void *array, size_t bytes)
{
    (void)device;
    parallel_ranges(read_range, &array, bytes / LINE);
}
