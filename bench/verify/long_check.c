/* Checks a tensor longer than 32 bits count: its numbers repeat, so that one period is enough to compare with. */
#include "verify/long_check.h"
#include "machine/hardware.h"
#include "machine/parallel.h"
#include "program/options.h"
#include "reference/numbers.h"
#include "reference/splitmix.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PERIOD = LONG_CHECK_PERIOD, PERIOD_BYTES = PERIOD * 4 /* bytes of the largest format */ };

/* Parameters before and after the step, and gradients: a period of each. */
typedef struct period {
    unsigned char *before, *after, *grad;
} period;

static bool period_new(period *p, const check_case *what)
{
    splitmix random = {what->seed};
    *p = (period){malloc(PERIOD_BYTES), malloc(PERIOD_BYTES), malloc(PERIOD_BYTES)};
    if (!p->before || !p->after || !p->grad)
        return false;
    for (size_t i = 0; i < PERIOD; i++) {
        numbers_set(what->formats.param, p->before, i, numbers_ordinary(what->formats.param, &random));
        numbers_set(what->formats.grad, p->grad, i, numbers_ordinary(what->formats.grad, &random));
    }
    memcpy(p->after, p->before, PERIOD * numbers_bytes(what->formats.param));
    return true;
}

static void period_free(period *p)
{
    free(p->before);
    free(p->after);
    free(p->grad);
}

static fopt_status step(const fopt_config *config, const check_case *what, void *param, void *grad, size_t elements)
{
    const fopt_tensor tensor = {.size = sizeof tensor,
                                .param = param,
                                .grad = grad,
                                .count = elements,
                                .param_format = what->formats.param,
                                .grad_format = what->formats.grad};
    fopt_optimizer *optimizer;
    fopt_status status = fopt_create(config, &what->group, 1, &tensor, 1, &optimizer);
    if (status == FOPT_OK)
        status = fopt_step(optimizer, NULL, hardware_queue(config->device));
    fopt_destroy(optimizer);
    return status;
}

static fopt_status step_reference(const check_case *what, period *p, check_result *result)
{
    const fopt_config config = {.size = sizeof config, .isa = FOPT_ISA_BASELINE, .threads = 1};
    const fopt_status status = step(&config, what, p->after, p->grad, PERIOD);
    const judge_arrays before = {.data = {p->before}, .formats = {what->formats.param}};
    const judge_arrays after = {.data = {p->after}, .formats = {what->formats.param}};
    judge_error worst[JUDGE_ARRAYS] = {0};
    if (status == FOPT_OK)
        judge_step(&what->group, 1, &before, what->formats.grad, p->grad, &after, 0, PERIOD, worst);
    result->param_ulps = worst[JUDGE_PARAM].ulps;
    if (result->param_ulps > ORACLE_PARAM_ULPS)
        snprintf(result->message, sizeof result->message, "param, element %zu: %.3g ulp from the oracle",
                 worst[JUDGE_PARAM].element, result->param_ulps);
    return status;
}

/* ---- an array, period by period ------------------------------------------------------------------------------- */

/* A difference: how many bits of a period are wrong, and the first element that is, which is `got`. */
typedef struct difference {
    uint64_t bits;
    size_t first;
    uint32_t got;
} difference;

/* An array on the device, and the numbers that it repeats. */
typedef struct repeats {
    fopt_device device;
    fopt_format format;
    char *array;
    uint64_t elements;
    const unsigned char *values;
    unsigned char *got; /* a period for each thread */
    bool fault;
    difference *differences; /* by period */
    check_result *result;
} repeats;

static size_t periods(uint64_t elements)
{
    return (size_t)((elements + PERIOD - 1) / PERIOD);
}

/* Returns how many elements period number `item` has: the last may have fewer. */
static size_t length(const repeats *r, size_t item)
{
    const uint64_t left = r->elements - (uint64_t)item * PERIOD;
    return left < PERIOD ? (size_t)left : PERIOD;
}

