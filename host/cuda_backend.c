/*
 * The CUDA backend. Every call only enqueues on the caller's stream, except fopt_create(), fopt_destroy(),
 * fopt_get_step() and fopt_copy(), which wait.
 *
 * The tables that a step reads live on the device, behind the moments, and the host does not read them back: a copy
 * here of the step counts or learning rates would be wrong after a CUDA graph has been replayed.
 */
#include "../kernels/cpu/environment.h"
#include "../kernels/cuda/launch.h"
#include "cuda_device.h"
#include "plan.h"
#include "ranges.h"

/* The calling thread's settings that a creation or destruction changes, and gives back at its end. */
typedef struct cuda_stay {
    bool pushed;                     /* the context */
    bool relaxed;                    /* the mode of captures */
    enum cudaStreamCaptureMode mode; /* of captures, as it was */
} cuda_stay;

typedef struct cuda_private {
    fopt_i_cuda_context context; /* current during every call */
    cuda_stay stay;
    bool record_was_clean; /* CUDA's record of errors, when open() or reopen() began */
    fopt_i_cuda_tables tables;
    uint64_t loop_first[FOPT_I_LOOP_COUNT], loop_tiles[FOPT_I_LOOP_COUNT]; /* each loop's part of the tiles */
    uint32_t multiprocessors;
} cuda_private;

/* ---- errors -------------------------------------------------------------------------------------------------- */

/* Tells whether nothing has failed. A stream or event found not ready is on the same record, and no failure. */
static bool is_clean(cudaError_t error)
{
    return error == cudaSuccess || error == cudaErrorNotReady;
}

/* Reports an error that CUDA had before the call: it is not ours, and is left where it is. */
static fopt_status check_record(void)
{
    const cudaError_t error = cudaPeekAtLastError();
    if (is_clean(error))
        return FOPT_OK;
    return fopt_i_fail(FOPT_ERR_DEVICE, "CUDA had failed before this call: %s (%s)", cudaGetErrorString(error),
                       cudaGetErrorName(error));
}

/* Begins a call's work on the device, which profilers show under the call's name. */
static fopt_status enter_context(const fopt_i_cuda_context *context)
{
    fopt_status status = check_record();
    if (!status)
        status = fopt_i_cuda_push_context(context);
    if (!status)
        FOPT_I_BEGIN_RANGE(fopt_i_call());
    return status;
}

static void leave_context(const fopt_i_cuda_context *context)
{
    FOPT_I_END_RANGE();
    fopt_i_cuda_pop_context(context);
}

static fopt_status enter(const fopt_optimizer *o)
{
    return enter_context(&((const cuda_private *)o->private)->context);
}

static void leave(const fopt_optimizer *o)
{
    leave_context(&((const cuda_private *)o->private)->context);
}

/* ---- creation ------------------------------------------------------------------------------------------------ */

static fopt_status complete_config(fopt_config *config)
{
    if (!config->host_allocator.allocate)
        config->host_allocator = fopt_i_host_allocator;
    if (!config->device_allocator.allocate)
        config->device_allocator = fopt_i_cuda_allocator;
    return FOPT_OK; /* whether the device is there is asked when it is needed: sizes can be had without */
}

static size_t table_bytes(size_t group_count, size_t tensor_count, uint64_t tile_count)
{
    return fopt_i_padded(tensor_count * sizeof(fopt_i_record)) + fopt_i_padded(group_count * sizeof(fopt_i_group)) +
           fopt_i_padded(tensor_count * sizeof(fopt_i_coef)) + fopt_i_padded(tensor_count * sizeof(fopt_i_random_key)) +
           fopt_i_padded(tensor_count * sizeof(fopt_i_sum)) + fopt_i_padded((size_t)tile_count * sizeof(uint32_t));
}

