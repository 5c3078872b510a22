/* Planted faults, each of which must be reported. */
#include "test_emulator.h"

static void dropped_step()
{
    CHECK(first_sum(SUM_DROPPED_STEP) == 1024.0f * 1025 / 2);
}

static void dropped_barrier()
{
    emu_set_order(EMU_RANDOM, 3);
    CHECK(first_sum(SUM_DROPPED_BARRIER) == 1024.0f * 1025 / 2);
}

static void off_by_one()
{
    OK(launch_scale_too_far(device_ramp(1000), 2, 1000, nullptr));
    OK(cudaDeviceSynchronize());
}

static void off_by_one_at_guard()
{
    OK(launch_scale_too_far(device_ramp(1024), 2, 1024, nullptr));
    OK(cudaDeviceSynchronize());
}

static void vector_overrun()
{
    OK(launch_scale_vector(device_ramp(1001), 2, 1001, nullptr));
    OK(cudaDeviceSynchronize());
}

static void misaligned()
{
    OK(launch_scale_vector(device_ramp(1024) + 1, 2, 1000, nullptr));
    OK(cudaDeviceSynchronize());
}

static void misaligned_hinted()
{
    OK(launch_scale_hinted(device_ramp(1024) + 1, 2, 1000, nullptr));
    OK(cudaDeviceSynchronize());
}

static void host_pointer()
{
    static float on_host = 1;
    OK(launch_copy_one(device_floats(1), &on_host, nullptr));
    OK(cudaDeviceSynchronize());
}

static void host_pointer_hinted()
{
    std::vector<float> on_host(1024, 1.0f);
    OK(launch_scale_hinted(on_host.data(), 2, 1000, nullptr));
    OK(cudaDeviceSynchronize());
}

static void null_pointer()
{
    OK(launch_copy_one(device_floats(1), nullptr, nullptr));
    OK(cudaDeviceSynchronize());
}

static void device_pointer_on_host()
{
    volatile float *x = device_ramp(1);
    x[0] = 1;
}

static void other_devices_pointer()
{
    emu_set_device_count(2);
    float *x = device_ramp(4);
    OK(cudaSetDevice(1));
    OK(launch_copy_one(device_floats(1), x, nullptr));
    OK(cudaDeviceSynchronize());
}

static void use_after_free()
{
    float *x = device_ramp(1024);
    OK(cudaFree(x));
    OK(launch_scale(x, 2, 1024, nullptr));
    OK(cudaDeviceSynchronize());
}

static void double_free()
{
    float *x = device_ramp(1024);
    OK(cudaFree(x));
    OK(cudaFree(x));
}

static void free_inside()
{
    OK(cudaFree(device_ramp(1024) + 1));
}

static void wrong_direction()
{
    float *x = device_ramp(4), host[4];
    OK(cudaMemcpy(host, x, sizeof host, cudaMemcpyHostToDevice));
}

static void copy_too_long()
{
    float *x = device_ramp(4), host[8];
    OK(cudaMemcpy(host, x, sizeof host, cudaMemcpyDeviceToHost));
}

static void destroyed_stream()
{
    cudaStream_t stream = new_stream(0);
    OK(cudaStreamDestroy(stream));
    OK(cudaStreamSynchronize(stream));
}

static void leak()
{
    device_floats(3);
}

static void race_of_blocks()
{
    OK(launch_all_write(device_floats(1), 2, nullptr));
    OK(cudaDeviceSynchronize());
}

template <block_kernel K> static void block_fault()
{
    run_block(K);
}

const test_case fault_cases[] = {
    {"dropped shuffle step", dropped_step, "not so: first_sum(SUM_DROPPED_STEP)", ANY},
    {"dropped barrier: a wrong sum", dropped_barrier, "not so: first_sum(SUM_DROPPED_BARRIER)", NOT_INSTRUMENTED},
    {"off by one, into the rest of a page", off_by_one, "past the end of the 4000 bytes|use-after-poison", ANY},
    {"off by one, into the guard", off_by_one_at_guard, "past the end of the 4096 bytes", ANY},
    {"vector overrun", vector_overrun, "of the 4004 bytes|use-after-poison", ANY},
    {"misaligned vector access", misaligned, "misaligned", ALIGNED},
    {"misaligned vector access with a hint", misaligned_hinted, "misaligned access: 16 bytes", ANY},
    {"host pointer in a kernel", host_pointer, "in host variable or function", INSTRUMENTED},
    {"host pointer in a kernel with a hint", host_pointer_hinted, "which is host memory or none", ANY},
    {"NULL in a kernel", null_pointer, "in kernel copy_one(", ANY},
    {"device pointer on the host", device_pointer_on_host, "host code writes byte 0 of the 4 bytes of device", ANY},
    {"another device's pointer", other_devices_pointer, "(device 0)", ANY},
    {"use after cudaFree", use_after_free, "bytes of freed device memory", ANY},
    {"double free", double_free, "double free", ANY},
    {"free of the inside", free_inside, "no allocation begins there", ANY},
    {"wrong copy direction", wrong_direction, "wrong direction?", ANY},
    {"copy beyond the end", copy_too_long, "32 bytes of the source", ANY},
    {"use of a destroyed stream", destroyed_stream, "was destroyed", ANY},
    {"leak", leak, "leak: 12 bytes of device memory", ANY},
    {"divergent barrier", block_fault<BLOCK_DIVERGENT>, "divergent barrier: thread 0 waits in __syncthreads at", ANY},
    {"barrier after an exit", block_fault<BLOCK_EXITED>, "waits for thread 40, which has exited", ANY},
    {"mask that names an exited lane", block_fault<BLOCK_LANE_EXITED>, "names lane 9, which has exited", ANY},
    {"mask that names a lane elsewhere", block_fault<BLOCK_LANE_ELSEWHERE>,
     "names lane 9, which waits in __syncthreads", ANY},
    {"mask without the caller", block_fault<BLOCK_LANE_NOT_NAMED>, "does not name the calling lane 16", ANY},
    {"shuffle from outside the mask", block_fault<BLOCK_SOURCE_NOT_NAMED>, "lane 0 reads lane 16", ANY},
    {"false assumption", block_fault<BLOCK_WRONG_ASSUMPTION>, "thread (60,0,0) of (64,1,1)", ANY},
    {"stack overflow", block_fault<BLOCK_DEEP>, "stack", ANY},
    {"__trap", block_fault<BLOCK_TRAP>, "__trap()", ANY},
    {"dropped barrier: a race", dropped_barrier, "race: this thread", INSTRUMENTED},
    {"dropped __syncwarp: a race", block_fault<BLOCK_NO_SYNCWARP>, "shared memory", INSTRUMENTED},
    {"race between blocks", race_of_blocks, "another block wrote", INSTRUMENTED},
    {"static shared memory overrun", block_fault<BLOCK_SHARED_OVERRUN>, "256 bytes of shared memory", INSTRUMENTED},
    {"dynamic shared memory overrun", block_fault<BLOCK_DYNAMIC_OVERRUN>, "byte 256 of 256 bytes of dynamic",
     INSTRUMENTED},
    {"another thread's local", block_fault<BLOCK_OTHERS_LOCAL>, "a local variable of another thread", INSTRUMENTED},
    {nullptr, nullptr, nullptr, ANY},
};
