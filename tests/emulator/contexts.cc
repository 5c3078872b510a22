/*
 * Contexts, as the driver and the runtime see them: a primary one for each device, and those that a program makes. A
 * thread has a stack of them; where it is empty, the runtime's first call that needs one takes the primary context of
 * the device that cudaSetDevice() chose. The driver's functions are given out by cudaGetDriverEntryPointByVersion().
 */
#include "machine.h"

#include <cstring>
#include <cudaTypedefs.h>

static thread_local int chosen_device;
static thread_local std::vector<CUcontext> *stack; /* never freed: threads may still call as they end */

static std::vector<CUcontext> &contexts()
{
    if (!stack)
        stack = new std::vector<CUcontext>;
    return *stack;
}

static CUctx_st *primary_of(int device)
{
    static CUctx_st primary[EMU_MAX_DEVICES];
    primary[device].device = device;
    return &primary[device];
}

CUcontext emu_current_context(void)
{
    return contexts().empty() ? nullptr : contexts().back();
}

int emu_current_device(void)
{
    const CUcontext current = emu_current_context();
    return current ? current->device : chosen_device;
}

static void make_current(CUcontext context)
{
    if (contexts().empty())
        contexts().push_back(context);
    else
        contexts().back() = context;
}

CUcontext emu_need_context(void)
{
    if (!emu_current_context()) {
        primary_of(chosen_device)->active = primary_of(chosen_device)->kept = true;
        make_current(primary_of(chosen_device));
    }
    return emu_current_context();
}

bool emu_has_context(int device)
{
    emu_call_scope scope;
    return primary_of(device)->active;
}

/* ---- the driver ---------------------------------------------------------------------------------------------- */

/* Begins a call of the driver's: these count, and fail on demand, as those of the runtime that they replace. */
static CUresult begin_driver_call()
{
    return emu_injected(EMU_DEVICE) == cudaSuccess ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

#define BEGIN_DRIVER_CALL                                                                                              \
    emu_call_scope scope;                                                                                              \
    if (CUresult error = begin_driver_call())                                                                          \
        return error;

static CUresult get_device(CUdevice *device, int ordinal)
{
    BEGIN_DRIVER_CALL
    if (ordinal < 0 || ordinal >= emu_set.device_count)
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

static CUresult get_current(CUcontext *context)
{
    BEGIN_DRIVER_CALL
    *context = emu_current_context();
    return CUDA_SUCCESS;
}

static CUresult push_current(CUcontext context)
{
    BEGIN_DRIVER_CALL
    contexts().push_back(context);
    return CUDA_SUCCESS;
}

/* Pops; never fails on demand, since nothing can be done about it. */
static CUresult pop_current(CUcontext *context)
{
    emu_call_scope scope;
    if (contexts().empty())
        return CUDA_ERROR_INVALID_CONTEXT;
    *context = contexts().back();
    contexts().pop_back();
    return CUDA_SUCCESS;
}

static CUresult get_state(CUdevice device, unsigned *flags, int *active)
{
    BEGIN_DRIVER_CALL
    *flags = 0;
    *active = primary_of(device)->active;
    return CUDA_SUCCESS;
}

static CUresult retain(CUcontext *context, CUdevice device)
{
    BEGIN_DRIVER_CALL
    *context = primary_of(device);
    primary_of(device)->active = true;
    primary_of(device)->retained++;
    return CUDA_SUCCESS;
}

/* Releases a context; the runtime keeps what it made. */
static CUresult release(CUdevice device)
{
    emu_call_scope scope;
    if (primary_of(device)->retained == 0)
        emu_report("cuDevicePrimaryCtxRelease: nobody holds the context of device %d", device);
    if (--primary_of(device)->retained == 0 && !primary_of(device)->kept)
        emu_report("cuDevicePrimaryCtxRelease: the context of device %d ends, and work in it", device);
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *context, unsigned, CUdevice device)
{
    BEGIN_DRIVER_CALL
    *context = new CUctx_st();
    (*context)->device = device;
    contexts().push_back(*context);
    return CUDA_SUCCESS;
}

unsigned emu_holders(int device)
{
    emu_call_scope scope;
    return primary_of(device)->retained;
}

template <class Function, class Type> static void *as(Type *function)
{
    static_assert(std::is_same<Function, Type *>::value, "declared as in cudaTypedefs.h");
    return reinterpret_cast<void *>(function);
}

static const struct {
    const char *name;
    unsigned version;
    void *function;
} functions[] = {
    {"cuDeviceGet", 2000, as<PFN_cuDeviceGet_v2000>(get_device)},
    {"cuCtxGetCurrent", 4000, as<PFN_cuCtxGetCurrent_v4000>(get_current)},
    {"cuCtxPushCurrent", 4000, as<PFN_cuCtxPushCurrent_v4000>(push_current)},
    {"cuCtxPopCurrent", 4000, as<PFN_cuCtxPopCurrent_v4000>(pop_current)},
    {"cuCtxCreate", 3020, as<PFN_cuCtxCreate_v3020>(create)},
    {"cuDevicePrimaryCtxGetState", 7000, as<PFN_cuDevicePrimaryCtxGetState_v7000>(get_state)},
    {"cuDevicePrimaryCtxRetain", 7000, as<PFN_cuDevicePrimaryCtxRetain_v7000>(retain)},
    {"cuDevicePrimaryCtxRelease", 11000, as<PFN_cuDevicePrimaryCtxRelease_v11000>(release)},
};

extern "C" {

/* Finds a function, by the version that is asked for, exactly. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long,
                                             cudaDriverEntryPointQueryResult *result)
{
    EMU_BEGIN(EMU_DEVICE)
    *result = cudaDriverEntryPointSymbolNotFound;
    for (const auto &known : functions)
        if (strcmp(known.name, name) == 0 && known.version == version) {
            *function = known.function;
            *result = cudaDriverEntryPointSuccess;
        }
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    EMU_BEGIN(EMU_DEVICE)
    *device = emu_current_device();
    return cudaSuccess;
}

/* Since CUDA 12 it makes the primary context, and makes it current. */
cudaError_t cudaSetDevice(int device)
{
    EMU_BEGIN(EMU_DEVICE)
    if (device < 0 || device >= emu_set.device_count)
        return emu_failed(cudaErrorInvalidDevice);
    chosen_device = device;
    primary_of(device)->active = primary_of(device)->kept = true;
    make_current(primary_of(device));
    return cudaSuccess;
}
}
