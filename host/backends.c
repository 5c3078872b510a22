/* THE list of backends, what they share, and the questions about devices that need no optimizer. */
#include "internal.h"
#include <stdlib.h>

static void *allocate(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    (void)context;
    (void)stream;
    /* aligned_alloc wants a multiple of the alignment. */
    return bytes > SIZE_MAX - alignment ? NULL
                                        : aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void release(void *context, void *pointer, size_t bytes, fopt_stream stream)
{
    (void)context;
    (void)bytes;
    (void)stream;
    free(pointer);
}

const fopt_allocator fopt_i_host_allocator = {NULL, allocate, release};

const fopt_i_backend *fopt_i_find_backend(fopt_device_kind kind)
{
    switch (kind) {
    case FOPT_CPU:
        return &fopt_i_cpu_backend;
    case FOPT_CUDA:
#ifdef FOPT_I_CUDA
        return &fopt_i_cuda_backend;
#else
        return NULL;
#endif
    }
    return NULL;
}

fopt_status fopt_i_fail_without_backend(fopt_device_kind kind)
{
    if (kind == FOPT_CUDA)
        return fopt_i_fail(FOPT_ERR_DEVICE,
                           "device.kind is FOPT_CUDA, but this build of fusedopt has the CPU backend alone");
    return fopt_i_fail(FOPT_ERR_ARGUMENT, "device.kind is %d, not a fopt_device_kind", (int)kind);
}

fopt_status fopt_device_count(fopt_device_kind kind, int *count)
{
    fopt_i_begin(__func__);
    if (!count)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "count is NULL");
    const fopt_i_backend *backend = fopt_i_find_backend(kind);
    if (!backend && kind != FOPT_CUDA)
        return fopt_i_fail_without_backend(kind);
    *count = 0;
    if (!backend)
        return FOPT_OK; /* none is an answer */
    return backend->device_count(count);
}

fopt_status fopt_device_query(fopt_device device, fopt_device_info *info)
{
    fopt_i_begin(__func__);
    fopt_device_info found = {.size = sizeof found};
    const fopt_i_backend *backend = fopt_i_find_backend(device.kind);
    if (!backend)
        return fopt_i_fail_without_backend(device.kind);
    fopt_status status = backend->device_query(device.index, &found);
    return status ? status : fopt_i_write_struct(info, &found, FOPT_I_LEAST_DEVICE_INFO, sizeof found, "info");
}
