/* Unpacks the handwritten digits, in an order drawn once for all. */
#include "train/dataset.h"
#include "reference/splitmix.h"
#include "train/digits.h"
#include <stddef.h>

_Static_assert(DATASET_COUNT == DIGITS_COUNT && DATASET_PIXELS == DIGITS_PIXELS, "dataset.h describes digits.h");

void dataset_load(dataset *data)
{
    /* This is not the seed of a run: all runs must be judged on the same held-out samples. */
    splitmix random = {1998};
    size_t order[DATASET_COUNT];
    for (size_t i = 0; i < DATASET_COUNT; i++)
        order[i] = i;
    splitmix_shuffle(&random, order, DATASET_COUNT);

    for (size_t i = 0; i < DATASET_COUNT; i++) {
        const char *text = digits[order[i]];
        data->labels[i] = (uint8_t)(text[0] - '0');
        for (size_t k = 0; k < DATASET_PIXELS; k++)
            data->pixels[i][k] = (float)(text[1 + k] - 'A') / 16.0f;
    }
}
