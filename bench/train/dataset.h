/* The handwritten digits of digits.h as numbers, cut into a part to train on and a part held out. */
#ifndef DATASET_H
#define DATASET_H

#include <stdint.h>

enum {
    DATASET_PIXELS = 64,
    DATASET_COUNT = 1797,
    DATASET_HELD_OUT = 360, /* a fifth */
    DATASET_TRAINING = DATASET_COUNT - DATASET_HELD_OUT
};

/* The digits in an order drawn once for all: the first DATASET_TRAINING samples are for training, the others held
 * out. */
typedef struct dataset {
    float pixels[DATASET_COUNT][DATASET_PIXELS]; /* 0 to 1 */
    uint8_t labels[DATASET_COUNT];
} dataset;

void dataset_load(dataset *data);

#endif
