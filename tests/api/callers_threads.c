/* Three ways for a caller to make parallel_for's calls. */
#include "callers_threads.h"

#include <pthread.h>

int forwards(void *context, size_t count, call_function *function, void *argument)
{
    (void)context;
    for (size_t i = 0; i < count; i++)
        function(argument, i);
    return 0;
}

int backwards(void *context, size_t count, call_function *function, void *argument)
{
    (void)context;
    while (count > 0)
        function(argument, --count);
    return 0;
}

typedef struct share {
    size_t first, count;
    call_function *function;
    void *argument;
} share;

static void *run_share(void *context)
{
    const share *s = context;
    for (size_t i = s->first; i < s->count; i += OWN_THREADS)
        s->function(s->argument, i);
    return NULL;
}

int on_own_threads(void *context, size_t count, call_function *function, void *argument)
{
    pthread_t threads[OWN_THREADS];
    share shares[OWN_THREADS];
    size_t started = 0;
    (void)context;
    for (; started < OWN_THREADS; started++) {
        shares[started] = (share){started, count, function, argument};
        if (pthread_create(&threads[started], NULL, run_share, &shares[started]) != 0)
            break;
    }
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return started < OWN_THREADS;
}
