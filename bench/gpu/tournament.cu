/*
 * Races variants of the step's kernels in turns with the library's own and with a copy of as many bytes, after it has
 * compared their bits:
 *   fusedopt_tournament [ELEMENTS [ROUNDS [EXCEPT...]]]
 * ROUNDS 0 launches each variant once, for a profiler. EXCEPT leaves one out: bf16/bf16/q8:bins-20-warps.
 *
 * Each format has a process of its own. A kernel that fails, or is not done within 15 seconds, is named, and the format
 * begins anew without it. Exits 1 if there was one, or if bits differed.
 */
#include "../../kernels/state.h"
#include "data.cuh"
#include "variants/variant.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vector>

/* All variants, format by format: bits are compared with those of a format's first. */
static const variant *const variants[] = {
    &landed_bf16_q8,  &bins_20_bf16_q8,     &bins_16_bf16_q8, &bins_prefetch_bf16_q8,
    &landed_bf16,     &persistent_bf16,     &landed_f32,      &tile_a_warp_f32,
    &persistent_f32,  &two_tiles_f32,       &chunks_f32,      &tile_a_warp_streaming_f32,
    &landed_bf16_f32, &persistent_bf16_f32, &landed_f32_q8,   &bins_20_f32_q8,
    &bins_16_f32_q8,
};

struct entry {
    const variant *v;
    bool out = false;
    std::string note, differs; /* on which data its bits do */
    std::vector<double> ms;
};

static const char *name_of(fopt_format format)
{
    return format == FOPT_F32 ? "f32" : format == FOPT_BF16 ? "bf16" : "q8";
}

static std::string formats_of(const variant *v)
{
    return std::string(name_of(v->param)) + "/" + name_of(v->grad) + "/" + name_of(v->state);
}

static double bytes_of(fopt_format format)
{
    return format == FOPT_F32 ? 4 : format == FOPT_BF16 ? 2 : 1 + 4.0 / FOPT_I_TILE;
}

/* Returns the bytes that a step moves for each element. */
static double moved_by(const variant *v)
{
    return 2 * bytes_of(v->param) + bytes_of(v->grad) + 4 * bytes_of(v->state);
}

/* ---- which kernel is at work, shared with the process that watches -------------------------------------------- */

enum { NOBODY = -1, LIMIT_SECONDS = 15 };

struct watch {
    volatile int who;       /* index of an entry */
    volatile unsigned turn; /* changes whenever another begins */
    volatile bool differs;  /* some bits */
};
static watch *watched;

static void now(int who)
{
    watched->who = who;
    watched->turn = watched->turn + 1;
}

/* Ends the process after an error, be a kernel to blame or not; if one is, the next process goes without it. */
#define CHECK(call) check((call), #call)
static void check(cudaError_t error, const char *call)
{
    if (error == cudaSuccess)
        return;
    printf("%s: %s\n", call, cudaGetErrorString(error));
    fflush(stdout);
    _exit(3);
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

enum { MOST_TENSORS = 13, ARRAYS = 4, SEED = 5, STEP = 1 /* where roots count most */ };

struct arena {
    uint64_t array_bytes, evicted_bytes, copied_bytes;
    unsigned char *array[ARRAYS]; /* by role, end to end */
    unsigned char *copy;          /* of the beginning of the arrays */
    float4 *others;               /* to evict with */
    unsigned long long *sums;
    fopt_i_cuda_tables tables = {};
    std::vector<void *> allocations;

    template <class T> T *allocate(uint64_t bytes)
    {
        void *memory = NULL;
        CHECK(cudaMalloc(&memory, bytes));
        CHECK(cudaMemset(memory, 0, bytes));
        allocations.push_back(memory);
        return (T *)memory;
    }

    arena(uint64_t elements, uint64_t bytes_to_copy) : copied_bytes(bytes_to_copy)
    {
        const uint64_t tiles = elements / FOPT_I_TILE;
        array_bytes = elements * 4 + (tiles * 4 + 4095) / 4096 * 4096;
        unsigned char *all = allocate<unsigned char>(ARRAYS * array_bytes);
        for (int k = 0; k < ARRAYS; k++)
            array[k] = all + (uint64_t)k * array_bytes;
        copy = allocate<unsigned char>(copied_bytes);
        evicted_bytes = std::min<uint64_t>((uint64_t)128 << 20, 32 * elements);
        others = allocate<float4>(evicted_bytes);
        sums = allocate<unsigned long long>(ARRAYS * sizeof *sums);
        tables.records = allocate<fopt_i_record>(MOST_TENSORS * sizeof(fopt_i_record));
        tables.groups = allocate<fopt_i_group>(sizeof(fopt_i_group));
        tables.coefs = allocate<fopt_i_coef>(MOST_TENSORS * sizeof(fopt_i_coef));
        tables.random_keys = allocate<fopt_i_random_key>(MOST_TENSORS * sizeof(fopt_i_random_key));
        tables.tile_records = allocate<uint32_t>(tiles * sizeof(uint32_t));
    }
    ~arena()
    {
        for (void *memory : allocations)
            CHECK(cudaFree(memory));
    }
    arena(const arena &) = delete;
    arena &operator=(const arena &) = delete;
};

/* Launches a kernel of data.cuh, with a thread for each of `count` while these are not too many. */
template <class... P, class... A> static void on_each(uint64_t count, void (*kernel)(P...), A... arguments)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)std::min<uint64_t>(2048, (count + THREADS - 1) / THREADS));
    config.blockDim = dim3(THREADS);
    CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
}

