/* The places of a check's tensors in its arrays. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

enum { LAYOUT_TILE = 256 };

/* One tensor's elements, and its tiles among those of all tensors. */
typedef struct place {
    size_t begin, count, tile, tiles;
} place;

typedef struct layout {
    place *places;
    size_t tensors;
    size_t elements; /* of an array: between the tensors there is room, whose bytes must stay as they are */
    size_t tiles;
} layout;

/* Lays out nine tensors of awkward sizes and alignments, plus `small_tensors` small ones. Returns false if memory is
 * lacking. */
bool layout_new(size_t small_tensors, layout *made);
void layout_free(layout *made);

/* Floats that a tile has room for, since blocks have 64 elements or more. */
enum { LAYOUT_SCALES = 4 };

/* Returns where an array of a quantized format has its absmax: those of a tensor, one a block, begin at LAYOUT_SCALES
 * times its first tile. They lie behind the codes, which leave three bytes an element. */
float *layout_absmax(const layout *made, unsigned char *array);

/* Return which tensor an element, or the room behind it, belongs to; or a tile. */
size_t layout_tensor_of(const layout *made, size_t element);
size_t layout_tensor_of_tile(const layout *made, size_t tile);

#endif
