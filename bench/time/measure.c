/* Times the engines of one case in turns, round by round, beside the two loops that show what the memory can do. */
#include "time/measure.h"
#include "machine/hardware.h"
#include "program/options.h"
#include "program/stopwatch.h"
#include "reference/numbers.h"
#include "time/by_hand.h"
#include <math.h>
#include <stdlib.h>

/* ---- what is timed ------------------------------------------------------------------------------------------- */

typedef struct subject {
    const measure_case *what;
    fopt_device device;
    void *param, *grad;
    fopt_tensor *tensors;
    fopt_optimizer *optimizer, *flat; /* of the tensors, and of one of as many elements, if they are several */
    by_hand_tensor *by_hand_tensors;  /* NULL: loop and chain do not know the case */
    float *scratch;
    by_hand_model loop, blas;
    hardware_roof roof;
    size_t total_bytes;
    bool cached; /* the arrays could stay in the caches, which are emptied then */
} subject;

enum { INDEX_PARAM = 1, INDEX_GRAD, INDEX_SCRATCH };

/* Rounds up, so that each tensor begins at a multiple of 64 elements, as if allocated for itself. */
static size_t padded(size_t count)
{
    return (count + 63) / 64 * 64;
}

/* Fills an array with a block of numbers over and over: drawing them all would take longer than the measurement. */
static bool fill(fopt_device device, fopt_format format, void *array, size_t count)
{
    enum { BLOCK = 1 << 16 };
    const size_t bytes = numbers_bytes(format);
    void *block = malloc(BLOCK * bytes);
    if (!block)
        return false;
    splitmix random = {1};
    for (size_t i = 0; i < BLOCK; i++)
        numbers_set(format, block, i, numbers_ordinary(format, &random));
    bool good = true;
    for (size_t i = 0; i < count && good; i += BLOCK)
        good =
            hardware_write(device, (char *)array + i * bytes, block, (count - i < BLOCK ? count - i : BLOCK) * bytes);
    free(block);
    return good;
}

static bool allocate(subject *s)
{
    const measure_case *what = s->what;
    size_t elements = 0;
    for (size_t i = 0; i < what->shapes.tensors; i++)
        elements += padded(what->shapes.counts[i]);
    s->param = hardware_allocate(s->device, elements * numbers_bytes(what->param), INDEX_PARAM);
    s->grad = hardware_allocate(s->device, elements * numbers_bytes(what->grad), INDEX_GRAD);
    s->tensors = what->shapes.tensors > 0 ? calloc(what->shapes.tensors, sizeof *s->tensors) : NULL;
    return s->param && s->grad && s->tensors && fill(s->device, what->param, s->param, elements) &&
           fill(s->device, what->grad, s->grad, elements);
}

static fopt_status create(subject *s)
{
    const measure_case *what = s->what;
    const fopt_config config = {.size = sizeof config, .device = s->device};
    size_t begin = 0;
    for (size_t i = 0; i < what->shapes.tensors; i++) {
        s->tensors[i] = (fopt_tensor){.size = sizeof *s->tensors,
                                      .param = (char *)s->param + begin * numbers_bytes(what->param),
                                      .grad = (char *)s->grad + begin * numbers_bytes(what->grad),
                                      .count = what->shapes.counts[i],
                                      .param_format = what->param,
                                      .grad_format = what->grad};
        begin += padded(what->shapes.counts[i]);
    }
    fopt_sizes sizes = {.size = sizeof sizes};
    fopt_status status = fopt_query_sizes(&config, &what->group, 1, s->tensors, what->shapes.tensors, &sizes);
    s->total_bytes = what->shapes.params * (numbers_bytes(what->param) + numbers_bytes(what->grad)) + sizes.state_bytes;
    if (status == FOPT_OK)
        status = fopt_create(&config, &what->group, 1, s->tensors, what->shapes.tensors, &s->optimizer);
    if (status == FOPT_OK && what->shapes.tensors > 1) {
        fopt_tensor whole = s->tensors[0];
        whole.count = what->shapes.params;
        status = fopt_create(&config, &what->group, 1, &whole, 1, &s->flat);
    }
    return status;
}

