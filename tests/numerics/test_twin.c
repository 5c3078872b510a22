/*
 * One arithmetic everywhere: the same bits from every instruction set, number of threads, route and way to cut a tensor
 * into shards, for every case and every triple of formats.
 *
 * The reference is the baseline, on one thread, by fopt_update(), of the whole tensor. That it is right is for the
 * tests with an oracle to say.
 */
#include "../api/callers_threads.h"
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#define STEPS   3
#define SMALL   (5 * TILE + 57)
#define LARGE   (450 * TILE + 57)
#define THREADS 7 /* for which a large tensor must be work enough */
#define ID      1234567890123u

/* ---- the ways to run ----------------------------------------------------------------------------------------- */

typedef enum route { UPDATE, ONE_OPTIMIZER, OPTIMIZER_EACH } route;

/* How the work is spread, and its name. */
typedef struct spread {
    const char *name;
    int threads;
    fopt_parallel_for parallel_for;
} spread;

typedef struct way {
    fopt_isa isa;
    const spread *spread;
    route route;
    bool shards;
} way;

/* Makes the calls, and writes to the context how many pieces there were. */
static int counting(void *context, size_t count, call_function *function, void *argument)
{
    *(size_t *)context = count;
    return forwards(NULL, count, function, argument);
}

static const spread spreads[] = {
    {"threads=1", 1, NULL},       {"threads=2", 2, NULL},          {"threads=3", 3, NULL},
    {"threads=7", THREADS, NULL}, {"pthreads", 0, on_own_threads}, {"serially", 0, counting},
    {"reversed", 0, backwards},
};

/* ---- one run ------------------------------------------------------------------------------------------------- */

/* The work: what is computed, on the data of the seed. */
typedef struct work {
    fopt_group group;
    fopt_format param, grad;
    size_t count;
    uint64_t seed;
} work;

/* Arrays of any format. */
typedef struct storage {
    _Alignas(64) unsigned char bytes[4 * LARGE];
} storage;

typedef struct outcome {
    storage param, state[FOPT_STATE_KINDS];
} outcome;

static storage start, grads[STEPS];
static outcome want, got;

static void draw_data(const work *w)
{
    fill_random(w->param, start.bytes, w->count, w->seed, 8);
    for (size_t step = 0; step < STEPS; step++)
        fill_random(w->grad, grads[step].bytes, w->count, w->seed + 1 + step, 8);
}

#define SHARDS 4

/* Returns where a shard begins: after none, one, two fifths and four fifths of the tiles. Where the one after the last
 * would, the tensor ends. */
static size_t cut(size_t count, size_t shard)
{
    const size_t cuts[] = {0, TILE, count / TILE * 2 / 5 * TILE, count / TILE * 4 / 5 * TILE, count};
    return cuts[shard];
}

static unsigned char *at(const storage *array, fopt_format format, size_t element)
{
    return (unsigned char *)array->bytes + element * numbers_bytes(format);
}

/* Describes the whole tensor, or shard number `index`. */
static fopt_tensor describe(const work *w, bool shards, size_t index)
{
    const size_t begin = shards ? cut(w->count, index) : 0;
    const size_t end = shards ? cut(w->count, index + 1) : w->count;
    return (fopt_tensor){.size = sizeof(fopt_tensor),
                         .param = at(&got.param, w->param, begin),
                         .grad = at(&grads[0], w->grad, begin),
                         .count = end - begin,
                         .param_format = w->param,
                         .grad_format = w->grad,
                         .global_id = ID,
                         .first_element = begin,
                         .full_count = w->count};
}

static fopt_array moments(const work *w, outcome *of, fopt_state_kind kind)
{
    return moment_array(w->group.state_format[kind], of->state[kind].bytes, w->count);
}

static void run_updates(const work *w, const fopt_config *config, fopt_tensor tensor)
{
    fopt_array states[FOPT_STATE_KINDS];
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        states[kind] = (fopt_array){.size = sizeof(fopt_array)};
        if (oracle_keeps(&w->group, kind))
            states[kind] = moment_part(moments(w, &got, kind), tensor.first_element, tensor.count);
    }
    for (size_t step = 0; step < STEPS; step++) {
        tensor.grad = at(&grads[step], w->grad, tensor.first_element);
        expect_ok(fopt_update(config, &w->group, &tensor, states, (int64_t)step + 1, NULL, NULL));
    }
}

static void run_optimizer(const work *w, const fopt_config *config, const fopt_tensor *tensors, size_t tensor_count)
{
    fopt_optimizer *optimizer;
    expect_ok(fopt_create(config, &w->group, 1, tensors, tensor_count, &optimizer));
    for (size_t step = 0; step < STEPS; step++) {
        void *pointers[SHARDS];
        for (size_t i = 0; i < tensor_count; i++)
            pointers[i] = at(&grads[step], w->grad, tensors[i].first_element);
        expect_ok(fopt_set_grads(optimizer, pointers, NULL));
        expect_ok(fopt_step(optimizer, NULL, NULL));
    }
    for (size_t i = 0; i < tensor_count; i++)
        for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            expect_ok(fopt_state(optimizer, i, kind, &view));
            if (view.data)
                copy_moments(moment_part(moments(w, &got, kind), tensors[i].first_element, tensors[i].count), view);
        }
    fopt_destroy(optimizer);
}