/* ---- tensors and their data ----------------------------------------------------------------------------------- */

/* Lays tensor `number` of `several` out: its elements begin at `begin` of the set. */
static fopt_i_record record_of(const arena &a, const variant *v, uint64_t begin, uint64_t count, int number,
                               bool several)
{
    fopt_i_record r = {};
    const bool misaligned = several && number % 3 == 1, no_grad = several && number % 5 == 4;
    r.param = a.array[PARAM] + 4 * begin + (misaligned ? (v->param == FOPT_F32 ? 4 : 2) : 0);
    r.grad = no_grad ? NULL : a.array[GRAD] + 4 * begin;
    r.state[FOPT_FIRST_MOMENT] = a.array[FIRST] + 4 * begin;
    r.state[FOPT_SECOND_MOMENT] = a.array[SECOND] + 4 * begin;
    for (unsigned kind = FOPT_FIRST_MOMENT; v->state == FOPT_Q8 && kind <= FOPT_SECOND_MOMENT; kind++)
        r.absmax[kind] = (float *)((char *)r.state[kind] + fopt_i_padded(count));
    r.count = count;
    r.id = (uint64_t)number + 1;
    r.step = STEP;
    r.param_format = (uint8_t)v->param;
    r.grad_format = (uint8_t)v->grad;
    return r;
}

/* Cuts the elements: one tensor has all; of several each but the last ends with a partial tile. */
static std::vector<fopt_i_record> records_of(const arena &a, const variant *v, const data_set &set, uint64_t elements)
{
    if (!set.tensors)
        return {record_of(a, v, 0, elements, 0, false)};
    std::vector<fopt_i_record> records;
    const uint64_t room = elements / MOST_TENSORS / FOPT_I_TILE * FOPT_I_TILE;
    for (int k = 0; k < MOST_TENSORS; k++) /* a tile is left free, since a misaligned one begins later */
        records.push_back(record_of(a, v, (uint64_t)k * room, room - FOPT_I_TILE - (uint64_t)k * 37 % 251, k, true));
    return records;
}

static void fill_state(const data_set &set, role r, fopt_format format, const fopt_i_record &record, uint64_t begin)
{
    const unsigned kind = r == FIRST ? FOPT_FIRST_MOMENT : FOPT_SECOND_MOMENT;
    const uint64_t tiles = fopt_i_tile_count(record.count);
    on_each(record.count, fill, set, r, (unsigned)format, record.state[kind], begin, record.count);
    if (format == FOPT_Q8)
        on_each(tiles, fill_absmax, set, r, record.absmax[kind], begin / FOPT_I_TILE, tiles);
}

static void put_group(const arena &a, const variant *v, const data_set &set, size_t records)
{
    fopt_i_group group = {};
    group.value.size = sizeof group.value;
    group.value.rule = FOPT_ADAMW;
    fopt_i_adamw_defaults(&group.value);
    group.value.lr = set.lr;
    group.value.eps = set.eps;
    group.value.weight_decay = set.weight_decay;
    group.value.state_format[FOPT_FIRST_MOMENT] = group.value.state_format[FOPT_SECOND_MOMENT] = v->state;
    fopt_i_coef coef = {};
    const fopt_i_inputs inputs = {&group.value, STEP, group.value.lr};
    fopt_i_coefficients(&inputs, &coef);
    CHECK(cudaMemcpy(a.tables.groups, &group, sizeof group, cudaMemcpyHostToDevice));
    for (size_t k = 0; k < records; k++)
        CHECK(cudaMemcpy(a.tables.coefs + k, &coef, sizeof coef, cudaMemcpyHostToDevice));
}