/* Describes the case to loop and chain, which work on the same arrays as the library, its state included. Returns false
 * if memory is lacking. */
static bool describe_by_hand(subject *s)
{
    const measure_case *what = s->what;
    size_t largest = 0;
    for (size_t i = 0; i < what->shapes.tensors; i++)
        largest = what->shapes.counts[i] > largest ? what->shapes.counts[i] : largest;
    if (what->param != FOPT_F32 || what->grad != FOPT_F32 || !by_hand_knows(&what->group) || largest == 0 ||
        largest > BY_HAND_LARGEST)
        return true;

    s->scratch = hardware_allocate(s->device, largest * sizeof *s->scratch, INDEX_SCRATCH);
    s->by_hand_tensors = calloc(what->shapes.tensors, sizeof *s->by_hand_tensors);
    if (!s->scratch || !s->by_hand_tensors)
        return false;
    for (size_t i = 0; i < what->shapes.tensors; i++) {
        const fopt_tensor *tensor = &s->tensors[i];
        s->by_hand_tensors[i] = (by_hand_tensor){.param = tensor->param, .grad = tensor->grad, .count = tensor->count};
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            fopt_state(s->optimizer, i, kind, &view);
            s->by_hand_tensors[i].state[kind] = view.data;
        }
    }
    s->loop = s->blas = (by_hand_model){.device = s->device,
                                        .queue = hardware_queue(s->device),
                                        .group = what->group,
                                        .tensors = s->by_hand_tensors,
                                        .tensor_count = what->shapes.tensors,
                                        .scratch = s->scratch};
    return true;
}

static void close_subject(subject *s)
{
    fopt_destroy(s->optimizer);
    fopt_destroy(s->flat);
    hardware_roof_free(&s->roof);
    hardware_release(s->device, s->param);
    hardware_release(s->device, s->grad);
    hardware_release(s->device, s->scratch);
    free(s->tensors);
    free(s->by_hand_tensors);
}

/* An array to empty the caches with. It is kept for the cases to come: making it takes longer than a small one is
 * timed for. */
static void *others;

static size_t others_bytes(fopt_device device)
{
    return 2 * hardware_cache_bytes(device);
}

static bool make_others(fopt_device device)
{
    if (!others)
        others = hardware_allocate(device, others_bytes(device), 0);
    return others;
}

void measure_end(fopt_device device)
{
    hardware_release(device, others);
    others = NULL;
}

/* Allocates and creates what is timed. After a failure close_subject() is still to be called. */
static bool open_subject(const char *command, subject *s)
{
    bool good = allocate(s);
    if (good && create(s) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        return false;
    }
    /* Larger arrays push themselves out of the caches. A GPU must have something to do while work is enqueued. */
    s->cached = s->device.kind != FOPT_CPU || s->total_bytes < 4 * hardware_cache_bytes(s->device);
    good = good && describe_by_hand(s) && hardware_roof_new(s->device, s->total_bytes, &s->roof) &&
           (!s->cached || make_others(s->device));
    if (!good)
        complain(command, "out of memory: %s of %zu parameters", s->what->shapes.name, s->what->shapes.params);
    return good;
}

/* ---- the clock ----------------------------------------------------------------------------------------------- */

static bool step_tensors(void *context)
{
    const subject *s = context;
    return fopt_step(s->optimizer, NULL, hardware_queue(s->device)) == FOPT_OK;
}

static bool step_flat(void *context)
{
    const subject *s = context;
    return fopt_step(s->flat, NULL, hardware_queue(s->device)) == FOPT_OK;
}

static bool step_loop(void *context)
{
    return by_hand_loop(&((subject *)context)->loop);
}

static bool step_blas(void *context)
{
    return by_hand_blas(&((subject *)context)->blas);
}

static bool copy(void *context)
{
    return hardware_copy(&((subject *)context)->roof);
}

