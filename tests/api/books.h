/*
 * An allocator of the caller's that keeps books: it expects to be asked as fusedopt.h says, and that what comes back is
 * what it gave.
 */
#ifndef FUSEDOPT_TESTS_BOOKS_H
#define FUSEDOPT_TESTS_BOOKS_H

#include "fusedopt.h"

#define BOOKS_BLOCKS_MAX 64

typedef struct books {
    size_t calls, live_blocks, live_bytes;
    size_t fail_at; /* the number of the call, from 1, that gives NULL; 0: none does */

    /* Get memory, or NULL, and give it back. Where both are NULL it is malloc's, filled with rubbish. */
    void *(*give)(struct books *b, size_t bytes, size_t alignment);
    void (*take)(struct books *b, void *block);
    size_t misalignment; /* of malloc's: bytes behind an aligned address */

    struct {
        unsigned char *pointer;
        size_t bytes;
    } blocks[BOOKS_BLOCKS_MAX];
} books;

fopt_allocator books_allocator(books *b);

#endif