static void put_keys(const arena &a, const std::vector<fopt_i_record> &records)
{
    std::vector<fopt_i_random_key> keys(records.size());
    for (size_t k = 0; k < records.size(); k++)
        keys[k] = fopt_i_random_key_of(SEED, records[k].id, STEP);
    CHECK(cudaMemcpy(a.tables.random_keys, keys.data(), keys.size() * sizeof keys[0], cudaMemcpyHostToDevice));
}

static void put_tiles(arena &a, std::vector<fopt_i_record> &records)
{
    std::vector<uint32_t> tiles;
    for (size_t k = 0; k < records.size(); k++) {
        records[k].first_tile = tiles.size();
        tiles.resize(tiles.size() + fopt_i_tile_count(records[k].count), (uint32_t)k);
    }
    a.tables.record_count = records.size();
    a.tables.tile_count = tiles.size();
    CHECK(cudaMemcpy(a.tables.records, records.data(), records.size() * sizeof records[0], cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(a.tables.tile_records, tiles.data(), tiles.size() * sizeof tiles[0], cudaMemcpyHostToDevice));
}

static void fill_arrays(const variant *v, const data_set &set, const std::vector<fopt_i_record> &records)
{
    uint64_t begin = 0;
    for (const fopt_i_record &r : records) {
        on_each(r.count, fill, set, PARAM, (unsigned)v->param, r.param, begin, r.count);
        if (r.grad)
            on_each(r.count, fill, set, GRAD, (unsigned)v->grad, r.grad, begin, r.count);
        fill_state(set, FIRST, v->state, r, begin);
        fill_state(set, SECOND, v->state, r, begin);
        begin += fopt_i_tile_count(r.count) * FOPT_I_TILE;
    }
    CHECK(cudaDeviceSynchronize());
}

static void set_up(arena &a, const variant *v, const data_set &set, uint64_t elements)
{
    std::vector<fopt_i_record> records = records_of(a, v, set, elements);
    put_group(a, v, set, records.size());
    put_tiles(a, records);
    put_keys(a, records);
    fill_arrays(v, set, records);
}

/* ---- bits ----------------------------------------------------------------------------------------------------- */

/* The elements that the sets after the first are compared on, at most. */
static const uint64_t MOST_COMPARED = (uint64_t)1 << 24;

typedef std::vector<unsigned long long> digest;

/* Makes three steps and returns a hash of each array, or nothing if a launch is refused. */
static digest digest_of(arena &a, entry &e, const data_set &set, uint64_t elements)
{
    digest result(ARRAYS);
    const uint64_t bytes = std::min(a.array_bytes, elements * 4 + 4096);
    for (unsigned char *array : a.array)
        CHECK(cudaMemset(array, 0, bytes));
    set_up(a, e.v, set, elements);
    for (int step = 0; step < 3; step++)
        if (const cudaError_t error = e.v->launch(a.tables)) {
            e.out = true, e.note = cudaGetErrorString(error);
            cudaGetLastError();
            return {};
        }
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemset(a.sums, 0, ARRAYS * sizeof *a.sums));
    for (int k = 0; k < ARRAYS; k++)
        on_each(bytes / 4, hash, (const uint32_t *)a.array[k], bytes / 4, a.sums + k);
    CHECK(cudaMemcpy(result.data(), a.sums, ARRAYS * sizeof *a.sums, cudaMemcpyDeviceToHost));
    return result;
}

/* Says where in `e` bits differ from those wanted. */
static void compare(entry &e, const data_set &set, const digest &found, const digest &wanted)
{
    static const char *const names[ARRAYS] = {"parameters", "gradients", "first moments", "second moments"};
    for (int k = 0; k < ARRAYS; k++)
        if (found[k] != wanted[k])
            e.differs += (e.differs.empty() ? "" : ", ") + std::string(set.name) + " " + names[k];
    watched->differs = watched->differs || found != wanted;
}

static void compare_all(arena &a, std::vector<entry> &entries, uint64_t elements)
{
    for (const data_set &set : data_sets) {
        const uint64_t count = &set == data_sets ? elements : std::min(elements, MOST_COMPARED);
        digest wanted;
        for (size_t i = 0; i < entries.size(); i++) {
            if (entries[i].out)
                continue;
            now((int)i);
            const digest found = digest_of(a, entries[i], set, count);
            if (i == 0)
                wanted = found;
            else if (!found.empty() && !wanted.empty())
                compare(entries[i], set, found, wanted);
        }
    }
    now(NOBODY);
}

