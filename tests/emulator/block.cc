/*
 * Runs a grid: its blocks one after another, a block's threads in turns.
 *
 * A thread runs until it waits for others or ends. The fiber on which it ended goes on with the next thread that has
 * not begun, so that a kernel that never waits needs one fiber and no change of stacks.
 */
#include "machine.h"

#include <cstring>
#include <numeric>
#include <utility>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include <cfenv>

/* As much as the largest GPU gives a block. */
static const size_t DYNAMIC_BYTES = 227 * 1024;
extern thread_local unsigned char dynamic_shared[DYNAMIC_BYTES];
alignas(1024) thread_local unsigned char dynamic_shared[DYNAMIC_BYTES];

emu_position emu_here;
emu_running emu_run;

static std::vector<unsigned> turns; /* the order of threads in this round */
static size_t turn;                 /* how far it has come */
static unsigned waiting_at_barrier;

/* ---- orders -------------------------------------------------------------------------------------------------- */

static void shuffle(std::vector<unsigned> *numbers)
{
    for (size_t i = numbers->size(); i > 1; i--)
        std::swap((*numbers)[i - 1], (*numbers)[emu_random(i)]);
}

static void put_in_order(std::vector<unsigned> *numbers, size_t count)
{
    numbers->resize(count);
    std::iota(numbers->begin(), numbers->end(), 0u);
    if (emu_set.order == EMU_REVERSE)
        for (size_t i = 0; i < count / 2; i++)
            std::swap((*numbers)[i], (*numbers)[count - 1 - i]);
    if (emu_set.order == EMU_RANDOM)
        shuffle(numbers);
}

/* ---- meetings ------------------------------------------------------------------------------------------------ */

static const char *const meeting_names[] = {"__syncthreads", "__syncwarp", "a shuffle", "a vote"};

static const char *place_of(const emu_collective &c)
{
    static char text[4][200];
    static unsigned next;
    char *out = text[next++ % 4];
    const char *slash = c.file ? strrchr(c.file, '/') : nullptr;
    snprintf(out, sizeof text[0], "%s at %s:%d", meeting_names[c.kind], slash ? slash + 1 : c.file, c.line);
    return out;
}

static unsigned warp_of(const emu_thread *thread)
{
    return emu_number(thread) / 32;
}

static void go_on(emu_thread *thread)
{
    thread->state = EMU_READY;
    thread->tick = emu_run.tick;
}

/* Ends a meeting, when all lanes of the mask are here: gives each its result. */
static void end_warp_meeting(const emu_collective &c, unsigned first)
{
    bool all = true;
    for (unsigned lane = 0; lane < 32; lane++)
        all &= !(c.mask >> lane & 1u) || emu_run.threads[first + lane].wait.value;
    emu_run.tick++;
    if (c.kind == EMU_SYNCWARP)
        emu_join_warp(first, c.mask);
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!(c.mask >> lane & 1u))
            continue;
        emu_thread *thread = &emu_run.threads[first + lane];
        const unsigned source = lane ^ (unsigned)thread->wait.distance;
        if (source > 31 || !(c.mask >> source & 1u))
            emu_report("%s: lane %u reads lane %u, which is not in the mask 0x%08x", place_of(thread->wait), lane,
                       source, c.mask);
        thread->result = c.kind == EMU_VOTE ? all : emu_run.threads[first + source].wait.value;
    }
    for (unsigned lane = 0; lane < 32; lane++)
        if (c.mask >> lane & 1u)
            go_on(&emu_run.threads[first + lane]);
}

