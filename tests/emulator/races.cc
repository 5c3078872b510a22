/*
 * What each access is checked against: whose memory it is, and who else used it.
 *
 * For every byte of device and shared memory a cell has the last write and the last reads. Two accesses are in order if
 * they are of one thread; of different launches; of one block with a barrier between; or of one warp with a __syncwarp
 * of both between. Time in a block is a tick, counted up whenever threads have met; an access has the tick at which its
 * thread met others last.
 */
#include "machine.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <sys/mman.h>

struct emu_cell {
    /* A serial number is that of a block, over all launches; 0: none. */
    unsigned write_serial, write_tick;
    unsigned read_serial, read_tick;
    unsigned read_by_blocks; /* first serial number of the last launch in which two blocks read it */
    unsigned read_lanes;     /* of the warp of read_thread; 0: several warps */
    unsigned short write_thread, read_thread;
    bool write_atomic;
};

static std::vector<unsigned> known; /* [thread][lane]: up to which tick it is in order after that lane */
static std::map<uintptr_t, emu_cell *> shared_cells; /* by page of 4096 bytes */
static unsigned last_serial;

static bool recording()
{
    return &emu_hooks_are_linked != nullptr;
}

void emu_begin_races(void)
{
    emu_run.first_serial = last_serial + 1;
    known.assign(recording() ? emu_run.threads.size() * 32 : 0, 0);
}

void emu_begin_block_races(void)
{
    emu_run.serial = ++last_serial;
    std::fill(known.begin(), known.end(), 0u);
}

void emu_join_warp(unsigned first, unsigned mask)
{
    if (known.empty())
        return;
    for (unsigned other = 0; other < 32; other++) {
        unsigned latest = mask >> other & 1u ? emu_run.tick : 0;
        for (unsigned lane = 0; lane < 32; lane++)
            if (mask >> lane & 1u)
                latest = std::max(latest, known[(first + lane) * 32 + other]);
        for (unsigned lane = 0; lane < 32; lane++)
            if (mask >> lane & 1u)
                known[(first + lane) * 32 + other] = latest;
    }
}

/* ---- order --------------------------------------------------------------------------------------------------- */

/* Tells whether what this block's `thread` did at `tick` is before what the current thread does. */
static bool is_before(unsigned thread, unsigned tick)
{
    const unsigned me = emu_number(emu_run.current);
    if (tick < emu_run.epoch || thread == me)
        return true;
    return thread / 32 == me / 32 && tick < known[me * 32 + thread % 32];
}

static bool all_before(const emu_cell *cell)
{
    if (cell->read_tick < emu_run.epoch)
        return true;
    if (cell->read_lanes == 0)
        return false;
    for (unsigned lanes = cell->read_lanes; lanes != 0; lanes &= lanes - 1)
        if (!is_before(cell->read_thread / 32u * 32u + (unsigned)__builtin_ctz(lanes), cell->read_tick))
            return false;
    return true;
}

[[noreturn]] static void report_race(uintptr_t address, unsigned kind, unsigned thread, bool other_block,
                                     const char *other_did)
{
    static const char *const does[] = {"reads", "writes", "changes by an atomic"};
    char text[400], other[100];
    emu_describe_device(address, text, sizeof text);
    if (other_block)
        snprintf(other, sizeof other, "another block");
    else if (thread == ~0u)
        snprintf(other, sizeof other, "threads of several warps of this block");
    else {
        const uint3 &t = emu_run.threads[thread].index;
        snprintf(other, sizeof other, "thread (%u,%u,%u) of this block", t.x, t.y, t.z);
    }
    emu_report("race: this thread %s %s, which %s %s, with nothing that puts the two in order", does[kind], text, other,
               other_did);
}

static void check_cell(const emu_cell *cell, uintptr_t address, unsigned kind, bool shared)
{
    const unsigned first = shared ? emu_run.serial : emu_run.first_serial;
    if (cell->write_serial >= first && !(kind == EMU_ATOMIC && cell->write_atomic)) {
        const bool other_block = cell->write_serial != emu_run.serial;
        if (other_block || !is_before(cell->write_thread, cell->write_tick))
            report_race(address, kind, cell->write_thread, other_block, "wrote");
    }
    if (kind == EMU_READ)
        return;
    if (!shared &&
        (cell->read_by_blocks == first || (cell->read_serial >= first && cell->read_serial != emu_run.serial)))
        report_race(address, kind, 0, true, "read");
    if (cell->read_serial == emu_run.serial && !all_before(cell))
        report_race(address, kind, cell->read_lanes ? cell->read_thread : ~0u, false, "read");
}

