/*
 * Thread safety: optimizers on different threads are independent, and so are their errors. Runs under ThreadSanitizer,
 * where Criterion does not start, and prints TAP itself.
 *
 * Several threads at once create, step and destroy optimizers of their own, some on OpenMP's threads and some on
 * threads that parallel_for starts. All read the same gradient, and must get the same parameters.
 */
#include "fusedopt.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 20000, WORKERS = 4, STEPS = 5, ROUNDS = 3, CALL_THREADS = 3 };

static float gradient[COUNT];
static float params[WORKERS][COUNT];
static int passed[WORKERS];

typedef struct call {
    void (*function)(void *argument, size_t index);
    void *argument;
    size_t begin, end;
} call;

static void *make_calls(void *pointer)
{
    call *c = pointer;
    for (size_t i = c->begin; i < c->end; i++)
        c->function(c->argument, i);
    return NULL;
}

static int on_threads(void *context, size_t count, void (*function)(void *argument, size_t index), void *argument)
{
    pthread_t threads[CALL_THREADS];
    call calls[CALL_THREADS];
    (void)context;
    for (size_t t = 0; t < CALL_THREADS; t++) {
        calls[t] = (call){function, argument, count * t / CALL_THREADS, count * (t + 1) / CALL_THREADS};
        if (pthread_create(&threads[t], NULL, make_calls, &calls[t]) != 0)
            return 1; /* the program is about to fail: threads that run on do no harm */
    }
    for (size_t t = 0; t < CALL_THREADS; t++)
        pthread_join(threads[t], NULL);
    return 0;
}

static int train(size_t worker, fopt_config config)
{
    fopt_group group;
    fopt_tensor tensor = {.size = sizeof tensor, .param = params[worker], .grad = gradient, .count = COUNT};
    fopt_optimizer *optimizer;
    if (fopt_group_init(&group, sizeof group, FOPT_ADAMW))
        return 0;
    for (size_t i = 0; i < COUNT; i++)
        params[worker][i] = 1.0f;
    if (fopt_create(&config, &group, 1, &tensor, 1, &optimizer))
        return 0;
    int good = 1;
    for (int step = 0; step < STEPS && good; step++)
        good = !fopt_set_lr(optimizer, 0, 1e-3 * (step + 1), NULL) && !fopt_step(optimizer, NULL, NULL);
    /* Each worker makes a mistake of its own, and must see its own text. */
    char text[64];
    snprintf(text, sizeof text, "fopt_set_lr: group is %zu,", worker + 1);
    good = good && fopt_set_lr(optimizer, worker + 1, 1.0, NULL) == FOPT_ERR_ARGUMENT &&
           strncmp(fopt_last_error(), text, strlen(text)) == 0;
    fopt_destroy(optimizer);
    return good;
}

static void *work(void *pointer)
{
    size_t worker = *(const size_t *)pointer;
    fopt_config config = {.size = sizeof config, .threads = 2};
    if (worker % 2 == 0)
        config.parallel_for = on_threads;
    passed[worker] = 1;
    for (int round = 0; round < ROUNDS; round++)
        passed[worker] &= train(worker, config);
    return NULL;
}

int main(void)
{
    pthread_t threads[WORKERS];
    size_t ids[WORKERS];
    for (size_t i = 0; i < COUNT; i++)
        gradient[i] = (float)(i % 101) - 50.0f;
    for (size_t i = 0; i < WORKERS; i++) {
        ids[i] = i;
        if (pthread_create(&threads[i], NULL, work, &ids[i]) != 0)
            return 1;
    }
    int all = 1;
    for (size_t i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        all &= passed[i] && memcmp(params[i], params[0], sizeof params[i]) == 0;
    }
    printf("%s 1 - optimizers on %d threads are independent\n1..1\n", all ? "ok" : "not ok", WORKERS);
    return !all;
}