/* ---- times ---------------------------------------------------------------------------------------------------- */

struct stopwatch {
    cudaEvent_t begin, end;

    stopwatch()
    {
        CHECK(cudaEventCreate(&begin));
        CHECK(cudaEventCreate(&end));
    }
    ~stopwatch()
    {
        CHECK(cudaEventDestroy(begin));
        CHECK(cudaEventDestroy(end));
    }
    stopwatch(const stopwatch &) = delete;
    stopwatch &operator=(const stopwatch &) = delete;

    template <class Work> double ms(const arena &a, Work work) const
    {
        float elapsed = 0;
        on_each(a.evicted_bytes / sizeof(float4), evict, a.others, a.evicted_bytes / sizeof(float4));
        CHECK(cudaEventRecord(begin));
        CHECK(work());
        CHECK(cudaEventRecord(end));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaEventElapsedTime(&elapsed, begin, end));
        return elapsed;
    }
};

/* Times all in turns that rotate, and after each round a copy of as many bytes; returns the copy's times. */
static std::vector<double> time_all(arena &a, std::vector<entry> &entries, uint64_t elements, int rounds)
{
    const int warm_up = 2;
    const stopwatch watch;
    std::vector<double> copies;
    set_up(a, entries[0].v, data_sets[0], elements);
    for (int round = 0; round < rounds + warm_up; round++) {
        for (size_t turn = 0; turn < entries.size(); turn++) {
            const size_t who = (turn + (size_t)round) % entries.size();
            if (entries[who].out)
                continue;
            now((int)who);
            const double ms = watch.ms(a, [&] { return entries[who].v->launch(a.tables); });
            if (round >= warm_up)
                entries[who].ms.push_back(ms);
        }
        now(NOBODY);
        const double ms = watch.ms(
            a, [&] { return cudaMemcpyAsync(a.copy, a.array[0], a.copied_bytes, cudaMemcpyDeviceToDevice, NULL); });
        if (round >= warm_up)
            copies.push_back(ms);
    }
    return copies;
}

/* ---- one format ----------------------------------------------------------------------------------------------- */

/* Notes registers and warps; leaves it out if the device is too small for it. */
static void prepare(entry &e)
{
    int device = 0, most = 0, blocks = 0;
    CHECK(cudaGetDevice(&device));
    CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    char text[64];
    if (e.v->shared_bytes > (size_t)most) {
        snprintf(text, sizeof text, "needs %zu KB of shared memory", (e.v->shared_bytes + 1023) / 1024);
        e.out = true, e.note = text;
        return;
    }
    cudaFuncAttributes found;
    if (e.v->shared_bytes > 0)
        CHECK(cudaFuncSetAttribute(e.v->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)e.v->shared_bytes));
    CHECK(cudaFuncGetAttributes(&found, e.v->kernel));
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, e.v->kernel, (int)e.v->warps * 32, e.v->shared_bytes));
    snprintf(text, sizeof text, "%3d regs %2d warps/SM", found.numRegs, blocks * (int)e.v->warps);
    e.note = text;
}

static double quantile(std::vector<double> x, double q)
{
    std::sort(x.begin(), x.end());
    return x[(size_t)(q * (double)(x.size() - 1) + 0.5)];
}

static void print(const entry &e, const char *bits, uint64_t elements, double copy)
{
    if (e.out) {
        printf("  %-14s %s\n", e.v->name, e.note.c_str());
        return;
    }
    const double ms = quantile(e.ms, 0.5), rate = 1e-6 * moved_by(e.v) * (double)elements / ms;
    printf("  %-14s %8.4f ms (%.4f-%.4f) %5.0f GB/s %.3f of copy  %s  %s", e.v->name, ms, quantile(e.ms, 0.25),
           quantile(e.ms, 0.75), rate, rate / copy, e.note.c_str(), bits);
    printf(e.differs.empty() ? "\n" : " (%s)\n", e.differs.c_str());
}

