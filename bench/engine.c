#include "engine.h"

#include "mlp.h"
#include "options.h"
#include "splitmix.h"
#include "stopwatch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)MLP_INPUTS == (int)DATASET_PIXELS, "the network reads the digits");

enum { BATCH = 32, BATCHES = (DATASET_TRAINING + BATCH - 1) / BATCH };
enum { WEIGHTS, BIASES, GROUPS }; /* apart, since only weights decay */
enum { TENSORS = MLP_LAYERS * GROUPS };

typedef struct trainer {
    mlp net;
    fopt_optimizer *optimizer;
    splitmix random;
    size_t order[DATASET_TRAINING];
    float pixels[BATCH][DATASET_PIXELS];
    uint8_t labels[BATCH];
    double step_seconds;
} trainer;

static void describe_groups(const engine_rule *rule, fopt_group *groups)
{
    for (size_t i = 0; i < GROUPS; ++i) {
        fopt_group_init(&groups[i], sizeof groups[i], rule->rule);
        groups[i].lr = rule->lr;
        groups[i].momentum = rule->momentum;
        groups[i].weight_decay = i == WEIGHTS ? rule->weight_decay : 0.0;
        for (size_t kind = 0; kind < FOPT_STATE_KINDS; ++kind)
            groups[i].state_format[kind] = rule->state_format;
    }
}

static void describe_tensors(const mlp *net, fopt_tensor *tensors)
{
    static const char *const names[MLP_LAYERS][GROUPS] = {
        {"layer1.weights", "layer1.biases"}, {"layer2.weights", "layer2.biases"}, {"layer3.weights", "layer3.biases"}};
    for (size_t i = 0; i < TENSORS; ++i) {
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

static fopt_status create_optimizer(trainer *t, fopt_device device, engine_run *run)
{
    /* One thread: waking others takes longer than a step of so few parameters, far longer on a machine that is busy. */
    const fopt_config config = {.size = sizeof config, .device = device, .seed = run->seed, .threads = 1};
    fopt_group groups[GROUPS];
    fopt_tensor tensors[TENSORS];
    describe_groups(run->rule, groups);
    describe_tensors(&t->net, tensors);

    fopt_sizes sizes = {.size = sizeof sizes};
    const fopt_status status = fopt_query_sizes(&config, groups, GROUPS, tensors, TENSORS, &sizes);
    if (status != FOPT_OK)
        return status;
    size_t params = 0;
    for (size_t i = 0; i < TENSORS; ++i)
        params += tensors[i].count;
    run->state_bytes_per_param = (double)sizes.state_bytes / (double)params;
    return fopt_create(&config, groups, GROUPS, tensors, TENSORS, &t->optimizer);
}

/* The part of the highest learning rate: up in a straight line over the first twentieth, then down half a cosine. */
static double schedule(size_t step, size_t steps)
{
    const size_t warmup = steps / 20 + 1;
    if (step < warmup)
        return (double)(step + 1) / (double)warmup;
    return 0.5 + 0.5 * cos(acos(-1.0) * (double)(step - warmup) / (double)(steps - warmup));
}

static fopt_status set_lr(fopt_optimizer *optimizer, double lr)
{
    fopt_status status = FOPT_OK;
    for (size_t group = 0; group < GROUPS && status == FOPT_OK; ++group)
        status = fopt_set_lr(optimizer, group, lr, NULL);
    return status;
}

/* One step on the samples order[first ...]; adds their loss to *loss. */
static fopt_status train_batch(trainer *t, const dataset *data, size_t first, double lr, double *loss)
{
    const size_t rows = first + BATCH <= DATASET_TRAINING ? BATCH : DATASET_TRAINING - first;
    for (size_t row = 0; row < rows; ++row) {
        const size_t sample = t->order[first + row];
        memcpy(t->pixels[row], data->pixels[sample], sizeof t->pixels[row]);
        t->labels[row] = data->labels[sample];
    }
    fopt_status status = fopt_zero_grads(t->optimizer, NULL); /* mlp_backward() adds to them */
    if (status == FOPT_OK)
        status = set_lr(t->optimizer, lr);
    if (status != FOPT_OK)
        return status;
    mlp_forward(&t->net, t->pixels[0], rows);
    *loss += mlp_loss(&t->net, t->labels, rows);
    mlp_backward(&t->net, t->pixels[0], rows);

    const double start = stopwatch();
    status = fopt_step(t->optimizer, NULL, NULL);
    t->step_seconds += stopwatch() - start;
    return status;
}

static fopt_status train(trainer *t, const dataset *data, engine_run *run)
{
    const bool progress = isatty(STDERR_FILENO);
    for (size_t i = 0; i < DATASET_TRAINING; ++i)
        t->order[i] = i;
    const double start = stopwatch();
    fopt_status status = FOPT_OK;
    for (size_t epoch = 0; epoch < run->epochs && status == FOPT_OK; ++epoch) {
        double loss = 0.0;
        splitmix_shuffle(&t->random, t->order, DATASET_TRAINING);
        for (size_t batch = 0; batch < BATCHES && status == FOPT_OK; ++batch) {
            const double lr = run->rule->lr * schedule(epoch * BATCHES + batch, run->epochs * BATCHES);
            status = train_batch(t, data, batch * BATCH, lr, &loss);
        }
        run->losses[epoch] = loss / DATASET_TRAINING;
        if (progress)
            fprintf(stderr, "\r%s, seed %llu: epoch %zu of %zu, loss %.4f\033[K", run->rule->name,
                    (unsigned long long)run->seed, epoch + 1, run->epochs, run->losses[epoch]);
    }
    run->step_share = t->step_seconds / (stopwatch() - start);
    if (progress)
        fputs("\r\033[K", stderr); /* clears the line */
    return status;
}

static double held_out_accuracy(mlp *net, const dataset *data)
{
    size_t correct = 0;
    for (size_t first = DATASET_TRAINING; first < DATASET_COUNT; first += BATCH) {
        const size_t rows = first + BATCH <= DATASET_COUNT ? BATCH : DATASET_COUNT - first;
        mlp_forward(net, data->pixels[first], rows);
        correct += mlp_correct(net, data->labels + first, rows);
    }
    return (double)correct / DATASET_HELD_OUT;
}

bool engine_train(const char *command, const dataset *data, fopt_device device, engine_run *run)
{
    trainer t = {.random = {run->seed}};
    if (!mlp_create(&t.net, BATCH, &t.random)) {
        complain(command, "out of memory");
        return false;
    }
    fopt_status status = create_optimizer(&t, device, run);
    if (status == FOPT_OK)
        status = train(&t, data, run);
    if (status == FOPT_OK)
        run->accuracy = held_out_accuracy(&t.net, data);
    else
        complain(command, "%s", fopt_last_error());
    fopt_destroy(t.optimizer);
    mlp_destroy(&t.net);
    return status == FOPT_OK;
}
