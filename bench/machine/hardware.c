#include "memory.h"

#include "options.h"

/* NULL: this build has none for such a device. */
static const memory_operations *operations(fopt_device device)
{
    if (device.kind == FOPT_CPU)
        return &memory_cpu;
#ifdef FUSEDOPT_HAVE_CUDA
    return &memory_cuda;
#else
    return NULL;
#endif
}

bool memory_ready(const char *command, fopt_device device)
{
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(device, &info) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        return false;
    }
    return operations(device)->open(command);
}

const char *memory_driver(fopt_device device)
{
    return operations(device)->driver();
}

fopt_stream memory_queue(fopt_device device)
{
    return operations(device)->queue();
}

void *memory_new(fopt_device device, size_t bytes, size_t index)
{
    return operations(device)->allocate(bytes, index);
}

void memory_free(fopt_device device, void *memory)
{
    if (memory)
        operations(device)->release(memory);
}

size_t memory_available(fopt_device device)
{
    return operations(device)->available();
}

bool memory_write(fopt_device device, void *to, const void *from, size_t bytes)
{
    return operations(device)->write(to, from, bytes);
}

bool memory_read(fopt_device device, void *to, const void *from, size_t bytes)
{
    return operations(device)->read(to, from, bytes);
}

bool memory_time(fopt_device device, bool (*work)(void *context), void *context, memory_timing *timing)
{
    return operations(device)->time(work, context, timing);
}

int memory_launches(fopt_device device, bool (*work)(void *context), void *context)
{
    return operations(device)->launches(work, context);
}

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

bool memory_copy(void *roof)
{
    return operations(((const memory_roof *)roof)->device)->copy(roof);
}

bool memory_stream(void *roof)
{
    return operations(((const memory_roof *)roof)->device)->stream(roof);
}

size_t memory_cache_bytes(fopt_device device)
{
    return operations(device)->cache_bytes();
}

void memory_evict(fopt_device device, void *array, size_t bytes)
{
    operations(device)->evict(array, bytes);
}
