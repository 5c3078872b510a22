/* The line on stderr that tells how far long work has come. */
#include "program/progress.h"
#include "program/stopwatch.h"
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

progress progress_begin(double total)
{
    return (progress){.shown = isatty(STDERR_FILENO), .start = stopwatch(), .total = total};
}

void progress_add(progress *p, double work)
{
    p->done += work;
}

static void show_time(double seconds)
{
    if (seconds < 100)
        fprintf(stderr, "; about %.0f s left", seconds);
    else if (seconds < 100 * 60)
        fprintf(stderr, "; about %.0f min left", seconds / 60);
    else
        fprintf(stderr, "; about %.0f h left", seconds / 3600);
}

void progress_show(const progress *p, const char *format, ...)
{
    if (!p->shown)
        return;
    va_list arguments;
    va_start(arguments, format);
    fputc('\r', stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    const double elapsed = stopwatch() - p->start;
    if (elapsed >= 1 && p->done > 0 && p->done < p->total) /* sooner a guess would be worth little */
        show_time(elapsed * (p->total - p->done) / p->done);
    fputs("\033[K", stderr);
}

void progress_clear(const progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
}
