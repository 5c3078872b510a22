/* Lays out tensors whose sizes and alignments are hard to get right. */
#include "verify/layout.h"
#include <stdlib.h>

enum { TILE = LAYOUT_TILE, SPECIAL_TENSORS = 9 };

/* The awkward tensors: elements, and by how many each is shifted. One keeps several threads busy, some end at and
 * around a tile's end, and some are not aligned to more than an element. */
static const int special[SPECIAL_TENSORS][2] = {{70 * TILE + 57, 0}, {0, 0},        {1, 0},
                                                {TILE - 1, 0},       {TILE, 0},     {TILE + 1, 0},
                                                {3 * TILE + 8, 1},   {4 * TILE, 3}, {2 * TILE, 8}};

bool layout_new(size_t small_tensors, layout *made)
{
    *made = (layout){.tensors = SPECIAL_TENSORS + small_tensors};
    made->places = calloc(made->tensors, sizeof *made->places);
    if (!made->places)
        return false;
    for (size_t i = 0; i < made->tensors; i++) {
        const size_t small = i - SPECIAL_TENSORS;
        const size_t shift = i < SPECIAL_TENSORS ? (size_t)special[i][1] : small % 4;
        place *p = &made->places[i];
        p->begin = (made->elements + 63) / 64 * 64 + shift;
        p->count = i < SPECIAL_TENSORS ? (size_t)special[i][0] : 1 + small * 37 % 300;
        p->tile = made->tiles;
        p->tiles = (p->count + TILE - 1) / TILE;
        made->elements = p->begin + p->count + 1;
        made->tiles += p->tiles;
    }
    return true;
}

void layout_free(layout *made)
{
    free(made->places);
    *made = (layout){0};
}

float *layout_absmax(const layout *made, unsigned char *array)
{
    void *behind = array + (made->elements + 3) / 4 * 4;
    return behind;
}

size_t layout_tensor_of(const layout *made, size_t element)
{
    size_t tensor = made->tensors - 1;
    while (tensor > 0 && made->places[tensor].begin > element)
        tensor--;
    return tensor;
}

size_t layout_tensor_of_tile(const layout *made, size_t tile)
{
    size_t tensor = made->tensors - 1;
    while (made->places[tensor].tile > tile)
        tensor--;
    return tensor;
}
