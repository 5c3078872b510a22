/* Checks one case: steps on the device and by the reference, compared after each. */
#include "verify/check.h"
#include "machine/hardware.h"
#include "program/options.h"
#include "reference/numbers.h"
#include "reference/oracle.h"
#include "reference/quantized.h"
#include "reference/splitmix.h"
#include "verify/layout.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* A way to run on the device. On the CPU each instruction set is two: alone, and on several threads. */
typedef struct runner {
    fopt_isa isa;
    int threads;
} runner;

enum { STEPS = 3, RUNNERS = 16, THREADS = 3 };

/* The place of an optimizer's state: one block, of which a copy is made after each step. Asking a device for thousands
 * of small arrays takes longer than the step. */
typedef struct arena {
    fopt_device device;
    char *memory; /* on the device */
    char *copy;
    size_t bytes, used;
} arena;

struct check_bench {
    fopt_device device;
    runner runners[RUNNERS];
    size_t runner_count;
    layout layout;
    fopt_tensor *descriptions;                    /* room for them */
    unsigned char *want[STEPS + 1][JUDGE_ARRAYS]; /* the reference: at first, and after each step */
    unsigned char *grads[STEPS];
    unsigned char *got;           /* what came from the device */
    void *param, *grad;           /* on the device */
    arena state;                  /* the device's */
    void *host_param, *host_grad; /* where the reference works */
    arena host_state;
};

static void choose_runners(check_bench *b)
{
    fopt_device_info info = {.size = sizeof info};
    if (b->device.kind != FOPT_CPU || fopt_device_query(b->device, &info) != FOPT_OK) {
        b->runners[b->runner_count++] = (runner){FOPT_ISA_AUTO, 0};
        return;
    }
    for (fopt_isa isa = FOPT_ISA_BASELINE; fopt_isa_name(isa); isa++)
        for (int threads = 1; threads <= THREADS && (info.isas & 1u << isa); threads += THREADS - 1)
            if (isa != FOPT_ISA_BASELINE || threads > 1) /* that is the reference */
                b->runners[b->runner_count++] = (runner){isa, threads};
}

static const fopt_device the_cpu = {FOPT_CPU, 0};

static void arena_free(arena *a)
{
    hardware_release(a->device, a->memory);
    free(a->copy);
    *a = (arena){.device = a->device};
}

/* Give one block at a time, and take it back, as the functions of a fopt_allocator. */
static void *arena_allocate(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    arena *a = context;
    (void)alignment, (void)stream; /* hardware_allocate() aligns to more, and waits */
    if (bytes > a->bytes) {
        arena_free(a);
        a->memory = hardware_allocate(a->device, bytes, 0);
        a->copy = malloc(bytes);
        if (!a->memory || !a->copy) {
            arena_free(a);
            return NULL;
        }
        a->bytes = bytes;
    }
    a->used = bytes;
    return a->memory;
}

static void arena_release(void *context, void *pointer, size_t bytes, fopt_stream stream)
{
    arena *a = context;
    (void)pointer, (void)bytes, (void)stream; /* the next optimizer gets it */
    a->used = 0;
}

check_bench *check_open(const char *command, fopt_device device, size_t small_tensors)
{
    check_bench *b = calloc(1, sizeof *b);
    bool good = b;
    if (good) {
        b->device = b->state.device = device;
        b->host_state.device = the_cpu;
        good = layout_new(small_tensors, &b->layout) &&
               (b->descriptions = calloc(b->layout.tensors, sizeof *b->descriptions));
    }
    if (good) {
        choose_runners(b);
        const size_t bytes = b->layout.elements * sizeof(float);
        for (size_t step = 0; step <= STEPS; step++)
            for (size_t array = 0; array < JUDGE_ARRAYS; array++)
                good = (b->want[step][array] = calloc(1, bytes)) && good;
        for (size_t step = 0; step < STEPS; step++)
            good = (b->grads[step] = calloc(1, bytes)) && good;
        good = (b->got = calloc(1, bytes)) && good;
        good = (b->param = hardware_allocate(device, bytes, 0)) && good;
        good = (b->grad = hardware_allocate(device, bytes, 1)) && good;
        good = (b->host_param = hardware_allocate(the_cpu, bytes, 0)) && good;
        good = (b->host_grad = hardware_allocate(the_cpu, bytes, 1)) && good;
    }
    if (good)
        return b;
    complain(command, "out of memory");
    check_close(b);
    return NULL;
}