static char *place(const repeats *r, size_t item)
{
    return r->array + (uint64_t)item * PERIOD * numbers_bytes(r->format);
}

static bool fill_period(void *context, size_t thread, size_t item)
{
    const repeats *r = context;
    (void)thread;
    return hardware_write(r->device, place(r, item), r->values, length(r, item) * numbers_bytes(r->format));
}

static bool compare_period(void *context, size_t thread, size_t item)
{
    const repeats *r = context;
    const size_t count = length(r, item);
    unsigned char *got = r->got + thread * PERIOD_BYTES;
    if (!hardware_read(r->device, got, place(r, item), count * numbers_bytes(r->format)))
        return false;
    if (r->fault && item + 1 == periods(r->elements))
        numbers_set(r->format, got, count - 1, numbers_get(r->format, got, count - 1) + 1);
    difference *d = &r->differences[item];
    d->bits = judge_bits(r->format, got, r->values, count, &d->first);
    d->got = numbers_get(r->format, got, d->first);
    return true;
}

static bool note_period(void *context, size_t thread, size_t item)
{
    const repeats *r = context;
    const difference *d = &r->differences[item];
    (void)thread;
    if (d->bits > 0 && r->result->message[0] == '\0')
        snprintf(r->result->message, sizeof r->result->message,
                 "param, element %llu of %llu: the device gives 0x%x, the portable code 0x%x",
                 (unsigned long long)item * PERIOD + d->first, (unsigned long long)r->elements, (unsigned)d->got,
                 (unsigned)numbers_get(r->format, r->values, d->first));
    r->result->differing_bits += d->bits;
    return true;
}

static bool fill(repeats r)
{
    return parallel_items(fill_period, NULL, &r, periods(r.elements));
}

/* Compares all periods. Returns NULL, or what went wrong. */
static const char *compare(repeats r)
{
    const size_t count = periods(r.elements);
    r.got = malloc(parallel_threads(count) * PERIOD_BYTES);
    r.differences = calloc(count, sizeof *r.differences);
    const char *wrong = NULL;
    if (!r.got || !r.differences)
        wrong = "out of memory";
    else if (!parallel_items(compare_period, note_period, &r, count))
        wrong = "memory of the device cannot be copied";
    free(r.got);
    free(r.differences);
    r.result->elements = r.elements;
    return wrong;
}

size_t long_check_bytes(const check_case *what, uint64_t elements)
{
    return elements * (numbers_bytes(what->formats.param) + numbers_bytes(what->formats.grad));
}

/* Fills the two arrays, makes the step and compares. Returns NULL, or what went wrong. */
static const char *check_arrays(fopt_device device, const check_case *what, period *p, repeats param, repeats grad)
{
    const fopt_config config = {.size = sizeof config, .device = device};
    if (!fill(param) || !fill(grad))
        return "memory of the device cannot be copied";
    if (step_reference(what, p, param.result) != FOPT_OK ||
        step(&config, what, param.array, grad.array, param.elements) != FOPT_OK)
        return fopt_last_error();
    param.values = p->after;
    return compare(param);
}

bool long_check(const char *command, fopt_device device, const check_case *what, uint64_t elements, bool fault,
                check_result *result)
{
    *result = (check_result){0};
    period p;
    const char *wrong = "out of memory";
    repeats param = {.device = device, .format = what->formats.param, .elements = elements}, grad = param;
    grad.format = what->formats.grad;
    param.fault = fault;
    param.result = result;
    if (period_new(&p, what) && (param.array = hardware_allocate(device, elements * numbers_bytes(param.format), 0)) &&
        (grad.array = hardware_allocate(device, elements * numbers_bytes(grad.format), 1))) {
        param.values = p.before;
        grad.values = p.grad;
        wrong = check_arrays(device, what, &p, param, grad);
    }
    if (wrong)
        complain(command, "a tensor of %llu elements: %s", (unsigned long long)elements, wrong);
    hardware_release(device, param.array);
    hardware_release(device, grad.array);
    period_free(&p);
    return !wrong;
}