/* Cuts the tables out of the end of the device's memory, in the order of table_bytes(). */
static void lay_out(fopt_optimizer *o, fopt_i_cuda_tables *tables)
{
    char *next = o->state + o->device_bytes - table_bytes(o->group_count, o->tensor_count, o->tile_count);
    tables->records = (fopt_i_record *)next;
    next += fopt_i_padded(o->tensor_count * sizeof(fopt_i_record));
    tables->groups = (fopt_i_group *)next;
    next += fopt_i_padded(o->group_count * sizeof(fopt_i_group));
    tables->coefs = (fopt_i_coef *)next;
    next += fopt_i_padded(o->tensor_count * sizeof(fopt_i_coef));
    tables->random_keys = (fopt_i_random_key *)next;
    next += fopt_i_padded(o->tensor_count * sizeof(fopt_i_random_key));
    tables->sums = (fopt_i_sum *)next;
    next += fopt_i_padded(o->tensor_count * sizeof(fopt_i_sum));
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
    status = fopt_i_cuda_check(cudaMemsetAsync(o->state, 0, o->device_bytes, cudaStreamLegacy), "zeroing the state");
    if (!status)
        status = fopt_i_cuda_check(cudaMemcpyAsync(tables->records, o->records, o->tensor_count * sizeof *o->records,
                                                   cudaMemcpyHostToDevice, cudaStreamLegacy),
                                   "copying the tensors");
    if (!status)
        status = fopt_i_cuda_check(cudaMemcpyAsync(tables->groups, o->groups, o->group_count * sizeof *o->groups,
                                                   cudaMemcpyHostToDevice, cudaStreamLegacy),
                                   "copying the groups");
    if (!status)
        status = fopt_i_cuda_check(fopt_i_cuda_index_tiles(tables, cudaStreamLegacy), "launching index_tiles");
    if (!status)
        status = fopt_i_cuda_check(cudaStreamSynchronize(cudaStreamLegacy), "creating the optimizer");
    return status;
}

/* Refuses while a stream for which the legacy stream would have to wait is being captured. */
static fopt_status check_capture(void)
{
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    const cudaError_t error = cudaStreamIsCapturing(cudaStreamLegacy, &capture);
    if (error == cudaErrorStreamCaptureImplicit || capture != cudaStreamCaptureStatusNone) {
        cudaGetLastError();
        return fopt_i_fail(FOPT_ERR_DEVICE, "an optimizer cannot be created while a stream is being captured");
    }
    return fopt_i_cuda_check(error, "cudaStreamIsCapturing");
}

/* Checks that the device can use a tensor's memory: its moments too, if they are the caller's. */
static fopt_status check_arrays(int device, const fopt_i_group *group, const fopt_i_record *r, fopt_i_subject tensor)
{
    fopt_status status = fopt_i_cuda_check_param_and_grad(device, r, tensor);
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS && !status; kind++) {
        const fopt_i_state_bytes bytes = fopt_i_bytes_of_state(group, kind, (size_t)r->count);
        if (bytes.data > 0 && r->state[kind])
            status = fopt_i_cuda_check_memory(device, r->state[kind], bytes.data, "a state array", tensor);
        if (!status && bytes.absmax > 0 && r->absmax[kind])
            status = fopt_i_cuda_check_memory(device, r->absmax[kind], bytes.absmax, "an absmax", tensor);
    }
    return status;
}

static fopt_status check_tensors(const fopt_optimizer *o)
{
    fopt_status status = FOPT_OK;
    for (size_t i = 0; i < o->tensor_count && !status; i++)
        status = check_arrays(o->config.device.index, &o->groups[o->records[i].group], &o->records[i],
                              fopt_i_tensor(i, o->names[i]));
    return status;
}

/* Loads the kernels that this optimizer will launch. CUDA would load each as it is first launched, perhaps in a
 * capture, and would not say before that a build has none for this device. */
static fopt_status load_kernels(cuda_private *p)
{
    fopt_status status = fopt_i_cuda_check(fopt_i_cuda_multiprocessors(&p->multiprocessors),
                                           "asking the device for its multiprocessors");
    if (!status)
        status = fopt_i_cuda_check(fopt_i_cuda_load_tables(), "loading the kernels for this device");
    if (!status)
        status = fopt_i_cuda_check(fopt_i_cuda_load_norm(), "loading the norm's kernels for this device");
    for (unsigned loop = 0; loop < FOPT_I_LOOP_COUNT && !status; loop++)
        if (p->loop_tiles[loop] > 0)
            status = fopt_i_cuda_check(fopt_i_cuda_load_step(loop), "loading the step's kernels for this device");
    return status;
}

/* Notes what open() or reopen() changes of the calling thread, for shut() to give back. */
static void begin_stay(fopt_optimizer *o, bool pushed)
{
    cuda_private *p = o->private;
    p->stay = (cuda_stay){.pushed = pushed, .mode = cudaStreamCaptureModeRelaxed};
    /* A capture of a stream that has nothing to do with the legacy one may be going on. Allocating or releasing memory
     * would spoil it, were this thread not to say that it knows what it does. */
    p->stay.relaxed = cudaThreadExchangeStreamCaptureMode(&p->stay.mode) == cudaSuccess;
}

/* Gives back what begin_stay() noted. An error that is on CUDA's record now, and was not before, is ours or an
 * allocator's: a status has told of it, or nobody can be told. */
static void shut(fopt_optimizer *o)
{
    cuda_private *p = o->private;
    if (p->stay.relaxed)
        cudaThreadExchangeStreamCaptureMode(&p->stay.mode);
    if (p->record_was_clean && cudaPeekAtLastError() != cudaErrorNotReady)
        cudaGetLastError();
    if (p->stay.pushed)
        fopt_i_cuda_pop_context(&p->context);
    FOPT_I_END_RANGE();
}

