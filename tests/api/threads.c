/*
 * Thread safety: optimizers on different threads are independent, and so are their errors. Runs under ThreadSanitizer,
 * where Criterion does not start, and prints TAP itself.
 *
 * Several threads at once create, step and destroy optimizers of their own, some on OpenMP's threads and some on
 * threads that parallel_for starts. All read the same gradient, and must get the same parameters.
 */
#include "callers_threads.h"
#include "fusedopt.h"

#include <stdio.h>
#include <string.h>

enum { COUNT = 20000, WORKERS = OWN_THREADS, STEPS = 5, ROUNDS = 3 };

static float gradient[COUNT];
static float params[WORKERS][COUNT];
static int passed[WORKERS];

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

static void work(void *unused, size_t worker)
{
    fopt_config config = {.size = sizeof config, .threads = 2};
    (void)unused;
    if (worker % 2 == 0)
        config.parallel_for = on_own_threads;
    passed[worker] = 1;
    for (int round = 0; round < ROUNDS; round++)
        passed[worker] &= train(worker, config);
}

int main(void)
{
    for (size_t i = 0; i < COUNT; i++)
        gradient[i] = (float)(i % 101) - 50.0f;
    int all = !on_own_threads(NULL, WORKERS, work, NULL);
    for (size_t i = 0; i < WORKERS; i++)
        all &= passed[i] && memcmp(params[i], params[0], sizeof params[i]) == 0;
    printf("%s 1 - optimizers on %d threads are independent\n1..1\n", all ? "ok" : "not ok", WORKERS);
    return !all;
}
