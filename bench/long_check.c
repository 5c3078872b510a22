#include "long_check.h"

#include "../tests/numbers.h"
#include "../tests/splitmix.h"
#include "memory.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PERIOD = LONG_CHECK_PERIOD, PERIOD_BYTES = PERIOD * 4 /* bytes of the largest format */ };

/* Parameters before and after the step, gradients, and what came from the device: a period of each. */
typedef struct period {
    unsigned char *before, *after, *grad, *got;
} period;

static bool period_new(period *p, const check_case *what)
{
    splitmix random = {what->seed};
    *p = (period){malloc(PERIOD_BYTES), malloc(PERIOD_BYTES), malloc(PERIOD_BYTES), malloc(PERIOD_BYTES)};
    if (!p->before || !p->after || !p->grad || !p->got)
        return false;
    for (size_t i = 0; i < PERIOD; ++i) {
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
    free(p->got);
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
        status = fopt_step(optimizer, NULL, memory_queue(config->device));
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
    if (result->param_ulps > JUDGE_PARAM_ULPS)
        snprintf(result->message, sizeof result->message, "param, element %zu: %.3g ulp from the oracle",
                 worst[JUDGE_PARAM].element, result->param_ulps);
    return status;
}

/* The elements of the period that begins at `begin`. */
static size_t length(uint64_t elements, uint64_t begin)
{
    return elements - begin < PERIOD ? (size_t)(elements - begin) : PERIOD;
}

static bool fill(fopt_device device, char *array, const unsigned char *values, size_t bytes, uint64_t elements)
{
    bool good = true;
    for (uint64_t begin = 0; begin < elements && good; begin += PERIOD)
        good = memory_write(device, array + begin * bytes, values, length(elements, begin) * bytes);
    return good;
}

static bool compare(fopt_device device, const check_case *what, const char *param, period *p, uint64_t elements,
                    bool fault, check_result *result)
{
    const fopt_format format = what->formats.param;
    for (uint64_t begin = 0; begin < elements; begin += PERIOD) {
        const size_t count = length(elements, begin);
        size_t first;
        if (!memory_read(device, p->got, param + begin * numbers_bytes(format), count * numbers_bytes(format)))
            return false;
        if (fault && begin + count == elements)
            numbers_set(format, p->got, count - 1, numbers_get(format, p->got, count - 1) + 1);
        const uint64_t differing = judge_bits(format, p->got, p->after, count, &first);
        if (differing > 0 && result->message[0] == '\0')
            snprintf(result->message, sizeof result->message,
                     "param, element %llu of %llu: the device gives 0x%x, the portable code 0x%x",
                     (unsigned long long)begin + first, (unsigned long long)elements,
                     (unsigned)numbers_get(format, p->got, first), (unsigned)numbers_get(format, p->after, first));
        result->differing_bits += differing;
    }
    result->elements = elements;
    return true;
}

size_t long_check_bytes(const check_case *what, uint64_t elements)
{
    return elements * (numbers_bytes(what->formats.param) + numbers_bytes(what->formats.grad));
}

bool long_check(const char *command, fopt_device device, const check_case *what, uint64_t elements, bool fault,
                check_result *result)
{
    *result = (check_result){0};
    period p;
    const size_t param_bytes = numbers_bytes(what->formats.param), grad_bytes = numbers_bytes(what->formats.grad);
    const fopt_config config = {.size = sizeof config, .device = device};
    void *param = NULL, *grad = NULL;
    bool good = period_new(&p, what) && (param = memory_new(device, elements * param_bytes, 0)) &&
                (grad = memory_new(device, elements * grad_bytes, 1)) &&
                fill(device, param, p.before, param_bytes, elements) &&
                fill(device, grad, p.grad, grad_bytes, elements);
    if (!good)
        complain(command, "out of memory: a tensor of %llu elements", (unsigned long long)elements);
    else if (step_reference(what, &p, result) != FOPT_OK || step(&config, what, param, grad, elements) != FOPT_OK) {
        complain(command, "%s", fopt_last_error());
        good = false;
    } else if (!compare(device, what, param, &p, elements, fault, result)) {
        complain(command, "memory of the device cannot be copied");
        good = false;
    }
    memory_free(device, param);
    memory_free(device, grad);
    period_free(&p);
    return good;
}