/* ---- recording ----------------------------------------------------------------------------------------------- */

static void record_read(emu_cell *cell, bool shared)
{
    const unsigned me = emu_number(emu_run.current);
    const bool in_launch = !shared && cell->read_serial >= emu_run.first_serial;
    if (in_launch && cell->read_serial != emu_run.serial)
        cell->read_by_blocks = emu_run.first_serial;
    if (cell->read_serial != emu_run.serial || all_before(cell)) {
        cell->read_serial = emu_run.serial;
        cell->read_lanes = 1u << me % 32;
    } else {
        const bool same_warp = cell->read_lanes != 0 && cell->read_thread / 32u == me / 32;
        cell->read_lanes = same_warp ? cell->read_lanes | 1u << me % 32 : 0;
    }
    cell->read_tick = emu_run.current->tick;
    cell->read_thread = (unsigned short)me;
}

static void record_write(emu_cell *cell, unsigned kind)
{
    cell->write_serial = emu_run.serial;
    cell->write_tick = emu_run.current->tick;
    cell->write_thread = (unsigned short)emu_number(emu_run.current);
    cell->write_atomic = kind == EMU_ATOMIC;
}

/* How many cells are made for so many bytes: a power of two, so that others can use them later. */
static size_t round_up(size_t bytes)
{
    size_t count = 4096;
    while (count < bytes)
        count *= 2;
    return count;
}

/* Cells that are free, by how many lie together. Never freed, as the allocations. */
static std::vector<emu_cell *> &spare_cells(size_t count)
{
    static auto *const all = new std::map<size_t, std::vector<emu_cell *>>;
    return (*all)[count];
}

/* Keeps the cells of memory that was freed: what is in them is of earlier launches, and before all that is to come. */
void emu_spare_cells(emu_allocation *a)
{
    if (a->cells)
        spare_cells(round_up(a->end - a->begin)).push_back(a->cells);
    a->cells = nullptr;
}

/* Takes spare cells, or cuts new ones from large pieces of memory, in large pages where these can be had: with all the
 * small ones the system would be busy for longer than the kernels. */
