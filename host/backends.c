/* THE list of backends, and the questions about devices that need no optimizer. */
#include "internal.h"

const fopt_i_backend *fopt_i_find_backend(fopt_device_kind kind, fopt_status *status)
{
    *status = FOPT_OK;
    switch (kind) {
    case FOPT_CPU:
        return &fopt_i_cpu_backend;
    case FOPT_CUDA:
        *status = fopt_i_fail(FOPT_ERR_DEVICE, "device.kind is FOPT_CUDA, but this build of fusedopt has the CPU "
                                               "backend alone");
        return NULL;
    }
    *status = fopt_i_fail(FOPT_ERR_ARGUMENT, "device.kind is %d, not a fopt_device_kind", (int)kind);
    return NULL;
}

fopt_status fopt_device_count(fopt_device_kind kind, int *count)
{
    fopt_status status;
    if (!count)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "count is NULL");
    const fopt_i_backend *backend = fopt_i_find_backend(kind, &status);
    if (!backend && status != FOPT_ERR_DEVICE)
        return status;
    *count = 0;
    if (!backend)
        return FOPT_OK; /* none is an answer */
    return backend->device_count(count);
}

fopt_status fopt_device_query(fopt_device device, fopt_device_info *info)
{
    fopt_status status;
    fopt_device_info found = {.size = sizeof found};
    const fopt_i_backend *backend = fopt_i_find_backend(device.kind, &status);
    if (!backend)
        return status;
    status = backend->device_query(device.index, &found);
    return status ? status : fopt_i_write_struct(info, &found, sizeof found, "info");
}
