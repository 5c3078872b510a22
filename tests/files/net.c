#include "net.h"
#include "../reference/numbers.h"
#include "../reference/quantized.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) cr_assert_eq(call, FOPT_OK, "%s: %s", #call, fopt_last_error())

static void copy_host(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

const net_place net_host = {{FOPT_CPU, 0}, malloc, free, copy_host};

/* The tensors, and how their state is kept. */
static const struct tensor {
    const char *name;
    size_t count;
    fopt_format params;
    fopt_rule rule;
    unsigned flags;
    double momentum;
    fopt_format first, second, maximum, buffer;
} tensors[NET_TENSORS] = {
    {"embed.weight", 9 * TILE + 17, FOPT_F32, FOPT_ADAM, 0, 0, FOPT_F32, FOPT_F32, 0, 0},
    {"layers.0.weight", 8 * TILE, FOPT_BF16, FOPT_ADAMW, FOPT_DECOUPLED_DECAY, 0, FOPT_BF16, FOPT_BF16, 0, 0},
    {"layers.0.bias", 5 * TILE + 1, FOPT_F32, FOPT_ADAMW, FOPT_DECOUPLED_DECAY, 0, FOPT_Q8, FOPT_Q8, 0, 0},
    {"layers.1.weight", 4 * TILE, FOPT_BF16, FOPT_ADAM, FOPT_AMSGRAD, 0, FOPT_Q8_64, FOPT_F32, FOPT_BF16, 0},
    {"layers.1.bias", 10, FOPT_F32, FOPT_SGD, 0, 0.9, 0, 0, 0, FOPT_F32},
    {"layers.2.weight", 3 * TILE, FOPT_F32, FOPT_SGD, 0, 0.5, 0, 0, 0, FOPT_Q8},
    {"layers.2.bias", TILE, FOPT_F16, FOPT_SGD, 0, 0, 0, 0, 0, 0},
    {"norm", 2 * TILE + 100, FOPT_F32, FOPT_RMSPROP, FOPT_CENTERED, 0.9, FOPT_F32, FOPT_F32, 0, FOPT_BF16},
    {"head.weight", 6 * TILE + 64, FOPT_F32, FOPT_RMSPROP, 0, 0.9, 0, FOPT_Q8, 0, FOPT_BF16},
    {"head.bias", 300, FOPT_F16, FOPT_ADAMW, FOPT_DECOUPLED_DECAY, 0, FOPT_BF16, FOPT_Q8_64, 0, 0},
};

/* Fills an array with values that depend on a number alone. */
static void fill(unsigned char *array, size_t tensor, size_t number)
{
    splitmix random = {number * NET_TENSORS + tensor};
    for (size_t i = 0; i < tensors[tensor].count; i++) {
        const double value = (double)splitmix_symmetric(&random) * (i % 50 == 0 ? 100 : 1);
        numbers_set(tensors[tensor].params, array, i, numbers_nearest(tensors[tensor].params, value));
    }
}

static void fill_all(const net *n, unsigned char *arrays, size_t number)
{
    unsigned char *host = calloc(NET_TENSORS, NET_BYTES);
    cr_assert(host);
    for (size_t i = 0; i < NET_TENSORS; i++)
        fill(host + i * NET_BYTES, i, number);
    n->place->copy(arrays, host, (size_t)NET_TENSORS * NET_BYTES);
    free(host);
}

void net_describe(net *n, const net_place *place, size_t rank_count)
{
    *n = (net){.place = place, .rank_count = rank_count};
    n->params = place->give((size_t)NET_TENSORS * NET_BYTES);
    n->grads = place->give((size_t)NET_TENSORS * NET_BYTES);
    cr_assert(n->params && n->grads);
    fill_all(n, n->params, 1000);
    for (size_t i = 0; i < NET_TENSORS; i++) {
        const struct tensor *t = &tensors[i];
        OK(fopt_group_init(&n->groups[i], sizeof n->groups[i], t->rule));
        n->groups[i].lr = 0.01;
        n->groups[i].flags = t->flags;
        n->groups[i].momentum = t->momentum;
        n->groups[i].state_format[FOPT_FIRST_MOMENT] = t->first;
        n->groups[i].state_format[FOPT_SECOND_MOMENT] = t->second;
        n->groups[i].state_format[FOPT_MAX_SECOND_MOMENT] = t->maximum;
        n->groups[i].state_format[FOPT_MOMENTUM_BUFFER] = t->buffer;
        n->wholes[i] = (fopt_tensor){.size = sizeof n->wholes[i],
                                     .name = t->name,
                                     .param = n->params + i * NET_BYTES,
                                     .grad = n->grads + i * NET_BYTES,
                                     .count = t->count,
                                     .param_format = t->params,
                                     .grad_format = t->params,
                                     .group = i,
                                     .global_id = i + 1,
                                     .full_count = t->count};
    }
}

/* Gives a rank the tiles of a tensor that are its own. */
static void cut(const net *n, size_t rank, size_t tensor, fopt_tensor *shard)
{
    const fopt_tensor *whole = &n->wholes[tensor];
    const size_t tiles = (whole->count + TILE - 1) / TILE, bytes = numbers_bytes(whole->param_format);
    const size_t first = tiles * rank / n->rank_count * TILE;
    const size_t end = rank + 1 == n->rank_count ? whole->count : tiles * (rank + 1) / n->rank_count * TILE;
    *shard = *whole;
    shard->first_element = first;
    shard->count = first < end ? end - first : 0;
    shard->param = (char *)whole->param + first * bytes;
    shard->grad = (char *)whole->grad + first * bytes;
}

void net_create(net *n)
{
    for (size_t r = 0; r < n->rank_count; r++) {
        net_rank *rank = &n->ranks[r];
        rank->config = (fopt_config){.size = sizeof rank->config, .device = n->place->device, .seed = 7, .threads = 1};
        for (size_t i = 0; i < NET_TENSORS; i++) {
            cut(n, r, i, &rank->tensors[rank->count]);
            rank->count += rank->tensors[rank->count].count > 0;
        }
        rank->run = (fopt_run){.size = sizeof rank->run,
                               .config = &rank->config,
                               .groups = n->groups,
                               .group_count = NET_TENSORS,
                               .tensors = rank->tensors,
                               .tensor_count = rank->count};
        OK(fopt_create(&rank->config, n->groups, NET_TENSORS, rank->tensors, rank->count, &rank->run.optimizer));
    }
}

void net_open(net *n, const net_place *place, size_t rank_count)
{
    net_describe(n, place, rank_count);
    net_create(n);
}

void net_close(net *n)
{
    for (size_t r = 0; r < n->rank_count; r++)
        fopt_destroy(n->ranks[r].run.optimizer);
    n->place->take(n->params);
    n->place->take(n->grads);
}

void net_train(net *n, size_t begin, size_t end)
{
    for (size_t step = begin; step < end; step++) {
        fill_all(n, n->grads, step);
        for (size_t r = 0; r < n->rank_count; r++)
            OK(fopt_step(n->ranks[r].run.optimizer, NULL, NULL));
    }
}

void net_read_params(const net *n, unsigned char *params)
{
    int64_t step; /* reading one waits for the steps */
    for (size_t r = 0; r < n->rank_count; r++)
        if (n->ranks[r].count > 0)
            OK(fopt_get_step(n->ranks[r].run.optimizer, 0, &step, NULL));
    n->place->copy(params, n->params, (size_t)NET_TENSORS * NET_BYTES);
}

/* Adds bytes of a rank's to a snapshot. */
static void add(unsigned char *snapshot, size_t *bytes, const fopt_run *run, const void *from, size_t more)
{
    OK(fopt_copy(run->optimizer, snapshot + *bytes, from, more, NULL));
    *bytes += more;
}

void *net_snapshot(const net *n, size_t rank, size_t *bytes)
{
    const fopt_run *run = &n->ranks[rank].run;
    unsigned char *snapshot = malloc((size_t)(FOPT_STATE_KINDS + 2) * NET_TENSORS * NET_BYTES);
    cr_assert(snapshot);
    *bytes = 0;
    for (size_t i = 0; i < run->tensor_count; i++) {
        int64_t step;
        OK(fopt_get_step(run->optimizer, i, &step, NULL));
        memcpy(snapshot + *bytes, &step, sizeof step);
        *bytes += sizeof step;
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            fopt_array view = {.size = sizeof view};
            OK(fopt_state(run->optimizer, i, (fopt_state_kind)kind, &view));
            add(snapshot, bytes, run, view.data, view.bytes);
            if (view.absmax)
                add(snapshot, bytes, run, view.absmax, quantized_blocks(view.format, view.count) * sizeof(float));
        }
    }
    net_read_params(n, snapshot + *bytes);
    *bytes += (size_t)NET_TENSORS * NET_BYTES;
    return snapshot;
}

bool net_mentions(const char *text, const char *pattern)
{
    while (*pattern) {
        const size_t length = strcspn(pattern, "*");
        text = memmem(text, strlen(text), pattern, length);
        if (!text)
            return false;
        text += length;
        pattern += length + (pattern[length] == '*');
    }
    return true;
}
