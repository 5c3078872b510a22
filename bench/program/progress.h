/* Tells whoever sits at a terminal how far long work has come: a line on stderr, which replaces itself. Where stderr is
 * no terminal nothing is written. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>

typedef struct progress {
    bool shown;
    double start;       /* as the stopwatch tells it */
    double total, done; /* work, in any unit */
} progress;

progress progress_begin(double total);

/* Counts work as done. */
void progress_add(progress *p, double work);

/* Shows a text, and about how long the work that is left will take. */
__attribute__((format(printf, 2, 3))) void progress_show(const progress *p, const char *format, ...);

/* Clears the line, for one on stdout. */
void progress_clear(const progress *p);

#endif