/* Runs the work one way, and leaves the result in `got`. */
static void run(const work *w, way how)
{
    static const char *const routes[] = {"update", "step", "steps"};
    char name[CASE_NAME_SIZE];
    case_name(&w->group, name);
    now_running("%s %s/%s/%s %s %s %s %s seed=%llu", name, fopt_format_name(w->param), fopt_format_name(w->grad),
                fopt_format_name(w->group.state_format[FOPT_SECOND_MOMENT]), fopt_isa_name(how.isa), how.spread->name,
                routes[how.route], how.shards ? "shards" : "whole", (unsigned long long)w->seed);

    size_t pieces = THREADS;
    const fopt_config config = {.size = sizeof config,
                                .seed = w->seed,
                                .parallel_context = &pieces,
                                .isa = how.isa,
                                .threads = how.spread->threads,
                                .parallel_for = how.spread->parallel_for};
    const size_t tensor_count = how.shards ? SHARDS : 1;
    fopt_tensor tensors[SHARDS];
    memcpy(got.param.bytes, start.bytes, w->count * numbers_bytes(w->param));
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        memset(got.state[kind].bytes, 0, moment_bytes(w->group.state_format[kind], w->count));
    for (size_t i = 0; i < tensor_count; i++)
        tensors[i] = describe(w, how.shards, i);

    if (how.route == ONE_OPTIMIZER)
        run_optimizer(w, &config, tensors, tensor_count);
    for (size_t i = 0; i < tensor_count && how.route == OPTIMIZER_EACH; i++)
        run_optimizer(w, &config, &tensors[i], 1);
    for (size_t i = 0; i < tensor_count && how.route == UPDATE; i++)
        run_updates(w, &config, tensors[i]);
    cr_assert(pieces >= THREADS || how.shards || w->count < LARGE, "%s: only %zu pieces of work", what_runs(), pieces);
}

static void run_reference(const work *w)
{
    draw_data(w);
    run(w, (way){FOPT_ISA_BASELINE, &spreads[0], UPDATE, false});
    want.param = got.param;
    memcpy(want.state, got.state, sizeof want.state);
}

static void compare(const work *w)
{
    expect_same("param", w->param, got.param.bytes, want.param.bytes, w->count);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (oracle_keeps(&w->group, kind))
            expect_same_moments(fopt_state_kind_name(w->group.rule, kind), moments(w, &got, kind),
                                moments(w, &want, kind));
}

static const struct {
    route route;
    bool shards;
} routes[] = {{UPDATE, false}, {UPDATE, true}, {ONE_OPTIMIZER, false}, {ONE_OPTIMIZER, true}, {OPTIMIZER_EACH, true}};

/* ---- the tests ----------------------------------------------------------------------------------------------- */

static work describe_work(size_t case_index, case_formats formats, size_t count)
{
    work w = {case_group(case_index), formats.param, formats.grad, count, case_index + 1};
    case_set_state(&w.group, formats.state);
    return w;
}

/* Compares every route with every instruction set, on one thread. */
static void compare_routes(const work *w)
{
    run_reference(w);
    for (size_t i = 0; i < isa_count() * LENGTH(routes); i++) {
        const size_t r = i % LENGTH(routes);
        run(w, (way){isa_at(i / LENGTH(routes)), &spreads[0], routes[r].route, routes[r].shards});
        compare(w);
    }
}

/* Compares every spread, for which instruction sets and routes take turns. */
static void compare_spreads(const work *w, size_t turn)
{
    run_reference(w);
    for (size_t i = 0; i < LENGTH(spreads); i++, turn++) {
        const size_t r = turn % LENGTH(routes);
        run(w, (way){isa_at(turn % isa_count()), &spreads[i], routes[r].route, routes[r].shards});
        compare(w);
    }
}

static void free_indices(struct criterion_test_params *parameters)
{
    cr_free(parameters->params);
}

ParameterizedTestParameters(twin, every_case)
{
    size_t *indices = cr_malloc(case_count() * sizeof *indices);
    for (size_t i = 0; i < case_count(); i++)
        indices[i] = i;
    return cr_make_param_array(size_t, indices, case_count(), free_indices);
}

/* Takes all triples of formats in turn for the tensor that occupies all threads. */
ParameterizedTest(const size_t *index, twin, every_case)
{
    for (size_t f = 0; f < case_formats_count(); f++) {
        const work small = describe_work(*index, case_formats_at(f), SMALL);
        compare_routes(&small);
    }
    const work large = describe_work(*index, case_formats_at(*index * 5 % case_formats_count()), LARGE);
    compare_spreads(&large, *index);
}

/* Averages have another form for a beta up to one half (kernels/arithmetic.h); and each moment has a format of its
 * own. */
Test(twin, other_weights_and_mixed_moments)
{
    for (size_t i = 0; i < case_count(); i++) {
        work w = describe_work(i, case_formats_at(i % case_formats_count()), SMALL);
        fopt_group *g = &w.group;
        double *const weights[] = {&g->beta1, &g->beta2, &g->alpha, &g->momentum};
        for (size_t k = 0; k < LENGTH(weights); k++)
            if (*weights[k] != 0)
                *weights[k] = k % 2 == i % 2 ? 0.3 : 0.5;
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
            g->state_format[kind] = case_state_at(
                (kind + i) % (g->flags & FOPT_CENTERED ? case_plain_states_count() : case_states_count()));
        compare_routes(&w);
    }
}

/* All ways to run, for some cases of each rule. */
Test(twin, every_way)
{
    for (size_t index = 0; index < case_count(); index += 23) {
        const case_formats formats = case_formats_at(index * 5 % case_formats_count());
        const work w = describe_work(index, formats, LARGE);
        run_reference(&w);
        for (size_t way_index = 0; way_index < isa_count() * LENGTH(spreads) * LENGTH(routes); way_index++) {
            const size_t r = way_index % LENGTH(routes), s = way_index / LENGTH(routes);
            run(&w,
                (way){isa_at(s / LENGTH(spreads)), &spreads[s % LENGTH(spreads)], routes[r].route, routes[r].shards});
            compare(&w);
        }
    }
}
