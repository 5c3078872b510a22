/*
 * The oracle: the update rules of fusedopt.h once more, in double precision, straight from the formulas there and
 * sharing nothing with the library. It is the text by which the library's results are judged.
 */
#ifndef FUSEDOPT_TESTS_ORACLE_H
#define FUSEDOPT_TESTS_ORACLE_H

#include "fusedopt.h"

#include <stdbool.h>

/* What the library keeps for one element. State kinds that the rule does not use are left alone. */
typedef struct oracle_element {
    double param;
    double state[FOPT_STATE_KINDS]; /* by fopt_state_kind */
} oracle_element;

typedef struct oracle_result {
    oracle_element after;

    /* For the parameter and each state, the largest intermediate magnitude: the scale in whose ULPs the error of an
     * arithmetic that rounds must be counted. A ULP of the result itself says nothing after a cancellation. */
    oracle_element magnitude;
} oracle_result;

/* Makes one step, number `step` from 1, of one element. `group` is valid by fusedopt.h; its state formats are
 * ignored. */
oracle_result oracle_step(const fopt_group *group, int64_t step, oracle_element before, double gradient);

/* Tells whether the rule keeps this state array. */
bool oracle_keeps(const fopt_group *group, fopt_state_kind kind);

/* Returns |got - want| in ULPs of single precision at `magnitude`. An infinite `got` stands for all numbers from
 * `largest` on. NaN equals NaN, and an infinity itself; other differences with NaN, or with an infinite `want`, are
 * infinite. */
double oracle_ulps(double got, double want, double magnitude, double largest);

/* The bounds, in such ULPs, of what a rounding at each operation explains. */
#define ORACLE_PARAM_ULPS 4.0
#define ORACLE_STATE_ULPS 3.0

/* Returns the error, in such ULPs, beyond what storing in the format explains: half a unit of a 16-bit format, a whole
 * one where it rounds stochastically. Infinity and NaN count as one: an infinite gradient leaves either, depending on
 * how an average is written. */
double oracle_error(fopt_format format, bool stochastic, double got, double want, double magnitude);

/* Writes "adam amsgrad maximize", say: the rule and the flags as in fusedopt.h, and "momentum" if there is any. */
#define ORACLE_NAME_SIZE 160
void oracle_name(const fopt_group *group, char name[ORACLE_NAME_SIZE]);

#endif
