/* The mini training engine: batches, the schedule of the learning rate, and the calls of the library. */
#include "train/engine.h"
#include "program/stopwatch.h"
#include "reference/splitmix.h"
#include "train/mlp.h"
#include <math.h>
#include <stdio.h>

_Static_assert((int)MLP_INPUTS == (int)DATASET_PIXELS, "the network reads the digits");

enum { BATCH = 32, BATCHES = (DATASET_TRAINING + BATCH - 1) / BATCH };
enum { WEIGHTS, BIASES, GROUPS }; /* apart, since only weights decay */
enum { TENSORS = MLP_LAYERS * GROUPS };

/* The engine's part of the device's memory, besides the network. */
typedef struct device_side {
    float pixels[BATCH][DATASET_PIXELS]; /* of the batch */
    uint8_t labels[BATCH];
    dataset data;
    size_t order[DATASET_TRAINING];
    double loss;
    uint32_t correct;
} device_side;

typedef struct trainer {
    train_device *device;
    device_side *there; /* the host may take addresses in it, no more */
    mlp net;
    fopt_optimizer *optimizer;
    splitmix random;
    size_t order[DATASET_TRAINING];
    double step_seconds;
} trainer;

/* Tells whether all is well after a call of the library. */
static bool good(train_device *d, fopt_status status)
{
    if (status != FOPT_OK)
        train_device_fail(d, "%s", fopt_last_error());
    return !d->failed;
}

static void describe_groups(const engine_rule *rule, fopt_group *groups)
{
    for (size_t i = 0; i < GROUPS; i++) {
        fopt_group_init(&groups[i], sizeof groups[i], rule->rule);
        groups[i].lr = rule->lr;
        groups[i].momentum = rule->momentum;
        groups[i].weight_decay = i == WEIGHTS ? rule->weight_decay : 0.0;
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
            groups[i].state_format[kind] = rule->state_format;
    }
}

static void describe_tensors(const mlp *net, fopt_tensor *tensors)
{
    static const char *const names[MLP_LAYERS][GROUPS] = {
        {"layer1.weights", "layer1.biases"}, {"layer2.weights", "layer2.biases"}, {"layer3.weights", "layer3.biases"}};
    for (size_t i = 0; i < TENSORS; i++) {
        const mlp_layer *layer = &net->layers[i / GROUPS];
        const size_t group = i % GROUPS;
        const bool weights = group == WEIGHTS;
        tensors[i] = (fopt_tensor){
            .size = sizeof tensors[i],
            .name = names[i / GROUPS][group],
            .param = weights ? layer->weights : layer->biases,
            .grad = weights ? layer->weight_grads : layer->bias_grads,
            .count = weights ? layer->inputs * layer->outputs : layer->outputs,
            .group = group,
        };
    }
}

static bool create_optimizer(trainer *t, engine_run *run)
{
    /* One thread: waking others takes longer than a step of so few parameters, far longer on a machine that is busy. */
    const fopt_config config = {.size = sizeof config, .device = t->device->id, .seed = run->seed, .threads = 1};
    fopt_group groups[GROUPS];
    fopt_tensor tensors[TENSORS];
    describe_groups(run->rule, groups);
    describe_tensors(&t->net, tensors);

    fopt_sizes sizes = {.size = sizeof sizes};
    if (!good(t->device, fopt_query_sizes(&config, groups, GROUPS, tensors, TENSORS, &sizes)))
        return false;
    size_t params = 0;
    for (size_t i = 0; i < TENSORS; i++)
        params += tensors[i].count;
    run->state_bytes_per_param = (double)sizes.state_bytes / (double)params;
    return good(t->device, fopt_create(&config, groups, GROUPS, tensors, TENSORS, &t->optimizer));
}

/* Returns the part of the highest learning rate: up in a straight line over the first twentieth, then down half a
 * cosine. */
static double schedule(size_t step, size_t steps)
{
    const size_t warmup = steps / 20 + 1;
    if (step < warmup)
        return (double)(step + 1) / (double)warmup;
    return 0.5 + 0.5 * cos(acos(-1.0) * (double)(step - warmup) / (double)(steps - warmup));
}