static emu_cell *make_cells(size_t bytes)
{
    const size_t count = round_up(bytes);
    std::vector<emu_cell *> &spare = spare_cells(count);
    if (!spare.empty()) {
        emu_cell *cells = spare.back();
        spare.pop_back();
        return cells;
    }
    static const size_t PIECE = (size_t)1 << 28;
    static emu_cell *next;
    static size_t left;
    if (count > left) {
        left = std::max(count, PIECE / sizeof(emu_cell));
        void *piece = mmap(nullptr, left * sizeof(emu_cell), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (piece == MAP_FAILED)
            emu_report("no memory to record %zu bytes of the device", bytes);
        madvise(piece, left * sizeof(emu_cell), MADV_HUGEPAGE);
        next = static_cast<emu_cell *>(piece);
    }
    left -= count;
    next += count;
    return next - count;
}

static emu_cell *cell_of(uintptr_t address, emu_allocation *a)
{
    if (a) {
        if (!a->cells)
            a->cells = make_cells(a->end - a->begin);
        return a->cells + (address - a->begin);
    }
    static uintptr_t recent_page;
    static emu_cell *recent;
    if (address / 4096 != recent_page || !recent) {
        recent_page = address / 4096;
        emu_cell *&cells = shared_cells[recent_page];
        if (!cells)
            cells = make_cells(4096);
        recent = cells;
    }
    return recent + address % 4096;
}

/* Records an access to memory that it may touch; `a` NULL: shared. */
static void record(uintptr_t address, size_t bytes, unsigned kind, emu_allocation *a)
{
    for (size_t i = 0; i < bytes; i++) {
        emu_cell *cell = cell_of(address + i, a);
        check_cell(cell, address + i, kind, !a);
        if (kind == EMU_READ)
            record_read(cell, !a);
        else
            record_write(cell, kind);
    }
}

/* ---- whose memory it is -------------------------------------------------------------------------------------- */

static const emu_symbol *find_static(uintptr_t address)
{
    const auto &statics = emu_run.arrays->statics;
    auto after = std::upper_bound(statics.begin(), statics.end(), address,
                                  [](uintptr_t x, const emu_symbol &s) { return x < s.begin; });
    return after == statics.begin() ? nullptr : &*(after - 1);
}

static bool in_dynamic(uintptr_t address)
{
    return address >= emu_run.dynamic_begin && address < emu_run.dynamic_begin + 227 * 1024;
}

static bool in_arrays(uintptr_t address)
{
    return address >= emu_run.arrays->begin && address < emu_run.arrays->end;
}

void emu_describe_device(uintptr_t address, char *text, size_t size)
{
    const emu_symbol *array = find_static(address);
    if (in_dynamic(address))
        snprintf(text, size, "byte %zu of %zu bytes of dynamic shared memory",
                 (size_t)(address - emu_run.dynamic_begin), emu_run.kernel->dynamic_bytes);
    else if (in_arrays(address) && array)
        snprintf(text, size, "byte %zu of %zu bytes of shared memory %s", (size_t)(address - array->begin),
                 (size_t)(array->end - array->begin), array->name);
    else if (emu_near_any_stack(address))
        snprintf(text, size, "%p, a local variable of another thread", reinterpret_cast<void *>(address));
    else
        emu_describe(address, text, size);
}

[[noreturn]] static void report_access(uintptr_t address, size_t bytes, unsigned kind)
{
    static const char *const does[] = {"reads", "writes", "changes by an atomic"};
    char text[400];
    emu_describe_device(address, text, sizeof text);
    emu_report("the kernel %s %zu bytes at %s", does[kind], bytes, text);
}

/* Tells whether memory is not recorded: the thread's own stack, the arguments, threadIdx and the like, constants. */
static bool is_private(uintptr_t address, size_t bytes, unsigned kind)
{
    if (emu_in_stack(address))
        return true;
    if (kind != EMU_READ)
        return false;
    const uintptr_t here = reinterpret_cast<uintptr_t>(&emu_here);
    const uintptr_t closure = reinterpret_cast<uintptr_t>(emu_run.kernel->closure.get());
    return (address >= here && address + bytes <= here + sizeof emu_here) ||
           (address >= closure && address + bytes <= closure + emu_run.kernel->closure_bytes) ||
           (!emu_in_arena(address) && emu_is_constant(address));
}

static void check_shared(uintptr_t address, size_t bytes, unsigned kind)
{
    if (in_dynamic(address)) {
        if (address + bytes > emu_run.dynamic_end)
            report_access(address, bytes, kind);
    } else if (!emu_run.arrays->statics.empty()) {
        const emu_symbol *array = find_static(address);
        if (!array || address + bytes > array->end)
            report_access(address, bytes, kind);
    }
    if (recording())
        record(address, bytes, kind, nullptr);
}

void emu_access(const volatile void *pointer, size_t bytes, size_t alignment, unsigned kind)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (!emu_run.current || emu_run.host_thread != emu_host_thread())
        return;
    if (address % alignment != 0) {
        char text[400];
        emu_describe_device(address, text, sizeof text);
        emu_report("misaligned access: %zu bytes that must be aligned to %zu, at %s", bytes, alignment, text);
    }
    if (emu_allocation *a = emu_find_allocation(address)) {
        if (!a->live || address < a->begin || address + bytes > a->end ||
            (a->device >= 0 && a->device != emu_run.device))
            report_access(address, bytes, kind);
        if (recording())
            record(address, bytes, kind, a);
    } else if (in_dynamic(address) || in_arrays(address)) {
        check_shared(address, bytes, kind);
    } else if (!is_private(address, bytes, kind)) {
        report_access(address, bytes, kind);
    }
}

bool emu_is_global(const volatile void *pointer)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    const bool shared = emu_run.current && (in_dynamic(address) || in_arrays(address));
    return !shared && !emu_in_stack(address);
}

void emu_assume(bool holds, const char *text, const char *file, int line)
{
    if (!holds)
        emu_report("__builtin_assume(%s) is false at %s:%d", text, file, line);
}

void emu_trap(const char *text)
{
    emu_report("%s", text);
}
