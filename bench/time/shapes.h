/* The sizes of a model's tensors, in the order in which it has them. */
#ifndef SHAPES_H
#define SHAPES_H

#include <stdbool.h>
#include <stddef.h>

enum { SHAPES_SETS = 5, SHAPES_FLAT = 0 };
extern const char *const shapes_names[SHAPES_SETS];

typedef struct shapes {
    const char *name;
    size_t *counts; /* elements of each tensor */
    size_t tensors;
    size_t params; /* in all */
} shapes;

/* Makes set number `set`. `params` is the size of the flat one; `scale` is the number of tensor-parallel ranks among
 * which the large one is split, 1 to 64. Returns false if memory is lacking. */
bool shapes_new(size_t set, size_t params, size_t scale, shapes *made);
void shapes_free(shapes *made);

#endif
