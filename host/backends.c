/* THE list of backends, and the questions about devices that need no optimizer. */
#include "internal.h"

fopt_status fopt_i_find_backend(fopt_device_kind kind, const fopt_i_backend **backend)
{
    *backend = NULL;
    switch (kind) {
    case FOPT_CPU:
        *backend = &fopt_i_cpu_backend;
        return FOPT_OK;
    case FOPT_CUDA:
        return fopt_i_fail(FOPT_ERR_DEVICE, "device.kind is FOPT_CUDA, but this build of fusedopt has the CPU backend "
                                            "alone");
    }
    return fopt_i_fail(FOPT_ERR_ARGUMENT, "device.kind is %d, not a fopt_device_kind", (int)kind);
}

fopt_status fopt_device_count(fopt_device_kind kind, int *count)
{
    const fopt_i_backend *backend;
    if (!count)
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "count is NULL");
    *count = 0;
    fopt_status status = fopt_i_find_backend(kind, &backend);
    if (status == FOPT_ERR_DEVICE)
        return FOPT_OK; /* none, which is an answer */
    return status ? status : backend->device_count(count);
}

fopt_status fopt_device_query(fopt_device device, fopt_device_info *info)
{
    const fopt_i_backend *backend;
    fopt_device_info found = {.size = sizeof found};
    fopt_status status = fopt_i_find_backend(device.kind, &backend);
    if (!status)
        status = backend->device_query(device.index, &found);
    return status ? status : fopt_i_write_struct(info, &found, sizeof found, "info");
}
