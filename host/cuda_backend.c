/*
 * The CUDA backend. Every call only enqueues on the caller's stream, except fopt_create(), fopt_destroy() and
 * fopt_get_step(), which wait.
 *
 * The tables that a step reads live on the device, behind the moments, and the host does not read them back: a copy
 * here of the step counts or learning rates would be wrong after a CUDA graph has been replayed.
 */
#include "../kernels/cpu/environment.h"
#include "../kernels/cuda/launch.h"
#include "internal.h"
#include "ranges.h"
#include <stdio.h>
#include <string.h>

typedef struct cuda_private {
    fopt_i_cuda_tables tables;
    uint64_t loop_first[FOPT_I_LOOP_COUNT], loop_tiles[FOPT_I_LOOP_COUNT]; /* each loop's part of the tiles */
} cuda_private;

/* ---- errors -------------------------------------------------------------------------------------------------- */

/* An error of CUDA's that this call caused is returned by it, and taken off CUDA's record. */
static fopt_status check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return FOPT_OK;
    cudaGetLastError();
    return fopt_i_fail(FOPT_ERR_DEVICE, "%s failed: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

/* Makes a device current, unless CUDA has failed already: that error is not ours, and is left where it is. That a
 * stream or event was found not ready is on the same record, and no failure. */
static fopt_status enter(int device, int *previous)
{
    *previous = device;
    cudaError_t error = cudaPeekAtLastError();
    if (error != cudaSuccess && error != cudaErrorNotReady)
        return fopt_i_fail(FOPT_ERR_DEVICE, "CUDA had failed before this call: %s (%s)", cudaGetErrorString(error),
                           cudaGetErrorName(error));
    fopt_status status = check(cudaGetDevice(previous), "cudaGetDevice");
    if (!status && *previous != device)
        status = check(cudaSetDevice(device), "cudaSetDevice");
    return status;
}

/* Gives the caller's current device back, whatever happened in between. */
static fopt_status leave(int device, int previous, fopt_status status)
{
    fopt_status restored = FOPT_OK;
    if (previous != device)
        restored = check(cudaSetDevice(previous), "cudaSetDevice");
    return status ? status : restored;
}

/* ---- devices and memory -------------------------------------------------------------------------------------- */

static fopt_status device_count(int *count)
{
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess)
        return FOPT_OK;
    *count = 0;
    if (error != cudaErrorNoDevice && error != cudaErrorInsufficientDriver)
        return check(error, "cudaGetDeviceCount");
    cudaGetLastError();
    return FOPT_OK; /* none is an answer */
}

static fopt_status check_index(int index)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        cudaGetLastError();
        return fopt_i_fail(FOPT_ERR_DEVICE, "device.kind is FOPT_CUDA, but there is no usable GPU: %s (%s)",
                           cudaGetErrorString(error), cudaGetErrorName(error));
    }
    if (index < 0 || index >= count)
        return fopt_i_fail(FOPT_ERR_DEVICE, "device.index is %d, but CUDA has %d device(s)", index, count);
    return FOPT_OK;
}

static fopt_status device_query(int index, fopt_device_info *info)
{
    struct cudaDeviceProp properties;
    fopt_status status = check_index(index);
    if (!status)
        status = check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
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
    cudaFree(pointer);
}

static fopt_status complete_config(fopt_config *config)
{
    static const fopt_allocator library = {NULL, allocate, release};
    if (!config->host_allocator.allocate)
        config->host_allocator = fopt_i_host_allocator;
    if (!config->device_allocator.allocate)
        config->device_allocator = library;
    return check_index(config->device.index);
}

/* Memory that the device can reach: its own, managed, or of the host and registered. */
static fopt_status check_memory(const fopt_config *config, const void *pointer, const char *field, const char *label)
{
    struct cudaPointerAttributes attributes;
    int reaches_all = 0;
    fopt_status status = check(cudaPointerGetAttributes(&attributes, pointer), "cudaPointerGetAttributes");
    const bool others = !status && attributes.type == cudaMemoryTypeDevice && attributes.device != config->device.index;
    if (status || (attributes.devicePointer && !others))
        return status;
    status = check(cudaDeviceGetAttribute(&reaches_all, cudaDevAttrPageableMemoryAccess, config->device.index),
                   "cudaDeviceGetAttribute");
    if (status || (reaches_all && !others))
        return status;
    return fopt_i_fail(FOPT_ERR_ARGUMENT, "%s: %s is %p, which is not memory of CUDA device %d", label, field, pointer,
                       config->device.index);
}

/* ---- creation ------------------------------------------------------------------------------------------------ */

