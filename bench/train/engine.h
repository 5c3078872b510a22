/* The mini training engine: what a user of the library writes. It trains the network of mlp.h on the digits. */
#ifndef ENGINE_H
#define ENGINE_H

#include "fusedopt.h"
#include "program/progress.h"
#include "train/dataset.h"
#include "train/train_device.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How to train: what differs from the rule's defaults. */
typedef struct engine_rule {
    const char *name;
    fopt_rule rule;
    fopt_format state_format;
    double lr; /* the highest of its schedule */
    double momentum;
    double weight_decay; /* of the weights; biases have none */
} engine_rule;

/* One training from scratch. */
typedef struct engine_run {
    const engine_rule *rule;
    uint64_t seed;
    size_t epochs;
    progress *shown; /* of the caller: an epoch is one unit of its work */
    double *losses;  /* of the caller, one an epoch: the mean training loss */
    double state_bytes_per_param;
    double accuracy;   /* of the held-out samples, 0 to 1 */
    double step_share; /* fopt_step()'s part of the time spent in training, 0 to 1 */
} engine_run;

/* Trains as the upper part of `run` says, from its rule to its epochs, and fills the lower part. Returns false
 * if the device fails, and with it the library. */
bool engine_train(train_device *d, const dataset *data, engine_run *run);

#endif
