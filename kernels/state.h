/* Where a tensor's state lies: bytes and places of its arrays, by one walk that counts them or assigns them. */
#ifndef FOPT_I_STATE_H
#define FOPT_I_STATE_H

#include "formats/formats.h"
#include "record.h"

/* Alignment in bytes of every array of an optimizer's state. */
#define FOPT_I_ALIGNMENT 64

/* Bytes before the arrays of each kind. CPUs are slow at walking arrays side by side that begin at the same place in a
 * page, as large blocks from malloc() do, parameters and gradients among them (an Adam step took up to 15 % longer).
 * They are slower still where these are also a multiple of a large power of two apart (1.75 times as long, with 64M
 * elements). So each kind begins a page and a fifth further on: four fifths are not a page, and the last kind does not
 * begin where the block does. */
#define FOPT_I_KIND_PADDING (4096 + 13 * FOPT_I_ALIGNMENT)

static inline size_t fopt_i_padded(size_t bytes)
{
    return (bytes + FOPT_I_ALIGNMENT - 1) / FOPT_I_ALIGNMENT * FOPT_I_ALIGNMENT;
}

/* Bytes of one moment of one tensor: its elements, and its blocks' scales. */
typedef struct fopt_i_state_bytes {
    size_t data, absmax;
} fopt_i_state_bytes;

static inline fopt_i_state_bytes fopt_i_bytes_of_state(const fopt_i_group *group, unsigned kind, uint64_t count)
{
    if (!(group->kinds & 1u << kind))
        return (fopt_i_state_bytes){0, 0};
    const fopt_format format = group->value.state_format[kind];
    return (fopt_i_state_bytes){
        .data = (size_t)count * fopt_i_element_bytes(format),
        .absmax = (size_t)fopt_i_absmax_count(format, count) * sizeof(float),
    };
}

/* A place in an optimizer's state, and what came before it. */
typedef struct fopt_i_state_walk {
    char *next;            /* NULL: only count */
    size_t bytes, padding; /* so far */
} fopt_i_state_walk;

static inline void *fopt_i_take_state(fopt_i_state_walk *walk, size_t bytes)
{
    void *taken = bytes > 0 ? walk->next : NULL;
    walk->bytes += bytes;
    walk->padding += fopt_i_padded(bytes) - bytes;
    walk->next = walk->next ? walk->next + fopt_i_padded(bytes) : NULL;
    return taken;
}

/* Counts one moment of a tensor, and says where it lies, unless it is the caller's. */
static inline void fopt_i_place_moment(fopt_i_state_walk *walk, const fopt_i_group *group, unsigned kind,
                                       fopt_i_record *r)
{
    const fopt_i_state_bytes bytes = fopt_i_bytes_of_state(group, kind, r->count);
    if (r->state[kind])
        return;
    r->state[kind] = fopt_i_take_state(walk, bytes.data);
    r->absmax[kind] = (float *)fopt_i_take_state(walk, bytes.absmax);
}

/* Places all arrays of one kind together, in the order of the tensors: a step then streams through as few places as
 * there are kinds, however many tensors there are. */
static inline void fopt_i_place_state(char *state, const fopt_i_group *groups, fopt_i_record *records, size_t count)
{
    fopt_i_state_walk walk = {state, 0, 0};
    for (unsigned kind = 0; kind < FOPT_I_STATE_KINDS; kind++) {
        walk.next += FOPT_I_KIND_PADDING;
        for (size_t i = 0; i < count; i++)
            fopt_i_place_moment(&walk, &groups[records[i].group], kind, &records[i]);
    }
}

#endif