/* Does all that the process of one format is for. */
static void race(std::vector<entry> &entries, uint64_t elements, int rounds)
{
    const double moved = moved_by(entries[0].v); /* by a copy, half of it is read and half is written */
    arena a(elements, (uint64_t)(moved / 2 * (double)elements) / 256 * 256);
    for (size_t i = 0; i < entries.size(); i++) {
        now((int)i);
        if (!entries[i].out)
            prepare(entries[i]);
    }
    compare_all(a, entries, elements);
    const std::vector<double> copies = time_all(a, entries, elements, rounds);
    const double copy = 2e-6 * (double)a.copied_bytes / quantile(copies, 0.5);
    printf("%s %llu elements, %.2f bytes each, %d rounds: copy %.0f GB/s\n", formats_of(entries[0].v).c_str(),
           (unsigned long long)elements, moved, rounds, copy);
    for (const entry &e : entries)
        print(e,
              &e == &entries[0]   ? "reference"
              : entries[0].out    ? "no reference"
              : e.differs.empty() ? "same bits"
                                  : "DIFFERENT BITS",
              elements, copy);
}

/* Launches each once, in this process. */
static void launch_once(std::vector<entry> &entries, uint64_t elements)
{
    arena a(elements, 256);
    for (size_t i = 0; i < entries.size(); i++) {
        entry &e = entries[i];
        if (!e.out)
            prepare(e);
        if (!e.out) {
            set_up(a, e.v, data_sets[0], elements);
            CHECK(e.v->launch(a.tables));
            CHECK(cudaDeviceSynchronize());
        }
        printf("%s:%s %s\n", formats_of(e.v).c_str(), e.v->name, e.note.c_str());
    }
}

/* ---- processes ------------------------------------------------------------------------------------------------ */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum outcome { DONE, FAILED, HUNG };

/* Waits for the process, and kills it when nothing has changed for too long. */
static outcome watch_over(pid_t child)
{
    unsigned turn = watched->turn;
    double since = seconds();
    for (;;) {
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? DONE : FAILED;
        if (watched->turn != turn)
            turn = watched->turn, since = seconds();
        if (seconds() - since > LIMIT_SECONDS)
            break;
        usleep(10000);
    }
    kill(child, SIGKILL);
    for (int i = 0; i < 500 && waitpid(child, NULL, WNOHANG) != child; i++) /* a driver may hold it */
        usleep(10000);
    return HUNG;
}

/* Returns whether the format is done with; if not, one of its kernels is out. */
static bool attempt(std::vector<entry> &entries, uint64_t elements, int rounds, bool *failed)
{
    now(NOBODY);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        race(entries, elements, rounds);
        fflush(stdout);
        _exit(0);
    }
    const outcome end = child < 0 ? FAILED : watch_over(child);
    if (end == DONE)
        return true;
    *failed = true;
    const int who = watched->who;
    printf("%s: %s %s\n", formats_of(entries[0].v).c_str(),
           who == NOBODY ? "the process" : entries[(size_t)who].v->name, end == HUNG ? "hung" : "failed");
    if (who == NOBODY)
        return true;
    entries[(size_t)who].out = true;
    entries[(size_t)who].note = end == HUNG ? "HUNG" : "FAILED";
    return std::all_of(entries.begin(), entries.end(), [](const entry &e) { return e.out; });
}

/* Returns the variants of each format, less the exceptions. */
static std::vector<std::vector<entry>> entries_without(char **exceptions, int count)
{
    std::vector<std::vector<entry>> formats;
    for (const variant *v : variants) {
        const std::string formats_name = formats_of(v), name = formats_name + ":" + v->name;
        if (formats.empty() || formats_of(formats.back()[0].v) != formats_name)
            formats.emplace_back();
        entry e = {v};
        e.out = std::any_of(exceptions, exceptions + count, [&](const char *x) { return name == x; });
        e.note = e.out ? "left out" : "";
        formats.back().push_back(e);
    }
    return formats;
}

int main(int argc, char **argv)
{
    const uint64_t least = 2 * MOST_TENSORS * FOPT_I_TILE;
    const uint64_t elements = (argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)1 << 28) / 1024 * 1024;
    const int rounds = argc > 2 ? atoi(argv[2]) : 15;
    if (elements < least) {
        fprintf(stderr, "usage: fusedopt_tournament [ELEMENTS [ROUNDS [EXCEPT...]]]      at least 7,168 elements\n");
        return 2;
    }
    void *shared = mmap(NULL, sizeof(watch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    watched = (watch *)shared;
    bool failed = false;
    for (std::vector<entry> &entries : entries_without(argv + std::min(argc, 3), std::max(argc - 3, 0)))
        if (rounds <= 0)
            launch_once(entries, elements);
        else
            while (!attempt(entries, elements, rounds, &failed))
                ;
    return failed || watched->differs;
}
