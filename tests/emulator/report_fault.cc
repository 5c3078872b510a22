/* Reports of faults: what happened, and which thread of which kernel did it. */
#include "machine.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static const char *const order_names[] = {"forward", "reverse", "random"};
static const char *const stream_names[] = {"lazy", "shuffled", "eager"};

/* Prints where the device is, as lines of text. */
static void print_place(char *text, size_t size)
{
    size_t n = 0;
    text[0] = '\0';
    if (emu_run.kernel) {
        const uint3 &b = emu_here.block;
        const dim3 &g = emu_here.grid_size;
        n += (size_t)snprintf(text, size, "emulator:   in kernel %s, block (%u,%u,%u) of (%u,%u,%u)",
                              emu_kernel_name(emu_run.kernel->function), b.x, b.y, b.z, g.x, g.y, g.z);
        if (emu_run.current && n < size) {
            const uint3 &t = emu_run.current->index;
            const dim3 &s = emu_here.block_size;
            n +=
                (size_t)snprintf(text + n, size - n, ", thread (%u,%u,%u) of (%u,%u,%u)", t.x, t.y, t.z, s.x, s.y, s.z);
        }
        n += n < size ? (size_t)snprintf(text + n, size - n, "\n") : 0;
    }
    if (n < size)
        snprintf(text + n, size - n, "emulator:   EMU_ORDER=%s EMU_STREAMS=%s EMU_SEED=%llu\n",
                 order_names[emu_set.order], stream_names[emu_set.streams], (unsigned long long)emu_set.seed);
}

/* Prints past stdio's buffers and locks: this may be a signal handler. */
static void print(const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        const ssize_t n = write(STDERR_FILENO, text, left);
        if (n <= 0)
            return;
        text += n;
        left -= (size_t)n;
    }
}

void emu_report(const char *format, ...)
{
    static char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print("emulator: ");
    print(text);
    print("\n");
    print_place(text, sizeof text);
    print(text);
    abort();
}

/* The sanitizers' own reports do not know of kernels. */
extern "C" __attribute__((visibility("default"))) void __asan_on_error(void);
void __asan_on_error(void)
{
    static char text[4096];
    print_place(text, sizeof text);
    print(text);
}

extern "C" __attribute__((visibility("default"))) void __ubsan_on_report(void);
void __ubsan_on_report(void)
{
    __asan_on_error();
}

/* ---- faults -------------------------------------------------------------------------------------------------- */

static struct sigaction earlier[2];
static const int signals[2] = {SIGSEGV, SIGBUS};

static const char *access_of(const void *context)
{
#if defined(__x86_64__)
    const auto *c = static_cast<const ucontext_t *>(context);
    return c->uc_mcontext.gregs[REG_ERR] & 2 ? "writes" : "reads";
#else
    (void)context;
    return "touches";
#endif
}

static void report_device_fault(const siginfo_t *info, const void *context)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
#if defined(__x86_64__)
    if (info->si_code == SI_KERNEL)
        emu_report("a misaligned vector access, or an address that no machine has");
#endif
    if (emu_near_any_stack(address))
        emu_report("stack overflow: the thread's local variables take too much");
    char text[400];
    emu_describe(address, text, sizeof text);
    const emu_allocation *a = emu_find_allocation(address);
    if (a && a->live && address >= a->begin && address < a->end)
        emu_report("the kernel runs on device %d and %s %s", emu_run.device, access_of(context), text);
    emu_report("the kernel %s %s", access_of(context), text);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
    if (emu_run.kernel && emu_run.host_thread == emu_host_thread())
        report_device_fault(info, context);
    if (emu_in_arena(address)) {
        char text[400];
        emu_describe(address, text, sizeof text);
        emu_report("host code %s %s", access_of(context), text);
    }
    /* Not ours: it happens again, to whoever handled it before. */
    sigaction(signal, &earlier[signal == SIGBUS], nullptr);
}

static thread_local bool has_stack;

void emu_install_handlers(void)
{
    static const bool once = [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < 2; i++)
            sigaction(signals[i], &action, &earlier[i]);
        return true;
    }();
    (void)once;

    stack_t stack = {};
    if (has_stack)
        return;
    has_stack = true;
    /* AddressSanitizer gives each thread one, which it frees itself. */
    if (sigaltstack(nullptr, &stack) != 0 || !(stack.ss_flags & SS_DISABLE))
        return;
    stack.ss_size = 128 * 1024;
    stack.ss_sp = mmap(nullptr, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack.ss_flags = 0;
    if (stack.ss_sp != MAP_FAILED)
        sigaltstack(&stack, nullptr);
}
