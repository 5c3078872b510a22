/* Work of the program's own, spread over OpenMP's threads: as many as the library uses. */
#ifndef PARALLEL_H
#define PARALLEL_H

#include <stdbool.h>
#include <stddef.h>

/* Works on the elements [begin, end). */
typedef void range_function(const void *context, size_t begin, size_t end);

/* Gives each thread one range of the elements [0, count), begun at a multiple of 64. Fewer elements than wake a thread
 * with profit stay with the calling thread. */
void parallel_ranges(range_function *function, const void *context, size_t count);

/* Sets the number of threads, of the library too; 0 leaves it. Without OpenMP there is one. */
void parallel_use(size_t threads);

/* Returns how many threads parallel_items() has for so many items. */
size_t parallel_threads(size_t count);

/* Works on item number `item`, as thread number `thread`, which is below parallel_threads(): no two threads that run at
 * once have the same. */
typedef bool item_function(void *context, size_t thread, size_t item);

/* Calls work() for each of `count` items, several at once, and finish(), unless it is NULL, for one item after the
 * other, in their order, once it was worked on. Ends early if one of them returns false, and then returns false itself:
 * no item behind the failed one is finished. */
bool parallel_items(item_function *work, item_function *finish, void *context, size_t count);

/* Before a static function: compiled for the instruction sets that matter and chosen when the program starts, so that
 * a comparison with the library, which chooses too, is a fair one. Its name must be the only one in the program: what
 * chooses is not static where clang makes it. */
#if defined(__x86_64__) && defined(__gnu_linux__)
#define FOR_EACH_ISA __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define FOR_EACH_ISA
#endif

#endif
