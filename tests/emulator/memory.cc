/*
 * Device memory: a range of addresses of its own, from which allocations are cut and never given out again, each
 * between guard pages. The host finds its pages closed except during a call that works on them.
 */
#include "machine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(const volatile void *begin, size_t bytes);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void *begin, size_t bytes);
}

static const size_t PAGE = 4096, GUARD = 64 * PAGE, ALIGNMENT = 256;
static const size_t DEVICE_BYTES = (size_t)16 << 30;
static const unsigned char FRESH = 0xff, PATTERN = 0xa5;

static uintptr_t arena_begin, arena_next, arena_end;
static size_t used_bytes[EMU_MAX_DEVICES + 1]; /* the last: pinned host memory */
static bool is_open[EMU_MAX_DEVICES], any_open;

/* The allocations, by address. Never freed: threads may still end, and call, after the program's own destructors. */
static std::vector<emu_allocation *> &allocations()
{
    static auto *const all = new std::vector<emu_allocation *>;
    return *all;
}

static size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

static size_t *used_by(int device)
{
    return &used_bytes[device < 0 ? EMU_MAX_DEVICES : device];
}

static void protect(const emu_allocation *a, int protection)
{
    if (mprotect(reinterpret_cast<void *>(a->page_begin), a->page_end - a->page_begin, protection) != 0)
        emu_report("mprotect of device memory failed");
}

/* ---- the pattern around an allocation ------------------------------------------------------------------------ */

static void poison(uintptr_t begin, uintptr_t end)
{
    if (__asan_poison_memory_region && begin < end)
        __asan_poison_memory_region(reinterpret_cast<void *>(begin), end - begin);
}

static void fill(emu_allocation *a)
{
    memset(reinterpret_cast<void *>(a->page_begin), PATTERN, a->page_end - a->page_begin);
    memset(reinterpret_cast<void *>(a->begin), FRESH, a->end - a->begin);
    poison(a->page_begin, a->begin);
    poison(a->end, a->page_end);
}

/* AddressSanitizer must not see that it is read. */
#if defined(__clang__)
__attribute__((no_sanitize("address")))
#else
__attribute__((no_sanitize_address))
#endif
static uintptr_t
first_damage(uintptr_t begin, uintptr_t end)
{
    for (uintptr_t p = begin; p < end; p++)
        if (*reinterpret_cast<const volatile unsigned char *>(p) != PATTERN)
            return p;
    return 0;
}

static void check_pattern(const emu_allocation *a, const char *after)
{
    uintptr_t p = first_damage(a->end, a->page_end);
    if (p == 0)
        p = first_damage(a->page_begin, a->begin);
    if (p == 0)
        return;
    char text[300];
    emu_describe(p, text, sizeof text);
    emu_report("%s wrote out of bounds: %s was changed", after, text);
}

void emu_check_patterns(const char *after)
{
    for (const emu_allocation *a : allocations())
        if (a->live && a->device >= 0 && is_open[a->device])
            check_pattern(a, after);
}

/* ---- open and closed ----------------------------------------------------------------------------------------- */

/* Opens one device's memory, or that of all (-1), and closes the others'. */
void emu_open_memory(int device)
{
    for (int d = 0; d < EMU_MAX_DEVICES; d++) {
        const bool open = device < 0 || d == device;
        if (open == is_open[d])
            continue;
        for (const emu_allocation *a : allocations())
            if (a->live && a->device == d)
                protect(a, open ? PROT_READ | PROT_WRITE : PROT_NONE);
        is_open[d] = open;
    }
    any_open = true;
}

void emu_close_memory(void)
{
    if (!any_open)
        return;
    any_open = false;
    for (const emu_allocation *a : allocations())
        if (a->live && a->device >= 0 && is_open[a->device])
            protect(a, PROT_NONE);
    memset(is_open, 0, sizeof is_open);
}

/* ---- allocation ---------------------------------------------------------------------------------------------- */

/* Prints what was not freed, and returns how many there are. */
static size_t report_leaks()
{
    emu_call_scope scope;
    size_t count = 0;
    for (const emu_allocation *a : allocations()) {
        if (!a->live)
            continue;
        count++;
        fprintf(stderr, "emulator: leak: %zu bytes of %s memory at %p were not freed\n", a->end - a->begin,
                a->device < 0 ? "pinned host" : "device", reinterpret_cast<void *>(a->begin));
    }
    return count;
}

static void end_of_program()
{
    if (report_leaks() == 0)
        return;
    fflush(nullptr);
    _exit(1);
}

static bool reserve_arena()
{
    for (size_t bytes = (size_t)1 << 42; arena_begin == 0 && bytes >= (size_t)1 << 34; bytes /= 4) {
        void *p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            continue;
        arena_begin = arena_next = reinterpret_cast<uintptr_t>(p);
        arena_end = arena_begin + bytes;
        atexit(end_of_program);
    }
    return arena_begin != 0;
}

