/* AdamW (Loshchilov and Hutter, 2019): Adam's arithmetic with decoupled decay, so this is a description only. */
#ifndef FOPT_I_ADAMW_H
#define FOPT_I_ADAMW_H

#include "adam.h"

#define FOPT_I_ADAMW_FLAGS           FOPT_I_ADAM_FLAGS
#define FOPT_I_ADAMW_HYPERPARAMETERS FOPT_I_ADAM_HYPERPARAMETERS
#define FOPT_I_ADAMW_STATE_NAMES     FOPT_I_ADAM_STATE_NAMES

static inline void fopt_i_adamw_defaults(fopt_group *group)
{
    fopt_i_adam_defaults(group);
    group->weight_decay = 1e-2;
    group->flags = FOPT_DECOUPLED_DECAY;
}

static inline unsigned fopt_i_adamw_kinds(const fopt_group *group)
{
    return fopt_i_adam_kinds(group);
}

static inline const char *fopt_i_adamw_check(const fopt_group *group)
{
    return group->flags & FOPT_DECOUPLED_DECAY ? fopt_i_adam_check(group)
                                               : "adamw needs FOPT_DECOUPLED_DECAY, which fopt_group_init() sets";
}

#endif
