/* Kernels that are right run right, in every order. */
#include "test_emulator.h"

#include <cmath>

static void sums_are_right()
{
    in_all_orders([] { CHECK(first_sum(SUM_RIGHT) == 1024.0f * 1025 / 2); });
}

static void warps_are_right()
{
    in_all_orders([] {
        for (float right : run_block(BLOCK_WARP_RIGHT))
            CHECK(right == 1);
    });
}

static void shared_memory_is_right()
{
    in_all_orders([] {
        const std::vector<float> reversed = run_block(BLOCK_REVERSE), table = run_block(BLOCK_TABLE),
                                 neighbours = run_block(BLOCK_SYNCWARP);
        for (int i = 0; i < 64; i++)
            CHECK(reversed[(size_t)i] == (float)(63 - i) && table[(size_t)i] == (float)i &&
                  neighbours[(size_t)i] == (float)(i ^ 1));
    });
}

static void scaling_is_right()
{
    const size_t count = 1000;
    in_all_orders([=] {
        float *x = device_ramp(count);
        OK(launch_scale(x, 2, count, nullptr));
        OK(launch_scale_vector(x, 2, count, nullptr));
        OK(launch_scale_hinted(x, 2, count, nullptr));
        const std::vector<float> host = read_back(x, count);
        for (size_t i = 0; i < count; i++)
            CHECK(host[i] == 8 * (float)(i + 1));
        OK(cudaFree(x));
    });
}

static void atomics_add()
{
    in_all_orders([] {
        float *out = device_floats(1);
        OK(cudaMemset(out, 0, sizeof(float)));
        OK(launch_all_add(out, 20, nullptr));
        CHECK(read_back(out, 1)[0] == 640);
        OK(cudaFree(out));
    });
}

static void orders_differ()
{
    emu_set_order(EMU_FORWARD, 1);
    const std::vector<float> forward = run_block(BLOCK_ORDER);
    emu_set_order(EMU_REVERSE, 1);
    const std::vector<float> reverse = run_block(BLOCK_ORDER);
    emu_set_order(EMU_RANDOM, 1);
    const std::vector<float> random = run_block(BLOCK_ORDER), other = run_block(BLOCK_ORDER);
    emu_set_order(EMU_RANDOM, 1);
    CHECK(random == run_block(BLOCK_ORDER));
    CHECK(forward != reverse && forward != random && reverse != random && other != random);
    CHECK(forward[63] == 63 && reverse[0] == 63);
}

static void fresh_memory_is_nan()
{
    float *x = device_floats(3);
    for (float value : read_back(x, 3))
        CHECK(std::isnan(value));
    OK(cudaFree(x));
}

static void modes_are_the_devices()
{
    /* Flush to zero and rounding down, as a program linked with -ffast-math has or worse. */
#if defined(__x86_64__)
    unsigned modes = 0, flush = 0xbfc0;
    asm volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(modes) : "m"(flush));
#endif
    float *x = device_ramp(1);
    OK(launch_scale(x, 1e-40f, 1, nullptr));
    const float scaled = read_back(x, 1)[0];
#if defined(__x86_64__)
    asm volatile("ldmxcsr %0" : : "m"(modes));
#endif
    CHECK(scaled == 1e-40f);
    OK(cudaFree(x));
}

static void million_threads()
{
    const size_t count = 1 << 20;
    float *x = device_ramp(count);
    OK(launch_scale(x, 2, count, nullptr));
    CHECK(read_back(x, count)[count - 1] == 2 * (float)count);
    OK(cudaFree(x));
}

const test_case kernel_cases[] = {
    {"sums by shuffles and shared memory, in every order", sums_are_right, nullptr, ANY},
    {"shuffles and votes give what they must", warps_are_right, nullptr, ANY},
    {"dynamic shared memory, constants, structures by value", shared_memory_is_right, nullptr, ANY},
    {"plain, vector and hinted access", scaling_is_right, nullptr, ANY},
    {"atomics of many blocks", atomics_add, nullptr, ANY},
    {"three orders of threads, and the seed repeats", orders_differ, nullptr, ANY},
    {"fresh device memory is NaN", fresh_memory_is_nan, nullptr, ANY},
    {"the host's floating-point modes are not the device's", modes_are_the_devices, nullptr, ANY},
    {"a million threads", million_threads, nullptr, ANY},
    {nullptr, nullptr, nullptr, ANY},
};
