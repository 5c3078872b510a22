/*
 * The emulator's own tests: what is right passes, and each planted fault ends in a report that names it. Each runs in a
 * child process. To add a fault, plant it in faults.cu, and add a function and a row in test_emulator_faults.cc.
 */
#include "test_emulator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

/* ---- helpers of the cases ------------------------------------------------------------------------------------ */

[[noreturn]] void fail_at(int line, const char *text)
{
    fprintf(stderr, "line %d: not so: %s\n", line, text);
    exit(2);
}

float *device_floats(size_t count)
{
    void *p = nullptr;
    OK(cudaMalloc(&p, count * sizeof(float)));
    return static_cast<float *>(p);
}

std::vector<float> read_back(const float *device, size_t count)
{
    std::vector<float> host(count);
    OK(cudaMemcpy(host.data(), device, count * sizeof(float), cudaMemcpyDeviceToHost));
    return host;
}

float *device_ramp(size_t count)
{
    std::vector<float> host(count);
    for (size_t i = 0; i < count; i++)
        host[i] = (float)(i + 1);
    float *device = device_floats(count);
    OK(cudaMemcpy(device, host.data(), count * sizeof(float), cudaMemcpyHostToDevice));
    return device;
}

cudaStream_t new_stream(unsigned flags)
{
    cudaStream_t stream = nullptr;
    OK(cudaStreamCreateWithFlags(&stream, flags));
    return stream;
}

std::vector<float> run_block(block_kernel kernel)
{
    float *out = device_floats(64);
    OK(launch_block(kernel, out, nullptr));
    const std::vector<float> host = read_back(out, 64);
    OK(cudaFree(out));
    return host;
}

float first_sum(sum_variant variant)
{
    float *in = device_ramp(2048), *out = device_floats(2);
    OK(launch_sums(variant, out, in, 2, nullptr));
    const std::vector<float> host = read_back(out, 2);
    OK(cudaFree(in));
    OK(cudaFree(out));
    return host[0];
}

void in_all_orders(const std::function<void()> &function)
{
    const emu_order orders[] = {EMU_FORWARD, EMU_REVERSE, EMU_RANDOM};
    const emu_streams streams[] = {EMU_LAZY, EMU_SHUFFLED, EMU_EAGER};
    for (emu_order order : orders)
        for (emu_streams s : streams) {
            emu_set_order(order, 7);
            emu_set_streams(s);
            function();
        }
}

/* ---- running them -------------------------------------------------------------------------------------------- */

static const char *missing(needed_build needs)
{
    if (needs == INSTRUMENTED && !emu_instrumented())
        return "the instrumented build";
    if (needs == NOT_INSTRUMENTED && emu_instrumented())
        return "a build that is not instrumented, which sees the fault earlier";
#if defined(__clang__)
    if (needs == ALIGNED)
        return "g++: clang does not check copies of structures";
#endif
    if (needs == ALIGNED && !emu_instrumented() && !WITH_ASAN)
        return "the instrumented build, or sanitizers";
    return nullptr;
}

static bool has_report(const std::string &text, const std::string &reports)
{
    for (size_t at = 0, end; at <= reports.size(); at = end + 1) {
        end = reports.find('|', at);
        end = end == std::string::npos ? reports.size() : end;
        if (text.find(reports.substr(at, end - at)) != std::string::npos)
            return true;
    }
    return false;
}

/* Runs one case in a child. Returns its exit status, and all that it wrote to stderr. */
static int run_case(const test_case &test, std::string *text)
{
    int ends[2];
    if (pipe(ends) != 0)
        return -1;
    fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(100);
        emu_set_order(EMU_FORWARD, 1); /* whatever the environment says */
        emu_set_streams(EMU_LAZY);
        test.function();
        exit(0);
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        text->append(buffer, (size_t)n);
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

/* Prints one line of TAP, and the child's report if asked for. Returns whether all is well. */
static bool report_case(const test_case &test, int number, const char *wanted)
{
    const char *skipped = wanted && !strstr(test.name, wanted) ? "the choice of another" : missing(test.needs);
    if (skipped) {
        printf("ok %d - %s # SKIP needs %s\n", number, test.name, skipped);
        return true;
    }
    std::string text;
    const int status = run_case(test, &text);
    const bool good = test.report ? status != 0 && has_report(text, test.report) : status == 0 && text.empty();
    printf("%s %d - %s\n", good ? "ok" : "not ok", number, test.name);
    if (good && !wanted)
        return true;
    printf("# status %d, expected %s\n", status, test.report ? test.report : "nothing");
    for (size_t at = 0, end; at < text.size(); at = end + 1) {
        end = text.find('\n', at);
        end = end == std::string::npos ? text.size() : end;
        printf("#   %s\n", text.substr(at, end - at).c_str());
    }
    return good;
}

/* An argument chooses the cases whose names contain it, and shows their reports. */
int main(int count, char **arguments)
{
    const test_case *const lists[] = {kernel_cases, stream_cases, error_cases, fault_cases};
    int number = 0;
    bool good = true;
    for (const test_case *list : lists)
        for (const test_case *test = list; test->name; test++)
            good &= report_case(*test, ++number, count > 1 ? arguments[1] : nullptr);
    printf("1..%d\n", number);
    return !good;
}
