/*
 * What differs from device to device besides the library's own calls: memory, the clock, and the two loops that show
 * what its memory can do. There is one device of each kind here, number 0.
 */
#ifndef HARDWARE_H
#define HARDWARE_H

#include "fusedopt.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the device, before anything else here. Complains, as `command` (options.h), if the commands cannot work on
 * it. */
bool hardware_ready(const char *command, fopt_device device);

/* Returns the name and version of what drives the device. */
const char *hardware_driver(fopt_device device);

/* Returns the stream for the library's work; nothing else here waits for another. NULL on the CPU. */
fopt_stream hardware_queue(fopt_device device);

/* Returns `bytes` zeros, or NULL. Arrays that are walked side by side must differ in `index`, 0 to 15: on the CPU they
 * then begin apart by more than a page modulo every large power of two. Addresses alike modulo such a power fall into
 * the same few lines of a cache, and slow any loop by up to 40 %. */
void *hardware_allocate(fopt_device device, size_t bytes, size_t index);
void hardware_release(fopt_device device, void *memory); /* NULL is allowed */

/* Returns about how many bytes can be had now; 0 if that is not known. */
size_t hardware_available(fopt_device device);

/* Copy between the device's memory and the host's, after all that was enqueued. */
bool hardware_write(fopt_device device, void *to, const void *from, size_t bytes);
bool hardware_read(fopt_device device, void *to, const void *from, size_t bytes);

typedef struct hardware_timing {
    double seconds;      /* on the device, from the first byte to the last */
    double host_seconds; /* until the calling thread could go on; on the CPU the same */
} hardware_timing;

/* Calls work(context) and times it. Returns what it returned, or false if the device failed. */
bool hardware_time(fopt_device device, bool (*work)(void *context), void *context, hardware_timing *timing);

/* Counts the kernels that work(context) launches: it is called, and nothing of what it enqueues is done. Negative if
 * that cannot be told. */
int hardware_launches(fopt_device device, bool (*work)(void *context), void *context);

/* Two arrays in which the roofs are measured. */
typedef struct hardware_roof {
    fopt_device device;
    float *a, *b;
    size_t count; /* of each */
} hardware_roof;

/* Makes the arrays, of `bytes` in all. */
bool hardware_roof_new(fopt_device device, size_t bytes, hardware_roof *roof);
void hardware_roof_free(hardware_roof *roof);

/* Copies a = b by the device's own way to copy: moves 8 bytes an element. The context is a hardware_roof. */
bool hardware_copy(void *roof);

/* Computes a[i] = a[i] * s + b[i]: 12 bytes an element. It is in place, as a step is, which costs more than a copy. */
bool hardware_stream(void *roof);

/* Returns about how many bytes the caches hold. */
size_t hardware_cache_bytes(fopt_device device);

/* Walks an array, so that it takes the place of what was in the caches; it must be larger than they are. */
void hardware_evict(fopt_device device, void *array, size_t bytes);

/* ---- what a device does: hardware_cpu.c and hardware_cuda.cu -------------------------------------------------- */

typedef struct hardware_operations {
    bool (*open)(const char *command);
    const char *(*driver)(void);
    fopt_stream (*queue)(void);
    void *(*allocate)(size_t bytes, size_t index);
    void (*release)(void *memory); /* not NULL */
    size_t (*available)(void);
    bool (*write)(void *to, const void *from, size_t bytes);
    bool (*read)(void *to, const void *from, size_t bytes);
    bool (*time)(bool (*work)(void *context), void *context, hardware_timing *timing);
    int (*launches)(bool (*work)(void *context), void *context);
    bool (*copy)(const hardware_roof *roof);
    bool (*stream)(const hardware_roof *roof);
    size_t (*cache_bytes)(void);
    void (*evict)(void *array, size_t bytes);
} hardware_operations;

extern const hardware_operations hardware_cpu;
extern const hardware_operations hardware_cuda; /* in builds with FUSEDOPT_HAVE_CUDA */

#ifdef __cplusplus
}
#endif

#endif
