/* Steps of Adam with moments in many formats, side by side on the same gradients, beside exact Adam. */
#ifndef SIMULATE_H
#define SIMULATE_H

#include "fusedopt.h"
#include "state/gradients.h"
#include <stdbool.h>
#include <stddef.h>

/* The formats of the two moments. */
typedef struct state_formats {
    fopt_format first, second;
} state_formats;

/* Lists what one would choose, of all that the library stores moments in: f32; and each of the narrower formats, and
 * what mixes a quantized one with one that is not. Returns how many there are. */
enum { STATE_MOST_FORMATS = 64 };
size_t state_list_formats(state_formats list[STATE_MOST_FORMATS]);

/* Updates are compared at every so many steps, after the first ones. */
enum { STATE_EVERY = 10 };

/* What all runs have in common. */
typedef struct state_setting {
    size_t steps, elements, seed;
    const gradients_pool *pool;
    const state_formats *formats;
    size_t formats_count;
} state_setting;

/* Return the number of a run's steps, and of its elements. Of GRADIENTS_STOP there are five times as many steps, of a
 * sixteenth of the elements. */
size_t state_steps(const state_setting *setting, gradients_kind kind);
size_t state_elements(const state_setting *setting, gradients_kind kind);

/* Returns the last step that is not measured. */
size_t state_unmeasured(const state_setting *setting);

/* What a run is of. */
typedef struct state_case {
    gradients_kind kind;
    double beta1, beta2;
} state_case;

/* What was measured of formats in a run. */
typedef struct state_row {
    state_case what;
    state_formats formats;
    double bytes;              /* of state, per parameter */
    double error, gain, worst; /* see figures.h; NaN in GRADIENTS_STOP */
    double second; /* the sum of the stored second moments by that of the exact ones, at the end; likewise */
    double moved;  /* in GRADIENTS_STOP what the parameters moved after the gradients had stopped, by what they would
                      have exactly; else NaN */
} state_row;

/* Makes a run: writes a row for each of the formats. Works with the calling thread alone. After a failure it complains,
 * as `command` (options.h), and returns false. */
bool state_simulate(const char *command, const state_setting *setting, const state_case *what, state_row *rows);

#endif
