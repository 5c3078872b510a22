/* CUDA contexts, through the driver's functions. */
#include "cuda_context.h"
#include "internal.h"

fopt_status fopt_i_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return FOPT_OK;
    cudaGetLastError();
    return fopt_i_fail(FOPT_ERR_DEVICE, "%s failed: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

/* ---- the driver ---------------------------------------------------------------------------------------------- */

/* The driver's functions that find a context. Those for its later use are in the context itself. */
typedef struct driver {
    PFN_cuDeviceGet_v2000 get_device;
    PFN_cuCtxGetCurrent_v4000 get_current;
    PFN_cuDevicePrimaryCtxGetState_v7000 get_state;
    PFN_cuDevicePrimaryCtxRetain_v7000 retain;
} driver;

/* Finds the driver's function of that name, as it was in `version`; pointers to functions are one size. */
static fopt_status find(const char *name, unsigned version, void *function)
{
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION < 12000
#error "fusedopt needs CUDA 12 or later"
#elif CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion(name, function, version, cudaEnableDefault, &found);
#else
    (void)version;
    const cudaError_t error = cudaGetDriverEntryPoint(name, function, cudaEnableDefault, &found);
#endif
    fopt_status status = fopt_i_cuda_check(error, "cudaGetDriverEntryPoint");
    if (!status && found != cudaDriverEntryPointSuccess)
        return fopt_i_fail(FOPT_ERR_DEVICE, "CUDA's driver has no %s", name);
    return status;
}

static fopt_status find_all(driver *d, fopt_i_cuda_context *context)
{
    const struct {
        const char *name;
        unsigned version;
        void *function;
    } wanted[] = {
        {"cuDeviceGet", 2000, &d->get_device},
        {"cuCtxGetCurrent", 4000, &d->get_current},
        {"cuDevicePrimaryCtxGetState", 7000, &d->get_state},
        {"cuDevicePrimaryCtxRetain", 7000, &d->retain},
        {"cuDevicePrimaryCtxRelease", 11000, &context->release},
        {"cuCtxPushCurrent", 4000, &context->push},
        {"cuCtxPopCurrent", 4000, &context->pop},
    };
    fopt_status status = FOPT_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !status; i++)
        status = find(wanted[i].name, wanted[i].version, wanted[i].function);
    return status;
}

static fopt_status check_driver(CUresult result, const char *what)
{
    return result == CUDA_SUCCESS
               ? FOPT_OK
               : fopt_i_fail(FOPT_ERR_DEVICE, "%s failed: error %d of CUDA's driver", what, (int)result);
}

/* ---- finding a context --------------------------------------------------------------------------------------- */

/* Retains the device's primary context. One that nobody uses yet would end, and work in it too, when it is given back:
 * it is kept as long as the process lives, as the runtime keeps those that it makes. */
static fopt_status retain_primary(const driver *d, fopt_i_cuda_context *context)
{
    unsigned flags = 0;
    int active = 0;
    fopt_status status = check_driver(d->get_state(context->device, &flags, &active), "cuDevicePrimaryCtxGetState");
    if (!status)
        status = check_driver(d->retain(&context->handle, context->device), "cuDevicePrimaryCtxRetain");
    context->retained = !status && active;
    return status;
}

/* Tells whether the thread's device, for which it may have no context yet, is this one. */
static fopt_status is_current(int device, bool *current)
{
    int index = -1;
    fopt_status status = fopt_i_cuda_check(cudaGetDevice(&index), "cudaGetDevice");
    *current = index == device;
    return status;
}

/* Takes the thread's own context. If it is the device's primary one, that is retained, since others may give it
 * back. */
static fopt_status take_current(const driver *d, fopt_i_cuda_context *context)
{
    unsigned flags = 0;
    int active = 0;
    CUcontext current = NULL;
    fopt_status status = check_driver(d->get_current(&current), "cuCtxGetCurrent");
    if (!status && current)
        status = check_driver(d->get_state(context->device, &flags, &active), "cuDevicePrimaryCtxGetState");
    if (!status && active)
        status = retain_primary(d, context);
    if (status || !current || context->handle == current)
        return status;
    fopt_i_cuda_drop_context(context);
    context->handle = current;
    context->retained = false;
    return FOPT_OK;
}

fopt_status fopt_i_cuda_find_context(int device, fopt_i_cuda_context *context)
{
    driver d;
    bool current = false;
    *context = (fopt_i_cuda_context){.handle = NULL};
    fopt_status status = is_current(device, &current);
    if (!status)
        status = find_all(&d, context);
    if (!status)
        status = check_driver(d.get_device(&context->device, device), "cuDeviceGet");
    if (!status && current)
        status = take_current(&d, context);
    if (!status && !context->handle)
        status = retain_primary(&d, context);
    return status;
}

fopt_status fopt_i_cuda_find_context_once(int device, fopt_i_cuda_context *context)
{
    bool current = false;
    fopt_status status = is_current(device, &current);
    if (!status && !current)
        return fopt_i_cuda_find_context(device, context);
    *context = (fopt_i_cuda_context){.handle = NULL};
    return status;
}

void fopt_i_cuda_drop_context(const fopt_i_cuda_context *context)
{
    if (context->retained)
        (void)context->release(context->device);
}

/* ---- a call -------------------------------------------------------------------------------------------------- */

fopt_status fopt_i_cuda_push_context(const fopt_i_cuda_context *context)
{
    return context->handle ? check_driver(context->push(context->handle), "cuCtxPushCurrent") : FOPT_OK;
}

bool fopt_i_cuda_try_push_context(const fopt_i_cuda_context *context)
{
    return context->push(context->handle) == CUDA_SUCCESS;
}

void fopt_i_cuda_pop_context(const fopt_i_cuda_context *context)
{
    CUcontext popped;
    if (context->handle)
        (void)context->pop(&popped);
}