static fopt_status open_entered(fopt_optimizer *o)
{
    cuda_private *p = o->private;
    fopt_status status = check_capture();
    if (status)
        return status;
    if (!p->stay.relaxed)
        return fopt_i_fail(FOPT_ERR_DEVICE, "cudaThreadExchangeStreamCaptureMode failed");
    status = check_tensors(o);
    if (status)
        return status;
    order_tiles(o, p);
    return load_kernels(p);
}

static fopt_status open_device(fopt_optimizer *o)
{
    cuda_private *p = o->private;
    fopt_status status = fopt_i_cuda_check_index(o->config.device.index);
    if (!status)
        status = check_record();
    if (!status)
        status = fopt_i_cuda_find_context(o->config.device.index, &p->context);
    if (!status)
        status = enter(o);
    if (status)
        return status;
    p->record_was_clean = true;
    begin_stay(o, true);
    status = open_entered(o);
    if (status)
        shut(o);
    return status;
}

static fopt_status fill(fopt_optimizer *o)
{
    cuda_private *p = o->private;
    lay_out(o, &p->tables);
    fopt_status status = fill_device(o, &p->tables);
    /* Work that was enqueued before a failure still writes. The first error is the one that is told. */
    if (status && cudaStreamSynchronize(cudaStreamLegacy) != cudaSuccess)
        cudaGetLastError();
    return status;
}

/* Makes the device current, whatever has failed before: an error that is on CUDA's record stays there. */
static void reopen(fopt_optimizer *o)
{
    cuda_private *p = o->private;
    p->record_was_clean = is_clean(cudaPeekAtLastError());
    FOPT_I_BEGIN_RANGE(fopt_i_call());
    begin_stay(o, fopt_i_cuda_try_push_context(&p->context));
}

static bool is_of_capture(cudaError_t error)
{
    return error >= cudaErrorStreamCaptureUnsupported && error <= cudaErrorStreamCaptureWrongThread;
}

/* Waits until the device does nothing of this optimizer's any more. Returns false if that cannot be known, since a
 * stream is being captured or the optimizer's context is gone. After any other error the device does nothing at all. */
static bool wait_for_device(const fopt_optimizer *o)
{
    const cuda_private *p = o->private;
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    if (!p->stay.pushed)
        return false;
    /* Asking spoils no capture, waiting would. The answer tells of blocking streams alone. */
    if (is_of_capture(cudaStreamIsCapturing(cudaStreamLegacy, &capture)))
        return false;
    return !is_of_capture(cudaDeviceSynchronize());
}

