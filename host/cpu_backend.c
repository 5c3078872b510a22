/* The CPU backend: chunks of the tile walk, on OpenMP's threads or the caller's. */
#include "../kernels/cpu/environment.h"
#include "../kernels/cpu/isa.h"
#include "../kernels/random.h"
#include "internal.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

/* ---- configuration ------------------------------------------------------------------------------------------- */

/* The process that loaded the library, 0 if that is not known. In a child that it forks OpenMP's threads are gone, and
 * libgomp waits for them for ever. */
static pid_t loading_process;

static int default_threads(void)
{
#ifdef _OPENMP
    return loading_process == 0 || loading_process == getpid() ? omp_get_max_threads() : 1;
#else
    return 1;
#endif
}

/* Runs a loop on OpenMP's threads: the default parallel_for. Its context is the number of threads, 0 for as many as
 * OpenMP gives the calling thread. */
static int openmp_for(void *context, size_t count, void (*function)(void *argument, size_t index), void *argument)
{
    int threads = *(const int *)context;
    if (threads == 0)
        threads = default_threads();
    if ((size_t)threads > count) /* libgomp starts, and takes stack for, as many as it is asked for */
        threads = (int)count;
#ifdef _OPENMP
/* Static: each thread then streams through memory of its own. */
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
#endif
    for (size_t i = 0; i < count; i++)
        function(argument, i);
    return 0;
}

static const fopt_isa best_first[] = {FOPT_ISA_AVX512_VBMI, FOPT_ISA_AVX512, FOPT_ISA_AVX2, FOPT_ISA_BASELINE};
#define ISA_COUNT (sizeof best_first / sizeof best_first[0])

/* The value of FUSEDOPT_ISA when the library was loaded, shortened; "" if there was none. It is read no later, since
 * another thread may change the environment then. Priority 101 comes before a program's own constructors. */
static char wished_isa[40];

#ifdef __GNUC__
__attribute__((constructor(101))) static void read_environment(void)
{
    loading_process = getpid();
    const char *wish = getenv("FUSEDOPT_ISA");
    if (wish)
        fopt_i_copy_printable(wished_isa, sizeof wished_isa, wish);
}
#endif

/* Chooses what FOPT_ISA_AUTO means here: the best, or what the environment asked for. */
static fopt_status choose_isa(fopt_isa *isa)
{
    if (wished_isa[0]) {
        for (size_t i = 0; i < ISA_COUNT; i++)
            if (strcmp(wished_isa, fopt_isa_name(best_first[i])) == 0) {
                *isa = best_first[i];
                return FOPT_OK;
            }
        return fopt_i_fail(FOPT_ERR_ARGUMENT,
                           "environment variable FUSEDOPT_ISA is '%s', must be avx512vbmi, avx512, avx2 or baseline",
                           wished_isa);
    }
    for (size_t i = 0; i < ISA_COUNT; i++)
        if (fopt_i_describe_isa(best_first[i]).runs_here) {
            *isa = best_first[i];
            break;
        }
    return FOPT_OK;
}

static fopt_status check_index(int index)
{
    return index == 0 ? FOPT_OK
                      : fopt_i_fail(FOPT_ERR_DEVICE, "device.index is %d, but the CPU is one device, 0", index);
}

static fopt_status complete_config(fopt_config *config)
{
    fopt_status status = check_index(config->device.index);
    if (!status && config->isa == FOPT_ISA_AUTO)
        status = choose_isa(&config->isa);
    if (!status && !fopt_i_describe_isa(config->isa).runs_here)
        status = fopt_i_fail(FOPT_ERR_DEVICE, "config.isa is %s, which this machine or this build lacks",
                             fopt_isa_name(config->isa));
    if (!config->host_allocator.allocate)
        config->host_allocator = fopt_i_host_allocator;
    if (!config->device_allocator.allocate)
        config->device_allocator = fopt_i_host_allocator;
    return status;
}

static fopt_status device_count(int *count)
{
    *count = 1;
    return FOPT_OK;
}