enum { ALIGNMENT = 64 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t table_bytes(size_t group_count, size_t tensor_count, uint64_t tile_count)
{
    return aligned(tensor_count * sizeof(fopt_i_record)) + aligned(group_count * sizeof(fopt_i_group)) +
           aligned(tensor_count * sizeof(fopt_i_coef)) + aligned((size_t)tile_count * sizeof(uint32_t));
}

/* Cuts the tables out of the end of the device's memory, in the order of table_bytes(). */
static void lay_out(fopt_optimizer *o, fopt_i_cuda_tables *tables)
{
    char *next = o->state + o->device_bytes - table_bytes(o->group_count, o->tensor_count, o->tile_count);
    tables->records = (fopt_i_record *)next;
    next += aligned(o->tensor_count * sizeof(fopt_i_record));
    tables->groups = (fopt_i_group *)next;
    next += aligned(o->group_count * sizeof(fopt_i_group));
    tables->coefs = (fopt_i_coef *)next;
    next += aligned(o->tensor_count * sizeof(fopt_i_coef));
    tables->tile_records = (uint32_t *)next;
    tables->record_count = o->tensor_count;
    tables->tile_count = o->tile_count;
    tables->seed = o->config.seed;
}

/* Lays the tiles of each loop end to end, so that a launch takes a range of them. */
static void order_tiles(fopt_optimizer *o, cuda_private *p)
{
    uint64_t next = 0;
    for (unsigned loop = 0; loop < FOPT_I_LOOP_COUNT; loop++) {
        p->loop_first[loop] = next;
        for (size_t i = 0; i < o->tensor_count; i++) {
            fopt_i_record *r = &o->records[i];
            if (o->groups[r->group].loop != loop)
                continue;
            r->first_tile = next;
            next += fopt_i_tile_count(r->count);
        }
        p->loop_tiles[loop] = next - p->loop_first[loop];
    }
}

static fopt_status fill_device(fopt_optimizer *o, const fopt_i_cuda_tables *tables)
{
    fopt_status status = FOPT_OK;
    if (o->tensor_count == 0)
        return FOPT_OK;
    status = check(cudaMemsetAsync(o->state, 0, o->device_bytes, NULL), "zeroing the state");
    if (!status)
        status = check(cudaMemcpyAsync(tables->records, o->records, o->tensor_count * sizeof *o->records,
                                       cudaMemcpyHostToDevice, NULL),
                       "copying the tensors");
    if (!status)
        status = check(cudaMemcpyAsync(tables->groups, o->groups, o->group_count * sizeof *o->groups,
                                       cudaMemcpyHostToDevice, NULL),
                       "copying the groups");
    if (!status)
        status = check(fopt_i_cuda_index_tiles(tables, NULL), "launching index_tiles");
    if (!status)
        status = check(cudaStreamSynchronize(NULL), "creating the optimizer");
    return status;
}

/* Refuses while a stream for which the legacy stream would have to wait is being captured. */
static fopt_status check_capture(void)
{
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cudaError_t error = cudaStreamIsCapturing(cudaStreamLegacy, &capture);
    if (error == cudaErrorStreamCaptureImplicit || capture != cudaStreamCaptureStatusNone) {
        cudaGetLastError();
        return fopt_i_fail(FOPT_ERR_DEVICE, "an optimizer cannot be created while a stream is being captured");
    }
    return check(error, "cudaStreamIsCapturing");
}

/* Another capture, of a stream that has nothing to do with the legacy one, goes on: an allocation would spoil it, were
 * this thread not to say that it knows what it does. */
static fopt_status create_uncaptured(fopt_optimizer *o)
{
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cuda_private *p = o->private;
    fopt_status status = check_capture();
    if (!status)
        status = check(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode");
    if (status)
        return status;
    status = fopt_i_allocate_state(o);
    if (!status) {
        lay_out(o, &p->tables);
        order_tiles(o, p);
        status = fill_device(o, &p->tables);
    }
    if (status) {
        /* What was enqueued before the failure still writes. The first error is the one that is told. */
        if (cudaStreamSynchronize(NULL) != cudaSuccess)
            cudaGetLastError();
        fopt_i_release_state(o);
    }
    (void)check(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode");
    return status;
}

static fopt_status create(fopt_optimizer *o)
{
    const int device = o->config.device.index;
    int previous;
    FOPT_I_BEGIN_RANGE("fopt_create");
    fopt_status status = enter(device, &previous);
    if (!status)
        status = leave(device, previous, create_uncaptured(o));
    FOPT_I_END_RANGE();
    return status;
}

/* The state must not be released while a step still runs, whatever has failed before. An error here has nowhere to go;
 * it is left on CUDA's record. */
static void destroy(fopt_optimizer *o)
{
    const int device = o->config.device.index;
    int previous = device;
    cudaGetDevice(&previous);
    if (previous != device)
        cudaSetDevice(device);
    cudaDeviceSynchronize();
    fopt_i_release_state(o);
    if (previous != device)
        cudaSetDevice(previous);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static const fopt_i_cuda_tables *tables_of(const fopt_optimizer *o)
{
    return &((const cuda_private *)o->private)->tables;
}

static fopt_status launch_step(fopt_optimizer *o, fopt_stream stream)
{
    const cuda_private *p = o->private;
    if (o->tile_count == 0)
        return FOPT_OK;
    fopt_status status = check(fopt_i_cuda_begin_step(&p->tables, stream), "launching begin_step");
    if (status)
        return status; /* nothing has happened */
    for (unsigned loop = 0; loop < FOPT_I_LOOP_COUNT && !status; loop++)
        if (p->loop_tiles[loop] > 0)
            status = check(fopt_i_cuda_step(&p->tables, loop, p->loop_first[loop], p->loop_tiles[loop], stream),
                           "launching the step");
    o->broken = status != FOPT_OK;
    return status;
}

static fopt_status launch_set_group(fopt_optimizer *o, size_t group, const fopt_i_group *value, fopt_stream stream)
{
    fopt_status status = check(fopt_i_cuda_set_group(tables_of(o), group, value, stream), "launching set_group");
    if (!status)
        o->groups[group] = *value;
    return status;
}

static fopt_status read_step(const fopt_optimizer *o, size_t tensor, int64_t *value, fopt_stream stream)
{
    enum cudaStreamCaptureStatus capture;
    fopt_status status = check(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
    if (!status && capture != cudaStreamCaptureStatusNone)
        return fopt_i_fail(FOPT_ERR_DEVICE, "a step count cannot be read while the stream is being captured");
    if (!status)
        status = check(
            cudaMemcpyAsync(value, &tables_of(o)->records[tensor].step, sizeof *value, cudaMemcpyDeviceToHost, stream),
            "copying the step count");
    if (!status)
        status = check(cudaStreamSynchronize(stream), "waiting for the step count");
    return status;
}

/* ---- the calls: each with its device current ------------------------------------------------------------------ */

static fopt_status step(fopt_optimizer *o, fopt_stream stream)
{
    int previous;
    FOPT_I_BEGIN_RANGE("fopt_step");
    fopt_status status = enter(o->config.device.index, &previous);
    if (!status)
        status = leave(o->config.device.index, previous, launch_step(o, stream));
    FOPT_I_END_RANGE();
    return status;
}

static fopt_status set_group(fopt_optimizer *o, size_t group, const fopt_i_group *value, fopt_stream stream)
{
    int previous;
    fopt_status status = enter(o->config.device.index, &previous);
    return status ? status : leave(o->config.device.index, previous, launch_set_group(o, group, value, stream));
}

static fopt_status set_lr(fopt_optimizer *o, size_t group, double lr, fopt_stream stream)
{
    int previous;
    fopt_status status = enter(o->config.device.index, &previous);
    if (status)
        return status;
    status = check(fopt_i_cuda_set_lr(tables_of(o), group, lr, stream), "launching set_lr");
    return leave(o->config.device.index, previous, status);
}

static fopt_status set_grads(fopt_optimizer *o, void *const *grads, fopt_stream stream)
{
    int previous;
    fopt_status status = enter(o->config.device.index, &previous);
    if (status)
        return status;
    bool some = false;
    status = check(fopt_i_cuda_set_grads(tables_of(o), grads, stream, &some), "launching set_grads");
    o->broken = status && some;
    return leave(o->config.device.index, previous, status);
}

static fopt_status zero_grads(fopt_optimizer *o, fopt_stream stream)
{
    int previous;
    if (o->tile_count == 0)
        return FOPT_OK;
    FOPT_I_BEGIN_RANGE("fopt_zero_grads");
    fopt_status status = enter(o->config.device.index, &previous);
    if (!status) {
        status = check(fopt_i_cuda_zero_grads(tables_of(o), stream), "launching zero_grads");
        status = leave(o->config.device.index, previous, status);
    }
    FOPT_I_END_RANGE();
    return status;
}

static fopt_status get_step(const fopt_optimizer *o, size_t tensor, int64_t *value, fopt_stream stream)
{
    int previous;
    fopt_status status = enter(o->config.device.index, &previous);
    return status ? status : leave(o->config.device.index, previous, read_step(o, tensor, value, stream));
}

static fopt_status set_step(fopt_optimizer *o, size_t tensor, int64_t value, fopt_stream stream)
{
    int previous;
    fopt_status status = enter(o->config.device.index, &previous);
    if (status)
        return status;
    status = check(fopt_i_cuda_set_step(tables_of(o), tensor, value, stream), "launching set_step");
    return leave(o->config.device.index, previous, status);
}

static fopt_status update(const fopt_config *config, const fopt_i_group *group, const fopt_i_alone *alone,
                          fopt_stream stream)
{
    fopt_i_alone made = *alone;
    int previous;
    fopt_status status = enter(config->device.index, &previous);
    if (status)
        return status;
    made.record.step++;
    /* The coefficients are computed here, where the program may have set other modes. */
    const fopt_i_environment environment = fopt_i_environment_enter();
    const cudaError_t error = fopt_i_cuda_update(&made, group, config->seed, stream);
    fopt_i_environment_leave(environment);
    status = check(error, "launching the update");
    return leave(config->device.index, previous, status);
}

const fopt_i_backend fopt_i_cuda_backend = {
    .private_bytes = sizeof(cuda_private),
    .table_bytes = table_bytes,
    .device_count = device_count,
    .device_query = device_query,
    .complete_config = complete_config,
    .check_memory = check_memory,
    .create = create,
    .destroy = destroy,
    .step = step,
    .set_group = set_group,
    .set_lr = set_lr,
    .set_grads = set_grads,
    .zero_grads = zero_grads,
    .get_step = get_step,
    .set_step = set_step,
    .update = update,
};