static void close_device(fopt_optimizer *o)
{
    const cuda_private *p = o->private;
    fopt_i_cuda_drop_context(&p->context);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static const fopt_i_cuda_tables *tables_of(const fopt_optimizer *o)
{
    return &((const cuda_private *)o->private)->tables;
}

static fopt_status step(fopt_optimizer *o, fopt_stream stream)
{
    const cuda_private *p = o->private;
    if (o->tile_count == 0)
        return FOPT_OK;
    fopt_status status = fopt_i_cuda_check(fopt_i_cuda_begin_step(&p->tables, stream), "launching begin_step");
    if (status)
        return status; /* nothing has happened */
    for (unsigned loop = 0; loop < FOPT_I_LOOP_COUNT && !status; loop++)
        if (p->loop_tiles[loop] > 0)
            status = fopt_i_cuda_check(fopt_i_cuda_step(&p->tables, loop, p->loop_first[loop], p->loop_tiles[loop],
                                                        p->multiprocessors, stream),
                                       "launching the step");
    o->broken = status != FOPT_OK;
    return status;
}

static fopt_status set_group(fopt_optimizer *o, size_t group, const fopt_i_group *value, fopt_stream stream)
{
    fopt_status status =
        fopt_i_cuda_check(fopt_i_cuda_set_group(tables_of(o), group, value, stream), "launching set_group");
    if (!status)
        o->groups[group] = *value;
    return status;
}

/* Copies in either direction, and waits. */
static fopt_status copy(const fopt_optimizer *o, void *to, const void *from, size_t bytes, fopt_stream given)
{
    (void)o;
    cudaStream_t stream = fopt_i_cuda_stream(given);
    enum cudaStreamCaptureStatus capture;
    fopt_status status = fopt_i_cuda_check(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
    if (!status && capture != cudaStreamCaptureStatusNone)
        return fopt_i_fail(FOPT_ERR_DEVICE, "nothing can be copied while the stream is being captured");
    if (!status)
        status = fopt_i_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "copying");
    if (!status)
        status = fopt_i_cuda_check(cudaStreamSynchronize(stream), "waiting for a copy");
    return status;
}

static fopt_status get_step(const fopt_optimizer *o, size_t tensor, int64_t *value, fopt_stream stream)
{
    return copy(o, value, &tables_of(o)->records[tensor].step, sizeof *value, stream);
}

static fopt_status set_lr(fopt_optimizer *o, size_t group, double lr, fopt_stream stream)
{
    return fopt_i_cuda_check(fopt_i_cuda_set_lr(tables_of(o), group, lr, stream), "launching set_lr");
}

static fopt_status set_grads(fopt_optimizer *o, void *const *grads, fopt_stream stream)
{
    bool some = false;
    fopt_status status =
        fopt_i_cuda_check(fopt_i_cuda_set_grads(tables_of(o), grads, stream, &some), "launching set_grads");
    o->broken = status && some;
    return status;
}

static fopt_status zero_grads(fopt_optimizer *o, fopt_stream stream)
{
    return o->tile_count == 0 ? FOPT_OK
                              : fopt_i_cuda_check(fopt_i_cuda_zero_grads(tables_of(o), stream), "launching zero_grads");
}

/* Checks that the device can write what the caller wants to know. */
static fopt_status check_results(const fopt_optimizer *o, size_t count, const double *norm, const double *tensor_norms)
{
    static const fopt_i_subject subject = {"the call", FOPT_I_NO_INDEX, NULL, NULL};
    const int device = o->config.device.index;
    fopt_status status = FOPT_OK;
    if (norm)
        status = fopt_i_cuda_check_memory(device, norm, sizeof *norm, "norm", subject);
    if (!status && tensor_norms && count > 0)
        status = fopt_i_cuda_check_memory(device, tensor_norms, count * sizeof *tensor_norms, "tensor_norms", subject);
    return status;
}

static fopt_status grad_norm(fopt_optimizer *o, size_t first, size_t count, double *norm, double *tensor_norms,
                             fopt_stream stream)
{
    fopt_status status = check_results(o, count, norm, tensor_norms);
    if (status)
        return status;
    bool some = false;
    const uint32_t multiprocessors = ((const cuda_private *)o->private)->multiprocessors;
    status = fopt_i_cuda_check(
        fopt_i_cuda_norm(tables_of(o), first, first + count, norm, tensor_norms, multiprocessors, stream, &some),
        "launching the norm");
    o->broken = status && some; /* sums that nobody takes */
    return status;
}

static fopt_status set_step(fopt_optimizer *o, size_t tensor, int64_t value, fopt_stream stream)
{
    return fopt_i_cuda_check(fopt_i_cuda_set_step(tables_of(o), tensor, value, stream), "launching set_step");
}

/* ---- without an object --------------------------------------------------------------------------------------- */

static fopt_status update_here(const fopt_config *config, const fopt_i_group *group, const fopt_i_record *r,
                               fopt_i_subject tensor, fopt_stream stream)
{
    fopt_status status = check_arrays(config->device.index, group, r, tensor);
    if (status)
        return status;
    /* The coefficients are computed here, where the program may have set other modes. */
    const fopt_i_environment environment = fopt_i_environment_enter();
    const cudaError_t error = fopt_i_cuda_update(r, group, config->seed, stream);
    fopt_i_environment_leave(environment);
    return fopt_i_cuda_check(error, "launching the update");
}

static fopt_status update(const fopt_config *config, const fopt_i_group *group, const fopt_i_record *r,
                          fopt_i_subject tensor, fopt_stream stream)
{
    fopt_i_cuda_context context = {.handle = NULL};
    fopt_status status = fopt_i_cuda_check_index(config->device.index);
    if (!status)
        status = check_record();
    if (!status)
        status = fopt_i_cuda_find_context_once(config->device.index, &context);
    if (!status)
        status = enter_context(&context);
    if (!status) {
        status = update_here(config, group, r, tensor, stream);
        leave_context(&context);
    }
    fopt_i_cuda_drop_context(&context);
    return status;
}

const fopt_i_backend fopt_i_cuda_backend = {
    .private_bytes = sizeof(cuda_private),
    .table_bytes = table_bytes,
    .device_count = fopt_i_cuda_device_count,
    .device_query = fopt_i_cuda_device_query,
    .complete_config = complete_config,
    .open = open_device,
    .fill = fill,
    .reopen = reopen,
    .wait = wait_for_device,
    .shut = shut,
    .close = close_device,
    .enter = enter,
    .leave = leave,
    .step = step,
    .set_group = set_group,
    .set_lr = set_lr,
    .set_grads = set_grads,
    .zero_grads = zero_grads,
    .grad_norm = grad_norm,
    .get_step = get_step,
    .copy = copy,
    .set_step = set_step,
    .update = update,
};
