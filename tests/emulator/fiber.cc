/*
 * Fibers: stacks that a host thread changes between. Written in assembly for x86-64, because swapcontext() makes a
 * system call each time and is some fifteen times slower; elsewhere, or with EMU_UCONTEXT, it is used.
 *
 * AddressSanitizer is told of each change. Its functions are weak references, so that the same objects link without.
 */
#include "machine.h"

#include <sys/mman.h>

#if !defined(__x86_64__) || defined(EMU_UCONTEXT)
#include <ucontext.h>
#define EMU_USES_UCONTEXT 1
#else
#define EMU_USES_UCONTEXT 0
#endif

extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void *saved, const void **bottom, size_t *size);
}

/* Room for a deep kernel without optimization, under a sanitizer; pages are taken when first used. */
static const size_t STACK_BYTES = 256 * 1024;
static const size_t GUARD_BYTES = 1024 * 1024; /* more than any one function's locals */

struct emu_context {
#if EMU_USES_UCONTEXT
    ucontext_t registers;
#else
    void *stack_pointer;
#endif
    void *sanitizer;
};

struct emu_fiber {
    emu_context context;
    uintptr_t begin, end; /* of the stack; the guard is before it */
    emu_fiber *next_free;
};

/* The host thread that runs a kernel holds the lock of the runtime. */
static emu_context host;
static const void *host_bottom;
static size_t host_bytes;
static emu_fiber *current;
static emu_fiber *free_fibers;
static std::vector<emu_fiber *> &all_fibers()
{
    static std::vector<emu_fiber *> *const fibers = new std::vector<emu_fiber *>;
    return *fibers;
}

/* ---- changing stacks ----------------------------------------------------------------------------------------- */

#if EMU_USES_UCONTEXT

static void change(emu_context *from, emu_context *to)
{
    swapcontext(&from->registers, &to->registers);
}

static void prepare(emu_fiber *fiber, void (*start)())
{
    getcontext(&fiber->context.registers);
    fiber->context.registers.uc_stack.ss_sp = reinterpret_cast<void *>(fiber->begin);
    fiber->context.registers.uc_stack.ss_size = STACK_BYTES;
    fiber->context.registers.uc_link = nullptr;
    makecontext(&fiber->context.registers, start, 0);
}

#else

/* Saves what a function must preserve on the old stack, and takes it from the new one. */
extern "C" void emu_change_stacks(void **save, void *load);
asm(R"(
    .text
    .globl emu_change_stacks
    .hidden emu_change_stacks
    .type emu_change_stacks, @function
emu_change_stacks:
    .cfi_startproc
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
    .size emu_change_stacks, . - emu_change_stacks
)");

static void change(emu_context *from, emu_context *to)
{
    emu_change_stacks(&from->stack_pointer, to->stack_pointer);
}

/* As if the fiber had called emu_change_stacks() at the beginning of `start`: six registers and the address to return
 * to. The zero above is where a debugger's walk up the stack ends; with it the stack is aligned as after a call. */
static void prepare(emu_fiber *fiber, void (*start)())
{
    void **top = reinterpret_cast<void **>(fiber->end) - 1;
    top[0] = nullptr;
    top[-1] = reinterpret_cast<void *>(start);
    for (int i = 2; i <= 7; i++)
        top[-i] = nullptr;
    fiber->context.stack_pointer = top - 7;
}

#endif

/* ---- fibers -------------------------------------------------------------------------------------------------- */

static void start()
{
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(nullptr, &host_bottom, &host_bytes);
    emu_fiber_body();
}

emu_fiber *emu_take_fiber(void)
{
    if (emu_fiber *fiber = free_fibers) {
        free_fibers = fiber->next_free;
        return fiber;
    }
    void *pages = mmap(nullptr, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages, GUARD_BYTES, PROT_NONE) != 0)
        emu_report("no memory for the stack of a thread");
    emu_fiber *fiber = new emu_fiber();
    fiber->begin = reinterpret_cast<uintptr_t>(pages) + GUARD_BYTES;
    fiber->end = fiber->begin + STACK_BYTES;
    prepare(fiber, start);
    all_fibers().push_back(fiber);
    return fiber;
}

void emu_give_fiber(emu_fiber *fiber)
{
    fiber->next_free = free_fibers;
    free_fibers = fiber;
}

void emu_resume(emu_fiber *fiber)
{
    current = fiber;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&host.sanitizer, reinterpret_cast<void *>(fiber->begin), STACK_BYTES);
    change(&host, &fiber->context);
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(host.sanitizer, nullptr, nullptr);
    current = nullptr;
}

void emu_pause(void)
{
    emu_fiber *fiber = current;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&fiber->context.sanitizer, host_bottom, host_bytes);
    change(&fiber->context, &host);
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(fiber->context.sanitizer, &host_bottom, &host_bytes);
}

bool emu_in_stack(uintptr_t address)
{
    return current && address >= current->begin && address < current->end;
}

bool emu_near_any_stack(uintptr_t address)
{
    for (const emu_fiber *fiber : all_fibers())
        if (address >= fiber->begin - GUARD_BYTES && address < fiber->end)
            return true;
    return false;
}