static void come_to_warp(emu_thread *thread)
{
    const emu_collective &c = thread->wait;
    const unsigned first = warp_of(thread) * 32, lane = emu_number(thread) % 32;
    if (!(c.mask >> lane & 1u))
        emu_report("%s: the mask 0x%08x does not name the calling lane %u", place_of(c), c.mask, lane);
    thread->state = EMU_AT_WARP;
    for (unsigned other = 0; other < 32; other++) {
        if (!(c.mask >> other & 1u))
            continue;
        if (first + other >= emu_run.threads.size())
            emu_report("%s: the mask 0x%08x names lane %u, which this block does not have", place_of(c), c.mask, other);
        const emu_thread &t = emu_run.threads[first + other];
        if (t.state == EMU_DONE)
            emu_report("%s: the mask 0x%08x names lane %u, which has exited", place_of(c), c.mask, other);
        if (t.state != EMU_AT_WARP || t.wait.kind != c.kind || t.wait.mask != c.mask)
            return;
    }
    end_warp_meeting(c, first);
}

static void come_to_barrier(emu_thread *thread)
{
    thread->state = EMU_AT_BARRIER;
    if (++waiting_at_barrier < emu_run.threads.size())
        return;
    for (const emu_thread &t : emu_run.threads)
        if (t.wait.line != thread->wait.line || strcmp(t.wait.file, thread->wait.file) != 0)
            emu_report("divergent barrier: thread %u waits in %s, thread %u in %s", emu_number(&t), place_of(t.wait),
                       emu_number(thread), place_of(thread->wait));
    waiting_at_barrier = 0;
    emu_run.epoch = ++emu_run.tick;
    for (emu_thread &t : emu_run.threads)
        go_on(&t);
}

