/* The clock by which the program measures itself. */
#ifndef STOPWATCH_H
#define STOPWATCH_H

#include <time.h>

/* Returns seconds since some moment. */
static inline double stopwatch(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#endif
