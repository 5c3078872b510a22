/* The caller's parallel_for, in three ways that are right. Without Criterion, which does not start under
 * ThreadSanitizer. */
#ifndef FUSEDOPT_TESTS_CALLERS_THREADS_H
#define FUSEDOPT_TESTS_CALLERS_THREADS_H

#include <stddef.h>

typedef void call_function(void *argument, size_t index);

int forwards(void *context, size_t count, call_function *function, void *argument);
int backwards(void *context, size_t count, call_function *function, void *argument);

/* Starts OWN_THREADS threads: number i makes the calls i, i + OWN_THREADS, and so on. Fails if one cannot be
 * started. */
enum { OWN_THREADS = 4 };
int on_own_threads(void *context, size_t count, call_function *function, void *argument);

#endif
