/* Memory, the clock and the roofs on the CPU. */
#include "machine/hardware.h"
#include "machine/parallel.h"
#include "program/stopwatch.h"
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool open_cpu(const char *command)
{
    (void)command;
    return true;
}

static const char *driver(void)
{
    return "none";
}

static fopt_stream queue(void)
{
    return NULL;
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

enum { ALIGNMENT = 1 << 21, STAGGER = 5 * 4096 + 192 };

static void zero_range(const void *context, size_t begin, size_t end)
{
    memset(*(char *const *)context + begin, 0, end - begin);
}

/* Allocates zeros; what malloc() gave is kept before the array. */
static void *allocate(size_t bytes, size_t index)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    char *memory = malloc(bytes + sizeof(void *) + ALIGNMENT + index * STAGGER);
    if (!memory)
        return NULL;
    const size_t past = (uintptr_t)(memory + sizeof(void *)) % ALIGNMENT;
    char *array = memory + sizeof(void *) + (past == 0 ? 0 : ALIGNMENT - past) + index * STAGGER;
    memcpy(array - sizeof memory, &memory, sizeof memory);
    /* All threads write: where there are several memories, a page lies with the thread that will use it. */
    parallel_ranges(zero_range, &array, bytes);
    return array;
}

static void release(void *memory)
{
    void *start;
    memcpy(&start, (char *)memory - sizeof start, sizeof start);
    free(start);
}

/* Returns the bytes that Linux thinks it could give without swapping. */
static size_t available(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return 0;
    uint64_t kilobytes = 0;
    char line[128];
    while (fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %" SCNu64, &kilobytes) != 1) {
    }
    fclose(file);
    return (size_t)kilobytes * 1024;
}

static bool copy_bytes(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return true;
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static bool time_work(bool (*work)(void *context), void *context, hardware_timing *timing)
{
    const double start = stopwatch();
    const bool good = work(context);
    timing->seconds = timing->host_seconds = stopwatch() - start;
    return good;
}

static int launches(bool (*work)(void *context), void *context)
{
    (void)work;
    (void)context;
    return 0;
}

/* ---- roofs --------------------------------------------------------------------------------------------------- */

static void copy_range(const void *context, size_t begin, size_t end)
{
    const hardware_roof *roof = context;
    memcpy(roof->a + begin, roof->b + begin, (end - begin) * sizeof(float));
}

static bool copy(const hardware_roof *roof)
{
    parallel_ranges(copy_range, roof, roof->count);
    return true;
}

FOR_EACH_ISA static void stream_range(const void *context, size_t begin, size_t end)
{
    const hardware_roof *roof = context;
    float *restrict a = roof->a;
    const float *restrict b = roof->b;
    for (size_t i = begin; i < end; i++)
        a[i] = a[i] * 0.5f + b[i];
}

static bool stream(const hardware_roof *roof)
{
    parallel_ranges(stream_range, roof, roof->count);
    return true;
}

/* ---- caches -------------------------------------------------------------------------------------------------- */

static size_t cache_bytes(void)
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
    for (size_t line = begin; line < end; line++)
        (void)array[line * LINE];
}

static void evict(void *array, size_t bytes)
{
    parallel_ranges(read_range, &array, bytes / LINE);
}

const hardware_operations hardware_cpu = {
    .open = open_cpu,
    .driver = driver,
    .queue = queue,
    .allocate = allocate,
    .release = release,
    .available = available,
    .write = copy_bytes,
    .read = copy_bytes,
    .time = time_work,
    .launches = launches,
    .copy = copy,
    .stream = stream,
    .cache_bytes = cache_bytes,
    .evict = evict,
};
