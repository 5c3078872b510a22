/*
 * What differs from device to device besides the library's own calls: memory, the clock, and the two loops that show
 * what its memory can do. The CPU is the only device here yet.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "fusedopt.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether the commands can work on the device. Complains, as `command` (options.h), if not. */
bool memory_ready(const char *command, fopt_device device);

/* Zeros, `bytes` of them, or NULL. Arrays that are walked side by side must differ in `index`, 0 to 15: they then begin
 * apart by more than a page modulo every large power of two, as malloc() would mostly place them. Addresses alike
 * modulo such a power fall into the same few lines of a cache, and slow any loop by up to 40 %. */
void *memory_new(fopt_device device, size_t bytes, size_t index);
void memory_free(fopt_device device, void *memory); /* NULL is allowed */

/* Between the device's memory and the host's. */
bool memory_write(fopt_device device, void *to, const void *from, size_t bytes);
bool memory_read(fopt_device device, void *to, const void *from, size_t bytes);

typedef struct memory_timing {
    double seconds;      /* on the device, from the first byte to the last */
    double host_seconds; /* until the calling thread could go on; on the CPU the same */
    int launches;        /* of kernels */
} memory_timing;

/* Calls work(context) and times it. Returns what it returned. */
bool memory_time(fopt_device device, bool (*work)(void *context), void *context, memory_timing *timing);

/* Two arrays in which the roofs are measured. */
typedef struct memory_roof {
    fopt_device device;
    float *a, *b;
    size_t count; /* of each */
} memory_roof;

/* Arrays of `bytes` in all. */
bool memory_roof_new(fopt_device device, size_t bytes, memory_roof *roof);
void memory_roof_free(memory_roof *roof);

/* a = b, by the device's own way to copy: moves 8 bytes an element. The context is a memory_roof. */
bool memory_copy(void *roof);

/* a[i] = a[i] * s + b[i]: 12 bytes an element. It is in place, as a step is, which costs more than a copy. */
bool memory_stream(void *roof);

/* What the caches of this machine hold, about. */
size_t memory_cache_bytes(void);

/* Reads an array, so that it takes the place of what was in the caches; it must be larger than they are. */
void memory_evict(fopt_device device, const void *array, size_t bytes);

#endif