/* Writes the processor's name as it gives it, or "CPU". */
static void name_cpu(char *name, size_t size)
{
#if defined(__x86_64__)
    unsigned words[3][4] = {{0}};
    bool has = (unsigned)__get_cpuid_max(0x80000000u, NULL) >= 0x80000004u;
    for (unsigned i = 0; has && i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[i][0], &words[i][1], &words[i][2], &words[i][3]);
    if (has) {
        snprintf(name, size, "%.48s", (const char *)words);
        return;
    }
#endif
    snprintf(name, size, "CPU");
}

static fopt_status device_query(int index, fopt_device_info *info)
{
    fopt_status status = check_index(index);
    if (!status)
        status = choose_isa(&info->isa);
    name_cpu(info->name, sizeof info->name);
    info->threads = default_threads();
    for (size_t i = 0; i < ISA_COUNT; i++)
        if (fopt_i_describe_isa(best_first[i]).runs_here)
            info->isas |= 1u << best_first[i];
    return status;
}

/* ---- parallel work ------------------------------------------------------------------------------------------- */

/* Units of work (tiles, bytes), cut into chunks. */
typedef struct task {
    void (*run)(const void *context, uint64_t first, uint64_t count);
    const void *context;
    uint64_t unit_count, units_per_chunk;
    size_t chunk_count;
    atomic_size_t chunks_done;
    _Atomic uint64_t marks; /* the sum of their marks */
} task;

/* Returns a number of 64 bits for each chunk: if one chunk is done twice and another never, the count is right, but the
 * sum of their marks is not. */
static uint64_t mark_of(size_t chunk)
{
    return fopt_i_mix(chunk);
}

static void run_chunk(void *argument, size_t index)
{
    task *t = argument;
    if (index >= t->chunk_count) { /* one too many, which run_task() finds out */
        atomic_fetch_add(&t->chunks_done, 1);
        return;
    }
    uint64_t first = index * t->units_per_chunk;
    uint64_t rest = t->unit_count - first;
    fopt_i_environment environment = fopt_i_environment_enter();
    t->run(t->context, first, rest < t->units_per_chunk ? rest : t->units_per_chunk);
    fopt_i_environment_leave(environment);
    atomic_fetch_add(&t->chunks_done, 1);
    atomic_fetch_add(&t->marks, mark_of(index));
}

static fopt_status run_task(const fopt_config *config, uint64_t unit_count, uint64_t units_per_chunk,
                            void (*run)(const void *context, uint64_t first, uint64_t count), const void *context)
{
    task t = {
        .run = run,
        .context = context,
        .unit_count = unit_count,
        .units_per_chunk = units_per_chunk,
        .chunk_count = (size_t)(unit_count / units_per_chunk + (unit_count % units_per_chunk != 0)),
    };
    if (t.chunk_count == 0)
        return FOPT_OK;
    int threads = config->threads;
    if (t.chunk_count == 1) {
        run_chunk(&t, 0); /* here and now: no other thread need be woken for it */
        return FOPT_OK;
    }
    int result = config->parallel_for ? config->parallel_for(config->parallel_context, t.chunk_count, run_chunk, &t)
                                      : openmp_for(&threads, t.chunk_count, run_chunk, &t);
    if (result != 0)
        return fopt_i_fail(FOPT_ERR_DEVICE, "config.parallel_for returned %d", result);
    const size_t done = atomic_load(&t.chunks_done);
    if (done != t.chunk_count)
        return fopt_i_fail(FOPT_ERR_DEVICE, "config.parallel_for made %zu of %zu calls", done, t.chunk_count);
    uint64_t marks = atomic_load(&t.marks);
    for (size_t i = 0; i < t.chunk_count; i++)
        marks -= mark_of(i);
    if (marks != 0)
        return fopt_i_fail(FOPT_ERR_DEVICE, "config.parallel_for made some of %zu calls twice and others never",
                           t.chunk_count);
    return FOPT_OK;
}

/* A chunk takes some 25 microseconds, several times what waking a thread costs: less work than that stays on the
 * calling thread. Finding a chunk's first tensor and computing its coefficients does not show either. */
#define TILES_PER_CHUNK 64

/* ---- steps --------------------------------------------------------------------------------------------------- */

