/* Orders, counters and injected errors: what a test sets and asks. */
#include "machine.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

static int choice_of(const char *variable, const char *const *names, int count)
{
    const char *value = getenv(variable);
    for (int i = 0; value && i < count; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    return 0;
}

static emu_settings read_environment()
{
    static const char *const orders[] = {"forward", "reverse", "random"};
    static const char *const streams[] = {"lazy", "shuffled", "eager"};
    const char *seed = getenv("EMU_SEED");
    return {(emu_order)choice_of("EMU_ORDER", orders, 3), (emu_streams)choice_of("EMU_STREAMS", streams, 3),
            seed ? strtoull(seed, nullptr, 0) : 1, 1, false};
}

emu_settings emu_set = read_environment();
cudaError_t emu_sticky;

static uint64_t random_state = emu_set.seed;

/* splitmix64 */
uint64_t emu_random(uint64_t below)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

void emu_set_order(emu_order order, uint64_t seed)
{
    emu_call_scope scope;
    emu_set.order = order;
    emu_set.seed = random_state = seed;
}

void emu_set_streams(emu_streams streams)
{
    emu_call_scope scope;
    emu_set.streams = streams;
}

void emu_set_launches_per_thread(bool per_thread)
{
    emu_call_scope scope;
    emu_set.launches_per_thread = per_thread;
}

void emu_set_device_count(int count)
{
    emu_call_scope scope;
    emu_set.device_count = count < 0 ? 0 : count > EMU_MAX_DEVICES ? EMU_MAX_DEVICES : count;
}

/* ---- counters ------------------------------------------------------------------------------------------------ */

static size_t counts[EMU_CALLS];

struct injection {
    size_t left; /* calls until it; 0: none */
    cudaError_t error;
};
static injection injections[EMU_CALLS];

static std::map<std::string, size_t> &launch_counts()
{
    static auto *const all = new std::map<std::string, size_t>;
    return *all;
}

cudaError_t emu_injected(emu_call call)
{
    counts[call]++;
    injection *i = &injections[call];
    if (i->left == 0 || --i->left > 0)
        return cudaSuccess;
    return i->error;
}

void emu_fail(emu_call call, size_t nth, int error)
{
    emu_call_scope scope;
    injections[call] = {nth, (cudaError_t)error};
}

size_t emu_count(emu_call call)
{
    emu_call_scope scope;
    return counts[call];
}

void emu_count_launch(const void *kernel)
{
    launch_counts()[emu_kernel_base_name(kernel)]++;
}

size_t emu_launches(const char *kernel)
{
    emu_call_scope scope;
    size_t sum = 0;
    for (const auto &entry : launch_counts())
        if (!kernel || entry.first == kernel)
            sum += entry.second;
    return sum;
}

void emu_reset_counts(void)
{
    emu_call_scope scope;
    launch_counts().clear();
    memset(counts, 0, sizeof counts);
}

void emu_clear_errors(void)
{
    emu_call_scope scope;
    emu_sticky = cudaSuccess;
    for (injection &i : injections)
        i = {0, cudaSuccess};
}

bool emu_instrumented(void)
{
    return &emu_hooks_are_linked != nullptr;
}