static bool stream(void *context)
{
    return hardware_stream(&((subject *)context)->roof);
}

enum { STREAM, COPY, FLAT, FUSEDOPT, LOOP, BLAS, CONTENDERS };

static const struct {
    const char *engine;
    bool (*run)(void *context);
} contenders[CONTENDERS] = {
    [STREAM] = {NULL, stream},    [COPY] = {NULL, copy},
    [FLAT] = {NULL, step_flat},   [FUSEDOPT] = {"fusedopt", step_tensors},
    [LOOP] = {"loop", step_loop}, [BLAS] = {"blas", step_blas},
};

static bool takes_part(const subject *s, size_t contender)
{
    switch (contender) {
    case FLAT:
        return s->flat != NULL;
    case LOOP:
        return s->by_hand_tensors != NULL;
    case BLAS:
        return s->by_hand_tensors && by_hand_has_blas(s->device);
    default:
        return true;
    }
}

typedef struct samples {
    size_t count;                                           /* rounds */
    double *seconds[CONTENDERS], *host_seconds[CONTENDERS]; /* by round */
} samples;

/* Times each contender once, another one first in each round: what drifts, drifts for all alike. */
static bool time_round(subject *s, size_t round, hardware_timing timings[CONTENDERS])
{
    for (size_t turn = 0; turn < CONTENDERS; turn++) {
        const size_t who = (round + turn) % CONTENDERS;
        if (!takes_part(s, who))
            continue;
        if (s->cached)
            hardware_evict(s->device, others, others_bytes(s->device));
        if (!hardware_time(s->device, contenders[who].run, s, &timings[who]))
            return false;
    }
    return true;
}

static bool time_rounds(const char *command, subject *s, measure_effort effort, samples *timed)
{
    enum { WARM_UP = 2 /* rounds that touch every page */, LEAST = 3 };
    const double end = stopwatch() + effort.seconds;
    for (size_t round = 0; round < effort.rounds + WARM_UP; round++) {
        hardware_timing timings[CONTENDERS] = {0};
        if (round >= WARM_UP + LEAST && stopwatch() > end)
            break;
        if (!time_round(s, round, timings)) {
            complain(command, "the device failed; of the library's errors the last is: %s", fopt_last_error());
            return false;
        }
        for (size_t who = 0; who < CONTENDERS && round >= WARM_UP; who++) {
            timed->seconds[who][timed->count] = timings[who].seconds;
            timed->host_seconds[who][timed->count] = timings[who].host_seconds;
        }
        timed->count += round >= WARM_UP;
    }
    return true;
}

/* ---- the result ---------------------------------------------------------------------------------------------- */

/* Returns quartiles of factor * numerator[i] / denominator[i], less `less`[i] before; NULL stands for ones, or zeros.
 * Sets *wide, which may be NULL, if they tell little, and leaves it alone otherwise. */
static quartiles summarize(double factor, const double *numerator, const double *less, const double *denominator,
                           size_t count, double *scratch, bool *wide)
{
    for (size_t i = 0; i < count; i++)
        scratch[i] = factor * (numerator[i] - (less ? less[i] : 0)) / (denominator ? denominator[i] : 1);
    const double drift = wide ? quartiles_drift(scratch, count) : 0;
    const quartiles found = quartiles_of(scratch, count);
    if (wide && (drift > MEASURE_DRIFT || quartiles_spread(found) > MEASURE_WIDE))
        *wide = true;
    return found;
}

static double least(const double *values, size_t count)
{
    double found = values[0];
    for (size_t i = 1; i < count; i++)
        found = values[i] < found ? values[i] : found;
    return found;
}

