/* The runtime's calls on streams. */
#include "machine.h"

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    EMU_BEGIN(EMU_STREAM)
    if (!out || (flags & ~(unsigned)cudaStreamNonBlocking))
        return emu_failed(cudaErrorInvalidValue);
    *out = reinterpret_cast<cudaStream_t>(emu_make_stream(flags, false));
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

/* Destroys a stream. Work that is left is still done when something waits for it. */
cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    EMU_BEGIN(EMU_STREAM)
    EMU_FIND_STREAM(handle)
    if (stream->legacy || handle == cudaStreamPerThread)
        return emu_failed(cudaErrorInvalidResourceHandle);
    stream->destroyed = true;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    EMU_BEGIN(EMU_WAIT)
    EMU_FIND_STREAM(handle)
    if (cudaError_t error = emu_forbid_capture(stream))
        return emu_failed(error);
    emu_wait_for_stream(stream);
    return emu_failed(emu_sticky);
}

/* Runs one operation, so that polling comes to an end. */
cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    EMU_BEGIN(EMU_WAIT)
    EMU_FIND_STREAM(handle)
    if (cudaError_t error = emu_forbid_capture(stream))
        return emu_failed(error);
    if (!emu_step_stream(stream))
        return emu_failed(emu_sticky);
    return emu_failed(cudaErrorNotReady);
}

cudaError_t cudaDeviceSynchronize(void)
{
    EMU_BEGIN(EMU_WAIT)
    if (cudaError_t error = emu_forbid_any_capture(true))
        return emu_failed(error);
    emu_wait_for_context(emu_current_context());
    return emu_failed(emu_sticky);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void *argument)
{
    EMU_BEGIN(EMU_STREAM)
    EMU_FIND_STREAM(handle)
    emu_work work = {};
    work.kind = EMU_HOST_FUNCTION;
    work.function = function;
    work.argument = argument;
    return emu_failed(emu_enqueue(stream, work));
}
}