typedef struct step_context {
    fopt_i_cpu_job job;
    fopt_i_cpu_step *step;
} step_context;

static void step_tiles(const void *context, uint64_t first, uint64_t count)
{
    const step_context *c = context;
    c->step(&c->job, first, count);
}

static fopt_status run_step(const fopt_config *config, fopt_i_cpu_job job, uint64_t tile_count)
{
    const step_context context = {job, fopt_i_describe_isa(config->isa).step};
    return run_task(config, tile_count, TILES_PER_CHUNK, step_tiles, &context);
}

static fopt_i_cpu_job job_of(const fopt_optimizer *o)
{
    return (fopt_i_cpu_job){o->records, o->tensor_count, o->groups, o->config.seed};
}

static fopt_status step(fopt_optimizer *o, fopt_stream stream)
{
    (void)stream;
    o->broken = true; /* until it is whole: a caller's parallel_for may leave by an exception or longjmp() */
    fopt_status status = run_step(&o->config, job_of(o), o->tile_count);
    if (status)
        return status;
    o->broken = false;
    for (size_t i = 0; i < o->tensor_count; i++)
        if (o->records[i].grad)
            o->records[i].step = fopt_i_next_step(o->records[i].step);
    return FOPT_OK;
}

static fopt_status update(const fopt_config *config, const fopt_i_group *group, const fopt_i_record *record,
                          fopt_i_subject tensor, fopt_stream stream)
{
    (void)tensor;
    (void)stream;
    const fopt_i_cpu_job job = {record, 1, group, config->seed};
    return run_step(config, job, fopt_i_tile_count(record->count));
}

/* ---- the other calls ----------------------------------------------------------------------------------------- */

static void zero_bytes(const void *context, uint64_t first, uint64_t count)
{
    memset(*(char *const *)context + first, 0, (size_t)count);
}

static fopt_status open_device(fopt_optimizer *o)
{
    uint64_t next = 0;
    for (size_t i = 0; i < o->tensor_count; i++) {
        o->records[i].first_tile = next;
        next += fopt_i_tile_count(o->records[i].count);
    }
    return FOPT_OK;
}

/* Zeroes the state in parallel: on a machine with several memories a page then lies with the thread that will use
 * it. */
static fopt_status fill(fopt_optimizer *o)
{
    return run_task(&o->config, o->device_bytes, (uint64_t)1 << 20, zero_bytes, &o->state);
}

static bool wait_for_device(const fopt_optimizer *o)
{
    (void)o;
    return true;
}

static void do_nothing(fopt_optimizer *o)
{
    (void)o;
}

static fopt_status set_group(fopt_optimizer *o, size_t group, const fopt_i_group *value, fopt_stream stream)
{
    (void)stream;
    o->groups[group] = *value;
    return FOPT_OK;
}

static fopt_status set_lr(fopt_optimizer *o, size_t group, double lr, fopt_stream stream)
{
    (void)stream;
    o->groups[group].value.lr = lr;
    return FOPT_OK;
}

static fopt_status set_grads(fopt_optimizer *o, void *const *grads, fopt_stream stream)
{
    (void)stream;
    for (size_t i = 0; i < o->tensor_count; i++)
        o->records[i].grad = o->records[i].count > 0 ? grads[i] : NULL;
    return FOPT_OK;
}

static void zero_tiles(const void *context, uint64_t first, uint64_t count)
{
    fopt_i_cpu_zero_grads(context, first, count);
}

static fopt_status zero_grads(fopt_optimizer *o, fopt_stream stream)
{
    (void)stream;
    const fopt_i_cpu_job job = job_of(o);
    return run_task(&o->config, o->tile_count, TILES_PER_CHUNK, zero_tiles, &job);
}

/* ---- norms --------------------------------------------------------------------------------------------------- */

typedef struct sum_context {
    fopt_i_cpu_job job;
    fopt_i_cpu_sum *sum;
    uint64_t first_tile;
    _Atomic uint64_t *words;
} sum_context;

