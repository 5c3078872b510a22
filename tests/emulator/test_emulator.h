/* What the files of test_emulator share: the list of cases, and helpers. */
#ifndef EMU_TEST_EMULATOR_H
#define EMU_TEST_EMULATOR_H

#include "emulator.h"
#include "faults.h"

#include <functional>
#include <vector>

enum needed_build { ANY, INSTRUMENTED, NOT_INSTRUMENTED, ALIGNED /* by -fsanitize=alignment */ };

struct test_case {
    const char *name;
    void (*function)();
    const char *report; /* NULL: passes. Alternatives are divided by | */
    needed_build needs;
};

/* Each ends with a case without a name. */
extern const test_case kernel_cases[], stream_cases[], error_cases[], fault_cases[];

[[noreturn]] void fail_at(int line, const char *text);

#define CHECK(condition) ((condition) ? (void)0 : fail_at(__LINE__, #condition))
#define OK(call)         CHECK((call) == cudaSuccess)

void in_all_orders(const std::function<void()> &function);

float *device_floats(size_t count);
float *device_ramp(size_t count); /* 1, 2, 3... on the device */
std::vector<float> read_back(const float *device, size_t count);
cudaStream_t new_stream(unsigned flags);

std::vector<float> run_block(block_kernel kernel); /* the 64 floats that it gives */
float first_sum(sum_variant variant);              /* of 1 to 1024 */

#endif