static fopt_status set_lr(trainer *t, double lr)
{
    fopt_status status = FOPT_OK;
    for (size_t group = 0; group < GROUPS && status == FOPT_OK; group++)
        status = fopt_set_lr(t->optimizer, group, lr, t->device->stream);
    return status;
}

/* Makes the optimizer's step, timed from an idle device to an idle device. */
static bool take_step(trainer *t)
{
    train_device *d = t->device;
    d->does->wait(d);
    const double start = stopwatch();
    const fopt_status status = fopt_step(t->optimizer, NULL, d->stream);
    d->does->wait(d);
    t->step_seconds += stopwatch() - start;
    return good(d, status);
}

/* Makes one step on the samples order[first ...]; adds their loss to there->loss. */
static bool train_batch(trainer *t, size_t first, double lr)
{
    train_device *d = t->device;
    device_side *there = t->there;
    const size_t rows = first + BATCH <= DATASET_TRAINING ? BATCH : DATASET_TRAINING - first;
    if (!good(d, fopt_zero_grads(t->optimizer, d->stream)) || /* mlp_backward() adds to them */
        !good(d, set_lr(t, lr)))
        return false;
    d->does->gather(d, there->order + first, rows, DATASET_PIXELS, there->data.pixels[0], there->data.labels,
                    there->pixels[0], there->labels);
    mlp_forward(&t->net, there->pixels[0], rows);
    mlp_loss(&t->net, there->labels, rows, &there->loss);
    mlp_backward(&t->net, there->pixels[0], rows);
    return take_step(t);
}

static bool train_epoch(trainer *t, size_t epoch, const engine_run *run)
{
    train_device *d = t->device;
    double loss = 0.0;
    splitmix_shuffle(&t->random, t->order, DATASET_TRAINING);
    d->does->upload(d, t->there->order, t->order, sizeof t->order);
    d->does->upload(d, &t->there->loss, &loss, sizeof loss);
    for (size_t batch = 0; batch < BATCHES; batch++) {
        const double lr = run->rule->lr * schedule(epoch * BATCHES + batch, run->epochs * BATCHES);
        if (!train_batch(t, batch * BATCH, lr))
            return false;
    }
    d->does->download(d, &loss, &t->there->loss, sizeof loss);
    run->losses[epoch] = loss / DATASET_TRAINING;
    return !d->failed;
}

static bool train(trainer *t, engine_run *run)
{
    for (size_t i = 0; i < DATASET_TRAINING; i++)
        t->order[i] = i;
    const double start = stopwatch();
    for (size_t epoch = 0; epoch < run->epochs; epoch++) {
        if (!train_epoch(t, epoch, run))
            return false;
        progress_add(run->shown, 1);
        progress_show(run->shown, "%s, seed %llu: epoch %zu of %zu, loss %.4f", run->rule->name,
                      (unsigned long long)run->seed, epoch + 1, run->epochs, run->losses[epoch]);
    }
    run->step_share = t->step_seconds / (stopwatch() - start);
    progress_clear(run->shown);
    return true;
}

static double held_out_accuracy(trainer *t)
{
    train_device *d = t->device;
    device_side *there = t->there;
    uint32_t correct = 0;
    d->does->upload(d, &there->correct, &correct, sizeof correct);
    for (size_t first = DATASET_TRAINING; first < DATASET_COUNT; first += BATCH) {
        const size_t rows = first + BATCH <= DATASET_COUNT ? BATCH : DATASET_COUNT - first;
        mlp_forward(&t->net, there->data.pixels[first], rows);
        mlp_correct(&t->net, there->data.labels + first, rows, &there->correct);
    }
    d->does->download(d, &correct, &there->correct, sizeof correct);
    return (double)correct / DATASET_HELD_OUT;
}

bool engine_train(train_device *d, const dataset *data, engine_run *run)
{
    trainer t = {.device = d, .random = {run->seed}, .there = d->does->allocate(d, sizeof *t.there)};
    if (t.there)
        d->does->upload(d, &t.there->data, data, sizeof *data);
    mlp_create(&t.net, d, BATCH, &t.random);
    if (!d->failed && create_optimizer(&t, run) && train(&t, run))
        run->accuracy = held_out_accuracy(&t);
    fopt_destroy(t.optimizer);
    mlp_destroy(&t.net);
    d->does->release(d, t.there);
    return !d->failed;
}