static measure_row describe_row(subject *s, const samples *timed, size_t who, double *scratch)
{
    const double params = (double)s->what->shapes.params, tensors = (double)s->what->shapes.tensors;
    const double bytes = (double)(2 * s->total_bytes) - params * (double)numbers_bytes(s->what->grad);
    const double stream_bytes = 12.0 * (double)s->roof.count, copy_bytes = 8.0 * (double)s->roof.count;
    const double *seconds = timed->seconds[who];
    measure_row row = {.engine = contenders[who].engine, .tensor_ns = (double)NAN};
    row.ns_per_param = summarize(1e9 / params, seconds, NULL, NULL, timed->count, scratch, &row.wide);
    row.gb_per_s = bytes / params / row.ns_per_param.middle;
    row.roof_fraction =
        summarize(bytes / stream_bytes, timed->seconds[STREAM], NULL, seconds, timed->count, scratch, &row.wide);
    row.copy_fraction =
        summarize(bytes / copy_bytes, timed->seconds[COPY], NULL, seconds, timed->count, scratch, NULL).middle;
    row.roof_best = bytes / stream_bytes * least(timed->seconds[STREAM], timed->count) / least(seconds, timed->count);
    row.launches = hardware_launches(s->device, contenders[who].run, s);
    row.host_us = summarize(1e6, timed->host_seconds[who], NULL, NULL, timed->count, scratch, NULL).middle;
    if (s->flat)
        row.tensor_ns =
            summarize(1e9 / tensors, seconds, timed->seconds[FLAT], NULL, timed->count, scratch, NULL).middle;
    return row;
}

static void describe_result(subject *s, const samples *timed, double *scratch, measure_result *result)
{
    const double elements = (double)s->roof.count;
    const double params = (double)s->what->shapes.params;
    *result = (measure_result){
        .bytes_per_param = (double)(2 * s->total_bytes) / params - (double)numbers_bytes(s->what->grad),
        .total_bytes = s->total_bytes,
        .copy_gb_per_s =
            8e-9 * elements / summarize(1, timed->seconds[COPY], NULL, NULL, timed->count, scratch, NULL).middle,
        .stream_gb_per_s =
            12e-9 * elements / summarize(1, timed->seconds[STREAM], NULL, NULL, timed->count, scratch, NULL).middle,
        .samples = timed->count,
    };
    for (size_t who = 0; who < CONTENDERS; who++)
        if (contenders[who].engine && takes_part(s, who))
            result->rows[result->row_count++] = describe_row(s, timed, who, scratch);
}

size_t measure_bytes(fopt_device device, const measure_case *what)
{
    enum { SOME = 1024 };
    static float param[SOME], grad[SOME];
    const fopt_config config = {.size = sizeof config, .device = device};
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = param,
                                .grad = grad,
                                .count = SOME,
                                .param_format = what->param,
                                .grad_format = what->grad};
    fopt_sizes sizes = {.size = sizeof sizes};
    fopt_query_sizes(&config, &what->group, 1, &tensor, 1, &sizes);
    const size_t state = what->shapes.params / SOME * sizes.state_bytes;
    const size_t step = what->shapes.params * (numbers_bytes(what->param) + numbers_bytes(what->grad)) + state;
    const size_t flat = what->shapes.tensors > 1 ? state : 0, scratch = what->shapes.params * sizeof(float);
    return 2 * step /* the roofs' too */ + flat + scratch + others_bytes(device);
}

bool measure(const char *command, fopt_device device, const measure_case *what, measure_effort effort,
             measure_result *result)
{
    subject s = {.what = what, .device = device};
    samples timed = {0};
    const size_t rounds = effort.rounds;
    double *numbers = calloc(rounds * (2 * CONTENDERS + 1), sizeof *numbers);
    for (size_t i = 0; numbers && i < CONTENDERS; i++) {
        timed.seconds[i] = numbers + 2 * i * rounds;
        timed.host_seconds[i] = numbers + (2 * i + 1) * rounds;
    }
    if (!numbers)
        complain(command, "out of memory");
    const bool good = numbers && open_subject(command, &s) && time_rounds(command, &s, effort, &timed);
    if (good)
        describe_result(&s, &timed, numbers + rounds * 2 * CONTENDERS, result);
    close_subject(&s);
    free(numbers);
    return good;
}
