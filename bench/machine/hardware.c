/* Memory, the clock and the roofs of a device, by the operations of its kind. */
#include "machine/hardware.h"
#include "program/options.h"

/* Returns the operations for a device; NULL if this build has none. */
static const hardware_operations *operations(fopt_device device)
{
    if (device.kind == FOPT_CPU)
        return &hardware_cpu;
#ifdef FUSEDOPT_HAVE_CUDA
    return &hardware_cuda;
#else
    return NULL;
#endif
}

bool hardware_ready(const char *command, fopt_device device)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(device, &info) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        return false;
    }
    return operations(device)->open(command);
}

const char *hardware_driver(fopt_device device)
{
    return operations(device)->driver();
}

fopt_stream hardware_queue(fopt_device device)
{
    return operations(device)->queue();
}

void *hardware_allocate(fopt_device device, size_t bytes, size_t index)
{
    return operations(device)->allocate(bytes, index);
}

void hardware_release(fopt_device device, void *memory)
{
    if (memory)
        operations(device)->release(memory);
}

size_t hardware_available(fopt_device device)
{
    return operations(device)->available();
}

bool hardware_write(fopt_device device, void *to, const void *from, size_t bytes)
{
    return operations(device)->write(to, from, bytes);
}

bool hardware_read(fopt_device device, void *to, const void *from, size_t bytes)
{
    return operations(device)->read(to, from, bytes);
}

bool hardware_time(fopt_device device, bool (*work)(void *context), void *context, hardware_timing *timing)
{
    return operations(device)->time(work, context, timing);
}

int hardware_launches(fopt_device device, bool (*work)(void *context), void *context)
{
    return operations(device)->launches(work, context);
}

/* Indices of the two arrays of the roofs, above those of the arrays that are measured against them. */
enum { INDEX_A = 14, INDEX_B = 15 };

bool hardware_roof_new(fopt_device device, size_t bytes, hardware_roof *roof)
{
    const size_t count = bytes / 2 / sizeof(float);
    *roof = (hardware_roof){.device = device, .count = count};
    roof->a = hardware_allocate(device, count * sizeof(float), INDEX_A);
    roof->b = hardware_allocate(device, count * sizeof(float), INDEX_B);
    if (roof->a && roof->b)
        return true;
    hardware_roof_free(roof);
    return false;
}

void hardware_roof_free(hardware_roof *roof)
{
    hardware_release(roof->device, roof->a);
    hardware_release(roof->device, roof->b);
    *roof = (hardware_roof){.device = roof->device};
}

bool hardware_copy(void *roof)
{
    return operations(((const hardware_roof *)roof)->device)->copy(roof);
}

bool hardware_stream(void *roof)
{
    return operations(((const hardware_roof *)roof)->device)->stream(roof);
}

size_t hardware_cache_bytes(fopt_device device)
{
    return operations(device)->cache_bytes();
}

void hardware_evict(fopt_device device, void *array, size_t bytes)
{
    operations(device)->evict(array, bytes);
}