uint64_t emu_meet(const emu_collective &collective)
{
    emu_thread *thread = emu_run.current;
    if (!thread)
        emu_report("%s outside a kernel", place_of(collective));
    emu_run.meeting = true;
    thread->wait = collective;
    if (collective.kind == EMU_BARRIER)
        come_to_barrier(thread);
    else
        come_to_warp(thread);
    emu_run.meeting = false;
    /* Whoever came last gives way too: the order decides who is first to go on. */
    emu_pause();
    emu_here.thread = thread->index;
    return thread->result;
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

void emu_fiber_body(void)
{
    for (;;) {
        for (;;) {
            emu_thread *thread = emu_run.current;
            emu_here.thread = thread->index;
            emu_run.kernel->run(emu_run.kernel->closure.get());
            thread->state = EMU_DONE;
            emu_fiber *fiber = thread->fiber;
            thread->fiber = nullptr;
            if (turn + 1 == turns.size() || emu_run.threads[turns[turn + 1]].state != EMU_NEW)
                break;
            emu_run.current = &emu_run.threads[turns[++turn]];
            emu_run.current->fiber = fiber;
        }
        emu_pause();
    }
}

/* Reports, when nobody can go on, who waits for whom. */
[[noreturn]] static void report_standstill()
{
    for (emu_thread &t : emu_run.threads) {
        if (t.state != EMU_AT_WARP)
            continue;
        emu_run.current = &t;
        const unsigned first = warp_of(&t) * 32;
        for (unsigned lane = 0; lane < 32; lane++) {
            const emu_thread *other = t.wait.mask >> lane & 1u ? &emu_run.threads[first + lane] : nullptr;
            if (other && other->state == EMU_DONE)
                emu_report("%s waits for ever: the mask 0x%08x names lane %u, which has exited", place_of(t.wait),
                           t.wait.mask, lane);
            if (other && (other->wait.kind != t.wait.kind || other->wait.mask != t.wait.mask))
                emu_report("%s waits for ever: the mask 0x%08x names lane %u, which waits in %s with mask 0x%08x",
                           place_of(t.wait), t.wait.mask, lane, place_of(other->wait), other->wait.mask);
        }
    }
    for (emu_thread &t : emu_run.threads)
        if (t.state == EMU_AT_BARRIER)
            for (const emu_thread &other : emu_run.threads)
                if (other.state == EMU_DONE) {
                    emu_run.current = &t;
                    emu_report("divergent barrier: %s waits for thread %u, which has exited", place_of(t.wait),
                               emu_number(&other));
                }
    emu_report("threads wait for each other for ever");
}

/* Lets each thread that can go on do so once. Returns how many have ended, and whether any could. */
static size_t run_round(bool *moved)
{
    if (emu_set.order == EMU_RANDOM)
        shuffle(&turns);
    for (turn = 0; turn < turns.size(); turn++) {
        emu_thread *thread = &emu_run.threads[turns[turn]];
        if (thread->state != EMU_NEW && thread->state != EMU_READY)
            continue;
        *moved = true;
        emu_fiber *fiber = thread->fiber ? thread->fiber : emu_take_fiber();
        thread->fiber = fiber;
        emu_run.current = thread;
        emu_resume(fiber);
        if (emu_run.current->state == EMU_DONE)
            emu_give_fiber(fiber);
        emu_run.current = nullptr;
    }
    size_t done = 0;
    for (const emu_thread &t : emu_run.threads)
        done += t.state == EMU_DONE;
    return done;
}

static void begin_block(uint64_t number)
{
    const dim3 &grid = emu_run.kernel->grid;
    emu_here.block.x = (unsigned)(number % grid.x);
    emu_here.block.y = (unsigned)(number / grid.x % grid.y);
    emu_here.block.z = (unsigned)(number / grid.x / grid.y);
    for (const emu_symbol &array : emu_run.arrays->statics)
        memset(reinterpret_cast<void *>(array.begin), 0xff, array.end - array.begin);
    memset(reinterpret_cast<void *>(emu_run.dynamic_begin), 0xff, emu_run.kernel->dynamic_bytes);
    for (emu_thread &t : emu_run.threads) {
        t.state = EMU_NEW;
        t.tick = 0;
    }
    emu_run.tick = emu_run.epoch = 0;
    emu_begin_block_races();
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

static void run_blocks()
{
    const dim3 &grid = emu_run.kernel->grid;
    const uint64_t count = (uint64_t)grid.x * grid.y * grid.z;
    std::vector<unsigned> blocks;
    if (emu_set.order == EMU_RANDOM)
        put_in_order(&blocks, count);
    for (uint64_t i = 0; i < count; i++) {
        begin_block(!blocks.empty() ? blocks[i] : emu_set.order == EMU_REVERSE ? count - 1 - i : i);
        for (bool moved = true; moved;) {
            moved = false;
            if (run_round(&moved) == emu_run.threads.size())
                break;
            if (!moved)
                report_standstill();
        }
    }
}

static void place_threads(const emu_kernel *kernel)
{
    const dim3 &size = kernel->block;
    emu_run.threads.assign((size_t)size.x * size.y * size.z, emu_thread());
    size_t i = 0;
    for (unsigned z = 0; z < size.z; z++)
        for (unsigned y = 0; y < size.y; y++)
            for (unsigned x = 0; x < size.x; x++)
                emu_run.threads[i++].index = uint3{x, y, z};
    put_in_order(&turns, emu_run.threads.size());
    waiting_at_barrier = 0;
}

/* Runs a kernel. A GPU has no modes: rounding is to nearest, subnormals are kept, whatever the host thread does. */
void emu_run_kernel(const emu_kernel *kernel, int device)
{
    fenv_t modes;
    fegetenv(&modes);
    fesetenv(FE_DFL_ENV);
    emu_run.kernel = kernel;
    emu_run.host_thread = emu_host_thread();
    emu_run.device = device;
    emu_run.arrays = emu_shared_arrays(kernel->function);
    emu_run.dynamic_begin = reinterpret_cast<uintptr_t>(dynamic_shared);
    emu_run.dynamic_end = emu_run.dynamic_begin + kernel->dynamic_bytes;
    emu_here.block_size = kernel->block;
    emu_here.grid_size = kernel->grid;
    place_threads(kernel);
    emu_open_memory(device);
    emu_begin_races();
    run_blocks();
    emu_run.kernel = nullptr;
    emu_check_patterns(emu_kernel_name(kernel->function));
    fesetenv(&modes);
}
