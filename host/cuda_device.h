/* CUDA's devices, and the memory that they can use: what the backend asks before it works. */
#ifndef FOPT_I_CUDA_DEVICE_H
#define FOPT_I_CUDA_DEVICE_H

#include "cuda_context.h"
#include "internal.h"

/* Counts the devices. A machine without a driver has none, which is no failure. */
fopt_status fopt_i_cuda_device_count(int *count);

/* Describes one device; *info is zeroed. */
fopt_status fopt_i_cuda_device_query(int index, fopt_device_info *info);

/* Refuses an index that no device has. */
fopt_status fopt_i_cuda_check_index(int index);

/* Memory of the current device by the library itself. */
extern const fopt_allocator fopt_i_cuda_allocator;

/* Checks that the device can use both ends of an array. `field` of `tensor` is its name in messages. */
fopt_status fopt_i_cuda_check_memory(int device, const void *array, size_t bytes, const char *field,
                                     fopt_i_subject tensor);

/* Checks a tensor's parameter, and its gradient if it has one. */
fopt_status fopt_i_cuda_check_param_and_grad(int device, const fopt_i_record *record, fopt_i_subject tensor);

#endif
