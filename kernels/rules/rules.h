/* THE list of rules. Everything that must know all of them is generated from it. */
#ifndef FOPT_I_RULES_H
#define FOPT_I_RULES_H

#include "adam.h"
#include "adamw.h"
#include "rmsprop.h"
#include "sgd.h"

/* enumerator, prefix of its macros, name, arithmetic */
#define FOPT_I_RULES(X)                                                                                                \
    X(FOPT_SGD, SGD, sgd, sgd)                                                                                         \
    X(FOPT_RMSPROP, RMSPROP, rmsprop, rmsprop)                                                                         \
    X(FOPT_ADAM, ADAM, adam, adam)                                                                                     \
    X(FOPT_ADAMW, ADAMW, adamw, adam)

/* The arithmetics in that list, each once. */
#define FOPT_I_ARITHMETICS(X)                                                                                          \
    X(sgd)                                                                                                             \
    X(rmsprop)                                                                                                         \
    X(adam)

/* The loops: each arithmetic with each set of state arrays that its rules may keep, and whether some of them are
 * quantized (formats.h). A centered RMSprop has no such loop: its difference of two squares would be one of two
 * quantized numbers. */
#define FOPT_I_LOOPS(X)                                                                                                \
    X(sgd, plain, 0u, false)                                                                                           \
    X(sgd, momentum, FOPT_I_BUFFER, false)                                                                             \
    X(rmsprop, plain, FOPT_I_SECOND, false)                                                                            \
    X(rmsprop, momentum, FOPT_I_SECOND | FOPT_I_BUFFER, false)                                                         \
    X(rmsprop, centered, FOPT_I_SECOND | FOPT_I_FIRST, false)                                                          \
    X(rmsprop, centered_momentum, FOPT_I_SECOND | FOPT_I_FIRST | FOPT_I_BUFFER, false)                                 \
    X(adam, plain, FOPT_I_FIRST | FOPT_I_SECOND, false)                                                                \
    X(adam, amsgrad, FOPT_I_FIRST | FOPT_I_SECOND | FOPT_I_MAX_SECOND, false)                                          \
    X(sgd, momentum_quantized, FOPT_I_BUFFER, true)                                                                    \
    X(rmsprop, quantized, FOPT_I_SECOND, true)                                                                         \
    X(rmsprop, momentum_quantized, FOPT_I_SECOND | FOPT_I_BUFFER, true)                                                \
    X(adam, quantized, FOPT_I_FIRST | FOPT_I_SECOND, true)                                                             \
    X(adam, amsgrad_quantized, FOPT_I_FIRST | FOPT_I_SECOND | FOPT_I_MAX_SECOND, true)

enum {
#define FOPT_I_ENUMERATOR(arithmetic, variant, kinds, quantized) fopt_i_loop_##arithmetic##_##variant,
    FOPT_I_LOOPS(FOPT_I_ENUMERATOR)
#undef FOPT_I_ENUMERATOR
        FOPT_I_LOOP_COUNT
};

typedef enum fopt_i_arithmetic {
#define FOPT_I_ENUMERATOR(arithmetic) fopt_i_arithmetic_##arithmetic,
    FOPT_I_ARITHMETICS(FOPT_I_ENUMERATOR)
#undef FOPT_I_ENUMERATOR
} fopt_i_arithmetic;

typedef union fopt_i_coef {
#define FOPT_I_MEMBER(arithmetic) fopt_i_##arithmetic##_coef arithmetic;
    FOPT_I_ARITHMETICS(FOPT_I_MEMBER)
#undef FOPT_I_MEMBER
} fopt_i_coef;

/* Computes what is the same for all elements in a step of a tensor. */
FOPT_FN void fopt_i_coefficients(const fopt_i_inputs *in, fopt_i_coef *coef)
{
    switch (in->group->rule) {
#define FOPT_I_CASE(rule, NAME, name, arithmetic)                                                                      \
    case rule:                                                                                                         \
        coef->arithmetic = fopt_i_##arithmetic##_coefficients(in);                                                     \
        break;
        FOPT_I_RULES(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
}

FOPT_FN fopt_i_ends fopt_i_ends_of(fopt_i_arithmetic arithmetic, const fopt_i_coef *coef)
{
    switch (arithmetic) {
#define FOPT_I_CASE(name)                                                                                              \
    case fopt_i_arithmetic_##name:                                                                                     \
        return coef->name.ends;
        FOPT_I_ARITHMETICS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return coef->sgd.ends;
}

/* Updates one element, by what fopt_i_gradient() returned. `arithmetic` and `kinds` are constants wherever this is
 * inlined. */
FOPT_FN fopt_i_element fopt_i_update_element(fopt_i_arithmetic arithmetic, unsigned kinds, const fopt_i_coef *coef,
                                             fopt_i_element e, float gradient)
{
    switch (arithmetic) {
#define FOPT_I_CASE(name)                                                                                              \
    case fopt_i_arithmetic_##name:                                                                                     \
        return fopt_i_##name##_element(kinds, coef->name, e, gradient);
        FOPT_I_ARITHMETICS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return e;
}

/* Turns off the options that most often are off; returns 0 if none was on. */
FOPT_FN uint32_t fopt_i_simplify(fopt_i_arithmetic arithmetic, fopt_i_coef *coef)
{
    switch (arithmetic) {
#define FOPT_I_CASE(name)                                                                                              \
    case fopt_i_arithmetic_##name:                                                                                     \
        return fopt_i_##name##_simplify(&coef->name);
        FOPT_I_ARITHMETICS(FOPT_I_CASE)
#undef FOPT_I_CASE
    }
    return 0;
}

#endif