void check_close(check_bench *b)
{
    if (!b)
        return;
    for (size_t step = 0; step <= STEPS; step++)
        for (size_t array = 0; array < JUDGE_ARRAYS; array++)
            free(b->want[step][array]);
    for (size_t step = 0; step < STEPS; step++)
        free(b->grads[step]);
    free(b->got);
    layout_free(&b->layout);
    free(b->descriptions);
    hardware_release(b->device, b->param);
    hardware_release(b->device, b->grad);
    hardware_release(the_cpu, b->host_param);
    hardware_release(the_cpu, b->host_grad);
    arena_free(&b->state);
    arena_free(&b->host_state);
    free(b);
}

size_t check_tensors(const check_bench *b)
{
    return b->layout.tensors;
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

typedef enum data_kind { ORDINARY, ADVERSARIAL, DATA_KINDS } data_kind;
static const char *const data_names[DATA_KINDS] = {"ordinary", "adversarial"};

enum { UNTOUCHED = 0xa5, ONE_IN = 8 /* numbers is adversarial */ };

static void draw(const check_bench *b, data_kind kind, fopt_format format, unsigned char *array, splitmix *random)
{
    memset(array, UNTOUCHED, b->layout.elements * sizeof(float));
    for (size_t t = 0; t < b->layout.tensors; t++)
        for (size_t i = b->layout.places[t].begin; i < b->layout.places[t].begin + b->layout.places[t].count; i++)
            numbers_set(format, array, i,
                        kind == ADVERSARIAL && splitmix_next(random) % ONE_IN == 0 ? numbers_special(format, random)
                                                                                   : numbers_ordinary(format, random));
}

static void draw_all(check_bench *b, const check_case *what, data_kind kind)
{
    splitmix random = {what->seed};
    draw(b, kind, what->formats.param, b->want[0][JUDGE_PARAM], &random);
    for (size_t array = JUDGE_STATES; array < JUDGE_ARRAYS; array++)
        memset(b->want[0][array], 0, b->layout.elements * sizeof(float));
    for (size_t step = 0; step < STEPS; step++)
        draw(b, kind, what->formats.grad, b->grads[step], &random);
}

/* ---- one run ------------------------------------------------------------------------------------------------- */

/* An optimizer of a case's tensors, on the device or as the reference. */
typedef struct session {
    const check_bench *bench;
    const check_case *what;
    fopt_device device;
    void *param, *grad;
    arena *state;
    fopt_optimizer *optimizer;
} session;

/* These return NULL, or what went wrong. */
static const char *copied(bool good)
{
    return good ? NULL : "memory of the device cannot be copied";
}

static const char *done(fopt_status status)
{
    return status == FOPT_OK ? NULL : fopt_last_error();
}

static const char *begin(session *s, runner how)
{
    const check_bench *b = s->bench;
    const case_formats formats = s->what->formats;
    const fopt_config config = {.size = sizeof config,
                                .device = s->device,
                                .seed = s->what->seed,
                                .device_allocator = {s->state, arena_allocate, arena_release},
                                .isa = how.isa,
                                .threads = how.threads};
    for (size_t t = 0; t < b->layout.tensors; t++)
        b->descriptions[t] =
            (fopt_tensor){.size = sizeof *b->descriptions,
                          .param = (char *)s->param + b->layout.places[t].begin * numbers_bytes(formats.param),
                          .grad = (char *)s->grad + b->layout.places[t].begin * numbers_bytes(formats.grad),
                          .count = b->layout.places[t].count,
                          .param_format = formats.param,
                          .grad_format = formats.grad};
    const char *wrong = copied(hardware_write(s->device, s->param, b->want[0][JUDGE_PARAM],
                                              b->layout.elements * numbers_bytes(formats.param)));
    return wrong ? wrong
                 : done(fopt_create(&config, &s->what->group, 1, b->descriptions, b->layout.tensors, &s->optimizer));
}

/* Leaves a copy of the state in its arena. */
static const char *make_step(session *s, size_t step)
{
    const size_t bytes = s->bench->layout.elements * numbers_bytes(s->what->formats.grad);
    const char *wrong = copied(hardware_write(s->device, s->grad, s->bench->grads[step], bytes));
    if (!wrong)
        wrong = done(fopt_step(s->optimizer, NULL, hardware_queue(s->device)));
    return wrong ? wrong
                 : copied(s->state->used == 0 ||
                          hardware_read(s->device, s->state->copy, s->state->memory, s->state->used));
}

static fopt_format format_of(const check_case *what, size_t array)
{
    return array == JUDGE_PARAM ? what->formats.param : what->group.state_format[array - JUDGE_STATES];
}

bool check_keeps(const fopt_group *group, size_t array)
{
    return array == JUDGE_PARAM || oracle_keeps(group, (fopt_state_kind)(array - JUDGE_STATES));
}

static void read_copy(const arena *a, void *to, const void *from, size_t bytes)
{
    memcpy(to, a->copy + ((const char *)from - a->memory), bytes);
}

static const char *read_array(const session *s, size_t array, unsigned char *to)
{
    const check_bench *b = s->bench;
    const fopt_format format = format_of(s->what, array);
    const size_t bytes = numbers_bytes(format);
    if (array == JUDGE_PARAM)
        return copied(hardware_read(s->device, to, s->param, b->layout.elements * bytes));
    memset(to, 0, b->layout.elements * sizeof(float));
    for (size_t t = 0; t < b->layout.tensors; t++) {
        const place *p = &b->layout.places[t];
        fopt_array view = {.size = sizeof view};
        if (fopt_state(s->optimizer, t, (fopt_state_kind)(array - JUDGE_STATES), &view) != FOPT_OK)
            return fopt_last_error();
        if (!view.data)
            continue;
        read_copy(s->state, to + p->begin * bytes, view.data, view.bytes);
        if (is_quantized(format))
            read_copy(s->state, layout_absmax(&b->layout, to) + LAYOUT_SCALES * p->tile, view.absmax,
                      quantized_blocks(format, p->count) * sizeof(float));
    }
    return NULL;
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

/* The scene of a comparison: where it is made, and in what. */
typedef struct scene {
    check_bench *bench;
    const check_case *what;
    const check_fault *fault;
    data_kind data;
    check_result *result;
} scene;

/* Moves an element of the first tensor by some units in the last place, if the fault is to be there. */
static void plant(const scene *s, bool in_reference, size_t step, size_t array, unsigned char *data)
{
    const check_fault *fault = s->fault;
    if (!fault || fault->in_reference != in_reference || fault->array != array || step != STEPS || s->data != ORDINARY)
        return;
    const fopt_format format = fault->absmax ? FOPT_F32 : format_of(s->what, array);
    const size_t element = fault->absmax ? 1 : s->bench->layout.places[0].begin + s->bench->layout.places[0].count / 2;
    const uint32_t units = !in_reference ? 1 : format == FOPT_F32 ? 1u << 16 : 4;
    void *to = fault->absmax ? (void *)layout_absmax(&s->bench->layout, data) : data;
    numbers_set(format, to, element, numbers_get(format, to, element) + units);
}

/* Says what is wrong, if nothing was before. */
static void note(const scene *s, size_t array, size_t step, size_t element, const char *wrong)
{
    const check_bench *b = s->bench;
    const size_t t = layout_tensor_of(&b->layout, element);
    if (s->result->message[0] == '\0')
        snprintf(s->result->message, sizeof s->result->message,
                 "%s of tensor %zu (%zu elements), element %zu, %s data, step %zu: %s",
                 judge_array_name(s->what->group.rule, array), t, b->layout.places[t].count,
                 element - b->layout.places[t].begin, data_names[s->data], step, wrong);
}

/* Asks the oracle about step number `step`, from 1, of the reference. */
static void ask_oracle(const scene *s, size_t step)
{
    const check_bench *b = s->bench;
    judge_arrays before, after;
    for (size_t array = 0; array < JUDGE_ARRAYS; array++) {
        const bool kept = check_keeps(&s->what->group, array);
        before.data[array] = kept ? b->want[step - 1][array] : NULL;
        after.data[array] = kept ? b->want[step][array] : NULL;
        before.formats[array] = after.formats[array] = format_of(s->what, array);
    }
    judge_error worst[JUDGE_ARRAYS] = {0};
    for (size_t t = 0; t < b->layout.tensors; t++) {
        for (size_t array = JUDGE_STATES; array < JUDGE_ARRAYS; array++) {
            const size_t scales = LAYOUT_SCALES * b->layout.places[t].tile;
            before.absmax[array] = layout_absmax(&b->layout, b->want[step - 1][array]) + scales;
            after.absmax[array] = layout_absmax(&b->layout, b->want[step][array]) + scales;
        }
        judge_step(&s->what->group, (int64_t)step, &before, s->what->formats.grad, b->grads[step - 1], &after,
                   b->layout.places[t].begin, b->layout.places[t].begin + b->layout.places[t].count, worst);
        s->result->elements += b->layout.places[t].count;
    }
    for (size_t array = 0; array < JUDGE_ARRAYS; array++) {
        double *most = array == JUDGE_PARAM ? &s->result->param_ulps : &s->result->state_ulps;
        *most = fmax(*most, worst[array].ulps);
        if (worst[array].ulps > (array == JUDGE_PARAM ? ORACLE_PARAM_ULPS : ORACLE_STATE_ULPS)) {
            char wrong[128];
            snprintf(wrong, sizeof wrong, "%.3g ulp from the oracle: got %a want %a", worst[array].ulps,
                     worst[array].got, worst[array].want);
            note(s, array, step, worst[array].element, wrong);
        }
    }
}

static const char *run_reference(const scene *s)
{
    check_bench *b = s->bench;
    session reference = {b, s->what, the_cpu, b->host_param, b->host_grad, &b->host_state, NULL};
    const char *wrong = begin(&reference, (runner){FOPT_ISA_BASELINE, 1});
    for (size_t step = 1; step <= STEPS && !wrong; step++) {
        wrong = make_step(&reference, step - 1);
        for (size_t array = 0; array < JUDGE_ARRAYS && !wrong; array++)
            if (check_keeps(&s->what->group, array)) {
                wrong = read_array(&reference, array, b->want[step][array]);
                plant(s, true, step, array, b->want[step][array]);
            }
        if (!wrong)
            ask_oracle(s, step);
    }
    fopt_destroy(reference.optimizer);
    return wrong;
}

static void compare_absmax(const scene *s, size_t step, size_t array)
{
    check_bench *b = s->bench;
    size_t scale;
    const uint64_t differing =
        judge_bits(FOPT_F32, layout_absmax(&b->layout, b->got), layout_absmax(&b->layout, b->want[step][array]),
                   LAYOUT_SCALES * b->layout.tiles, &scale);
    if (differing == 0)
        return;
    const size_t tile = scale / LAYOUT_SCALES;
    const place *p = &b->layout.places[layout_tensor_of_tile(&b->layout, tile)];
    note(s, array, step, p->begin + (tile - p->tile) * LAYOUT_TILE, "another absmax of the tile");
    s->result->differing_bits += differing;
}

static void compare_array(const scene *s, runner how, size_t step, size_t array)
{
    const check_bench *b = s->bench;
    const fopt_format format = format_of(s->what, array);
    const unsigned char *want = b->want[step][array];
    size_t element;
    const uint64_t differing = judge_bits(format, b->got, want, b->layout.elements, &element);
    if (is_quantized(format))
        compare_absmax(s, step, array);
    if (differing == 0)
        return;
    char wrong[160], where[40] = "the device";
    if (b->device.kind == FOPT_CPU)
        snprintf(where, sizeof where, "%s with %d thread%s", fopt_isa_name(how.isa), how.threads,
                 how.threads > 1 ? "s" : "");
    snprintf(wrong, sizeof wrong, "%s gives 0x%0*x, the portable code 0x%0*x", where, (int)(2 * numbers_bytes(format)),
             (unsigned)numbers_get(format, b->got, element), (int)(2 * numbers_bytes(format)),
             (unsigned)numbers_get(format, want, element));
    note(s, array, step, element, wrong);
    s->result->differing_bits += differing;
}

static const char *run_device(const scene *s, runner how)
{
    check_bench *b = s->bench;
    session tried = {b, s->what, b->device, b->param, b->grad, &b->state, NULL};
    const char *wrong = begin(&tried, how);
    for (size_t step = 1; step <= STEPS && !wrong; step++) {
        wrong = make_step(&tried, step - 1);
        for (size_t array = 0; array < JUDGE_ARRAYS && !wrong; array++)
            if (check_keeps(&s->what->group, array)) {
                wrong = read_array(&tried, array, b->got);
                plant(s, false, step, array, b->got);
                if (!wrong)
                    compare_array(s, how, step, array);
            }
    }
    fopt_destroy(tried.optimizer);
    return wrong;
}

bool check_run(const char *command, check_bench *bench, const check_case *what, const check_fault *fault,
               check_result *result)
{
    const char *wrong = NULL;
    *result = (check_result){0};
    for (data_kind data = 0; data < DATA_KINDS && !wrong; data++) {
        const scene s = {bench, what, fault, data, result};
        draw_all(bench, what, data);
        wrong = run_reference(&s);
        for (size_t i = 0; i < bench->runner_count && !wrong; i++)
            wrong = run_device(&s, bench->runners[i]);
    }
    if (wrong)
        complain(command, "%s", wrong);
    return !wrong;
}