static void sum_tiles(const void *context, uint64_t first, uint64_t count)
{
    const sum_context *c = context;
    fopt_i_sum part = {{0}};
    c->sum(&c->job, c->first_tile + first, count, &part);
    for (unsigned k = 0; k < FOPT_I_SUM_WORDS; k++)
        if (part.word[k] != 0)
            atomic_fetch_add(&c->words[k], part.word[k]);
}

/* Adds the squares of the gradients of some tensors to a sum. */
static fopt_status add_tensors(const fopt_optimizer *o, size_t first, size_t count, fopt_i_sum *sum)
{
    _Atomic uint64_t words[FOPT_I_SUM_WORDS];
    const fopt_i_record *begin = &o->records[first], *last = begin + count - 1;
    const sum_context context = {job_of(o), fopt_i_describe_isa(o->config.isa).sum, begin->first_tile, words};
    const uint64_t tiles = last->first_tile + fopt_i_tile_count(last->count) - begin->first_tile;
    for (unsigned k = 0; k < FOPT_I_SUM_WORDS; k++)
        atomic_init(&words[k], 0);
    fopt_status status = run_task(&o->config, tiles, TILES_PER_CHUNK, sum_tiles, &context);
    for (unsigned k = 0; k < FOPT_I_SUM_WORDS; k++)
        sum->word[k] += atomic_load(&words[k]);
    return status;
}

static double norm_of(const fopt_i_sum *sum)
{
    const fopt_i_environment environment = fopt_i_environment_enter();
    const double norm = fopt_i_norm_of(sum);
    fopt_i_environment_leave(environment);
    return norm;
}

static fopt_status grad_norm(fopt_optimizer *o, size_t first, size_t count, double *norm, double *tensor_norms,
                             fopt_stream stream)
{
    (void)stream;
    fopt_i_sum all = {{0}};
    fopt_status status = FOPT_OK;
    if (!tensor_norms && count > 0)
        status = add_tensors(o, first, count, &all);
    for (size_t i = 0; tensor_norms && i < count && !status; i++) {
        fopt_i_sum one = {{0}};
        status = add_tensors(o, first + i, 1, &one);
        if (!status)
            tensor_norms[i] = norm_of(&one);
        for (unsigned k = 0; k < FOPT_I_SUM_WORDS; k++)
            all.word[k] += one.word[k];
    }
    if (!status && norm)
        *norm = norm_of(&all);
    return status;
}

static fopt_status get_step(const fopt_optimizer *o, size_t tensor, int64_t *value, fopt_stream stream)
{
    (void)stream;
    *value = o->records[tensor].step;
    return FOPT_OK;
}

static fopt_status copy(const fopt_optimizer *o, void *to, const void *from, size_t bytes, fopt_stream stream)
{
    (void)o;
    (void)stream;
    memcpy(to, from, bytes);
    return FOPT_OK;
}

static fopt_status set_step(fopt_optimizer *o, size_t tensor, int64_t value, fopt_stream stream)
{
    (void)stream;
    o->records[tensor].step = value;
    return FOPT_OK;
}

/* Returns 0: a step reads the tables where the host keeps them. */
static size_t table_bytes(size_t group_count, size_t tensor_count, uint64_t tile_count)
{
    (void)group_count;
    (void)tensor_count;
    (void)tile_count;
    return 0;
}

static fopt_status enter(const fopt_optimizer *o)
{
    (void)o;
    return FOPT_OK;
}

static void leave(const fopt_optimizer *o)
{
    (void)o;
}

const fopt_i_backend fopt_i_cpu_backend = {
    .table_bytes = table_bytes,
    .device_count = device_count,
    .device_query = device_query,
    .complete_config = complete_config,
    .open = open_device,
    .fill = fill,
    .shut = do_nothing,
    .reopen = do_nothing,
    .wait = wait_for_device,
    .close = do_nothing,
    .enter = enter,
    .leave = leave,
    .step = step,
    .set_group = set_group,
    .set_lr = set_lr,
    .set_grads = set_grads,
    .zero_grads = zero_grads,
    .grad_norm = grad_norm,
    .get_step = get_step,
    .copy = copy,
    .set_step = set_step,
    .update = update,
};
