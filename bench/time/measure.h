/* Times the step of the library, and of what one would otherwise use, against what the memory can do. */
#ifndef MEASURE_H
#define MEASURE_H

#include "fusedopt.h"
#include "time/quartiles.h"
#include "time/shapes.h"
#include <stdbool.h>
#include <stddef.h>

/* A case: what is timed. */
typedef struct measure_case {
    const char *rule; /* its name here */
    fopt_group group;
    fopt_format param, grad, state;
    shapes shapes;
} measure_case;

enum { MEASURE_ENGINES = 3 };

/* One engine's result in a case. GB/s count the bytes that a step must read and write, whatever the engine moves. */
typedef struct measure_row {
    const char *engine;
    bool wide; /* another run might well give another median */
    quartiles ns_per_param;
    quartiles roof_fraction; /* of the stream, each sample by the stream timed in the same round */
    double copy_fraction;    /* of the copy, likewise: the median */
    double roof_best;        /* the fastest step by the fastest stream: of a busy machine's numbers the steadiest */
    double gb_per_s;
    double host_us;   /* of a step */
    double tensor_ns; /* beyond the library's step of one flat tensor of as many elements, a tensor; NaN if it is one */
    int launches;     /* of kernels, in a step; negative: not known */
} measure_row;

typedef struct measure_result {
    double bytes_per_param; /* moved */
    size_t total_bytes;     /* of the arrays, and of those in which the roofs were measured */
    double copy_gb_per_s, stream_gb_per_s;
    size_t samples;
    measure_row rows[MEASURE_ENGINES];
    size_t row_count;
} measure_result;

/* A row tells little if the middle half of its times, or of its fractions of the roof, is wider than this part of their
 * median, or if their medians in the first and the second half of the rounds differ by more than that. */
#define MEASURE_WIDE  0.1
#define MEASURE_DRIFT 0.05

/* How often to time: so many rounds, or fewer, at least three, if the rest would end after so many seconds. */
typedef struct measure_effort {
    size_t rounds;
    double seconds;
} measure_effort;

/* Estimates how much memory of the device that takes. */
size_t measure_bytes(fopt_device device, const measure_case *what);

/* Times all engines that know the case, in turns. After a failure it complains, as `command` (options.h), and returns
 * false. */
bool measure(const char *command, fopt_device device, const measure_case *what, measure_effort effort,
             measure_result *result);

/* Frees what measure() keeps from case to case. */
void measure_end(fopt_device device);

#endif
