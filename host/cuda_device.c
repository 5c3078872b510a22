/* CUDA's devices, and the memory that they can use. */
#include "cuda_device.h"
#include <stdio.h>

/* ---- devices ------------------------------------------------------------------------------------------------- */

static bool is_none(cudaError_t error)
{
    return error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver;
}

fopt_status fopt_i_cuda_device_count(int *count)
{
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess)
        return FOPT_OK;
    *count = 0;
    if (!is_none(error))
        return fopt_i_cuda_check(error, "cudaGetDeviceCount");
    cudaGetLastError();
    return FOPT_OK; /* none is an answer */
}

fopt_status fopt_i_cuda_check_index(int index)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (is_none(error)) {
        int driver = 0;
        cudaGetLastError();
        if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
            return fopt_i_fail(FOPT_ERR_DEVICE, "device.kind is FOPT_CUDA, but there is no usable GPU: no CUDA driver");
        return fopt_i_fail(FOPT_ERR_DEVICE, "device.kind is FOPT_CUDA, but there is no usable GPU: %s (%s)",
                           cudaGetErrorString(error), cudaGetErrorName(error));
    }
    if (error != cudaSuccess)
        return fopt_i_cuda_check(error, "cudaGetDeviceCount");
    if (index < 0 || index >= count)
        return fopt_i_fail(FOPT_ERR_DEVICE, "device.index is %d, but CUDA has %d device(s)", index, count);
    return FOPT_OK;
}

fopt_status fopt_i_cuda_device_query(int index, fopt_device_info *info)
{
    struct cudaDeviceProp properties;
    fopt_status status = fopt_i_cuda_check_index(index);
    if (!status)
        status = fopt_i_cuda_check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    if (status)
        return status;
    snprintf(info->name, sizeof info->name, "%.127s", properties.name);
    info->compute_major = properties.major;
    info->compute_minor = properties.minor;
    info->multiprocessors = properties.multiProcessorCount;
    info->memory_bytes = properties.totalGlobalMem;
    return FOPT_OK;
}

static void *allocate(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    void *pointer = NULL;
    (void)context;
    (void)alignment; /* cudaMalloc aligns to 256 bytes or more */
    (void)stream;
    if (cudaMalloc(&pointer, bytes) == cudaSuccess)
        return pointer;
    cudaGetLastError();
    return NULL;
}

static void release(void *context, void *pointer, size_t bytes, fopt_stream stream)
{
    (void)context;
    (void)bytes;
    (void)stream;
    if (cudaFree(pointer) != cudaSuccess)
        cudaGetLastError(); /* it has nowhere to go */
}

const fopt_allocator fopt_i_cuda_allocator = {NULL, allocate, release};

/* ---- memory that callers give -------------------------------------------------------------------------------- */

/* Checks that the device can use memory at this address as it is: its own, managed, or of the host and mapped there. */
static fopt_status check_address(int device, const void *address, const char *field, fopt_i_subject tensor)
{
    struct cudaPointerAttributes found;
    int reaches_host = 0;
    fopt_status status = fopt_i_cuda_check(cudaPointerGetAttributes(&found, address), "cudaPointerGetAttributes");
    if (!status && found.type == cudaMemoryTypeUnregistered)
        status = fopt_i_cuda_check(cudaDeviceGetAttribute(&reaches_host, cudaDevAttrPageableMemoryAccess, device),
                                   "cudaDeviceGetAttribute");
    if (status || reaches_host)
        return status;
    if (found.type == cudaMemoryTypeHost && found.devicePointer && found.devicePointer != address)
        return fopt_i_fail(FOPT_ERR_ARGUMENT,
                           "%s: %s has %p, which is memory of the host that CUDA device %d sees at %p",
                           fopt_i_label_of(tensor).text, field, address, device, found.devicePointer);
    if (!found.devicePointer || (found.type == cudaMemoryTypeDevice && found.device != device))
        return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s has %p, which is not memory of CUDA device %d",
                           fopt_i_label_of(tensor).text, field, address, device);
    return FOPT_OK;
}

fopt_status fopt_i_cuda_check_memory(int device, const void *array, size_t bytes, const char *field,
                                     fopt_i_subject tensor)
{
    fopt_status status = check_address(device, array, field, tensor);
    return status ? status : check_address(device, (const char *)array + bytes - 1, field, tensor);
}

fopt_status fopt_i_cuda_check_param_and_grad(int device, const fopt_i_record *r, fopt_i_subject tensor)
{
    const size_t count = (size_t)r->count;
    fopt_status status = FOPT_OK;
    if (count > 0)
        status =
            fopt_i_cuda_check_memory(device, r->param, count * fopt_i_element_bytes(r->param_format), "param", tensor);
    if (!status && r->grad)
        status =
            fopt_i_cuda_check_memory(device, r->grad, count * fopt_i_element_bytes(r->grad_format), "grad", tensor);
    return status;
}