/* Allocates what starts aligned to 256 bytes and ends as near as that allows to the guard. */
cudaError_t emu_allocate(size_t bytes, int device, void **out)
{
    *out = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (bytes > DEVICE_BYTES - *used_by(device) || !reserve_arena())
        return cudaErrorMemoryAllocation;
    const size_t mapped = round_up(bytes, PAGE);
    if (arena_end - arena_next < mapped + 2 * GUARD)
        return cudaErrorMemoryAllocation;

    emu_close_memory();
    emu_allocation *a = new emu_allocation();
    a->device = device;
    a->page_begin = arena_next + GUARD;
    a->page_end = a->page_begin + mapped;
    a->begin = a->page_end - round_up(bytes, ALIGNMENT);
    a->end = a->begin + bytes;
    a->live = true;
    protect(a, PROT_READ | PROT_WRITE);
    fill(a);
    if (device >= 0)
        protect(a, PROT_NONE);
    arena_next = a->page_end;
    allocations().push_back(a);
    *used_by(device) += bytes;
    *out = reinterpret_cast<void *>(a->begin);
    return cudaSuccess;
}

cudaError_t emu_release(void *pointer, bool pinned, const char *call)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    emu_allocation *a = emu_find_allocation(address);
    if (!a || address != a->begin)
        emu_report("%s(%p): no allocation begins there", call, pointer);
    if (!a->live)
        emu_report("%s(%p): that memory was freed before (double free)", call, pointer);
    if (pinned != (a->device < 0))
        emu_report("%s(%p): that is %s memory", call, pointer, pinned ? "device" : "pinned host");
    protect(a, PROT_READ | PROT_WRITE);
    check_pattern(a, "something");
    if (__asan_unpoison_memory_region)
        __asan_unpoison_memory_region(reinterpret_cast<void *>(a->page_begin), a->page_end - a->page_begin);
    madvise(reinterpret_cast<void *>(a->page_begin), a->page_end - a->page_begin, MADV_DONTNEED);
    protect(a, PROT_NONE);
    a->live = false;
    emu_spare_cells(a);
    *used_by(a->device) -= a->end - a->begin;
    return cudaSuccess;
}

/* ---- looking up ---------------------------------------------------------------------------------------------- */

bool emu_in_arena(uintptr_t address)
{
    return address >= arena_begin && address < arena_end && arena_begin != 0;
}

/* Finds the allocation whose pages, or the guard on either side of them, hold the address. Kernels go back and forth
 * between a few arrays: the last ones found are tried first. */
emu_allocation *emu_find_allocation(uintptr_t address)
{
    static emu_allocation *recent[4];
    static unsigned next;
    if (!emu_in_arena(address))
        return nullptr;
    for (emu_allocation *a : recent)
        if (a && address >= a->page_begin && address < a->page_end)
            return a;
    const auto &all = allocations();
    auto after = std::upper_bound(all.begin(), all.end(), address,
                                  [](uintptr_t x, const emu_allocation *a) { return x < a->page_begin; });
    const bool before_first = after == all.begin();
    emu_allocation *a = before_first ? nullptr : *(after - 1);
    if ((!a || address >= a->page_end + GUARD / 2) && after != all.end())
        a = *after;
    if (a && address >= a->page_begin && address < a->page_end)
        recent[next++ % 4] = a;
    return a;
}

void emu_describe(uintptr_t address, char *text, size_t size)
{
    const emu_allocation *a = emu_find_allocation(address);
    emu_symbol symbol;
    if (!a && emu_find_symbol(address, &symbol))
        snprintf(text, size, "address %p, in host variable or function %s", reinterpret_cast<void *>(address),
                 symbol.name);
    else if (!a)
        snprintf(text, size, "address %p, which is host memory or none", reinterpret_cast<void *>(address));
    else {
        const char *kind = a->device < 0 ? "pinned host memory" : "device memory";
        const bool before = address < a->begin, inside = !before && address < a->end;
        const size_t distance = before ? a->begin - address : inside ? address - a->begin : address - a->end;
        snprintf(text, size, "byte %zu %s %zu bytes of %s%s at %p (device %d)", distance,
                 before   ? "before the"
                 : inside ? "of the"
                          : "past the end of the",
                 a->end - a->begin, a->live ? "" : "freed ", kind, reinterpret_cast<void *>(a->begin), a->device);
    }
}

void emu_check_range(const void *pointer, size_t bytes, bool device, const char *call, const char *what)
{
    const uintptr_t begin = reinterpret_cast<uintptr_t>(pointer);
    const emu_allocation *a = emu_find_allocation(begin);
    char text[300];
    emu_describe(begin, text, sizeof text);
    if (bytes == 0)
        return;
    if (device && (!a || a->device < 0))
        emu_report("%s: the %s is not device memory (wrong direction?): %s", call, what, text);
    if (!device && a && a->device >= 0)
        emu_report("%s: the %s is not host memory (wrong direction?): %s", call, what, text);
    if (a && (!a->live || begin < a->begin || begin > a->end || bytes > a->end - begin))
        emu_report("%s: %zu bytes of the %s are not all in live memory, beginning at %s", call, bytes, what, text);
}

/* ---- what a test may ask ------------------------------------------------------------------------------------- */

size_t emu_live_allocations(void)
{
    emu_call_scope scope;
    return (size_t)std::count_if(allocations().begin(), allocations().end(),
                                 [](const emu_allocation *a) { return a->live; });
}

size_t emu_live_bytes(void)
{
    size_t sum = 0;
    for (size_t bytes : used_bytes)
        sum += bytes;
    return sum;
}
