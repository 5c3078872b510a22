/* The allocator that keeps books. */
#include "books.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void *give(books *b, size_t bytes, size_t alignment)
{
    if (b->give)
        return b->give(b, bytes, alignment);
    void *block = NULL;
    cr_assert_eq(posix_memalign(&block, alignment < 16 ? 16 : alignment, bytes + b->misalignment), 0);
    memset(block, 0xa5, bytes + b->misalignment);
    return (unsigned char *)block + b->misalignment;
}

static void take(books *b, unsigned char *block)
{
    if (b->give)
        b->take(b, block);
    else
        free(block - b->misalignment);
}

static void *allocate(void *context, size_t bytes, size_t alignment, fopt_stream stream)
{
    books *b = context;
    size_t i = 0;
    b->calls++;
    cr_expect_gt(bytes, 0);
    cr_expect(alignment > 0 && (alignment & (alignment - 1)) == 0, "alignment %zu is no power of two", alignment);
    cr_expect_null(stream);
    void *block = b->calls == b->fail_at ? NULL : give(b, bytes, alignment);
    if (!block)
        return NULL;
    while (i < BOOKS_BLOCKS_MAX && b->blocks[i].pointer)
        i++;
    cr_assert_lt(i, BOOKS_BLOCKS_MAX, "too many blocks");
    b->blocks[i].pointer = block;
    b->blocks[i].bytes = bytes;
    b->live_blocks++;
    b->live_bytes += bytes;
    return block;
}

static void release(void *context, void *pointer, size_t bytes, fopt_stream stream)
{
    books *b = context;
    size_t i = 0;
    cr_expect_null(stream);
    while (i < BOOKS_BLOCKS_MAX && (!pointer || b->blocks[i].pointer != pointer))
        i++;
    cr_assert_lt(i, BOOKS_BLOCKS_MAX, "released a block that was not allocated, or from another allocator");
    cr_expect_eq(b->blocks[i].bytes, bytes, "allocated %zu bytes, released %zu", b->blocks[i].bytes, bytes);
    b->blocks[i].pointer = NULL;
    b->live_blocks--;
    b->live_bytes -= bytes;
    take(b, pointer);
}

fopt_allocator books_allocator(books *b)
{
    return (fopt_allocator){b, allocate, release};
}
