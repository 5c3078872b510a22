/* THE beginning of a tensor's step, on every backend: whether there is one, its number, its learning rate, and what all
 * of its elements are computed with. Something new that holds for a whole step is computed here. */
#ifndef FOPT_I_BEGIN_H
#define FOPT_I_BEGIN_H

#include "random.h"
#include "record.h"
#include "rules/rules.h"

typedef struct fopt_i_beginning {
    fopt_i_inputs inputs; /* group NULL: no step has begun */
    fopt_i_coef coef;
    fopt_i_random_key random_key;
} fopt_i_beginning;

/* Begins the tensor's next step, or returns false if it makes none. It is not counted yet: record->step becomes
 * inputs.step when the step is made. Coefficients that *b has of another tensor's step are kept if they are the same:
 * with thousands of small tensors in a group they are most of the work. */
FOPT_FN bool fopt_i_begin_step(const fopt_i_record *record, const fopt_i_group *group, uint64_t seed,
                               fopt_i_beginning *b)
{
    if (!record->grad)
        return false;
    const fopt_i_inputs inputs = {&group->value, fopt_i_next_step(record->step), group->value.lr};
    b->random_key = fopt_i_random_key_of(seed, record->id, inputs.step);
    if (b->inputs.group != inputs.group || b->inputs.step != inputs.step)
        fopt_i_coefficients(&inputs, &b->coef);
    b->inputs = inputs;
    return true;
}

#endif
