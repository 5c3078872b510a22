/* THE table of cases: rules, their options, and formats. */
#include "cases.h"
#include "numbers.h"
#include "oracle.h"
#include "quantized.h"

#include <stdio.h>
#include <string.h>

#define MOMENTUM  0.9
#define DAMPENING 0.25
#define DECAY     0.05

#define COMMON (FOPT_MAXIMIZE | FOPT_DECOUPLED_DECAY)

/* A row stands for all subsets of its optional flags, each with and without weight decay. */
static const struct row {
    fopt_rule rule;
    unsigned always, optional;
    double momentum, dampening;
} rows[] = {
    {FOPT_SGD, 0, COMMON, 0, 0},
    {FOPT_SGD, 0, COMMON, MOMENTUM, 0},
    {FOPT_SGD, 0, COMMON, MOMENTUM, DAMPENING},
    {FOPT_SGD, FOPT_NESTEROV, COMMON, MOMENTUM, 0},
    {FOPT_SGD, FOPT_EMA_MOMENTUM, COMMON, MOMENTUM, 0},
    {FOPT_SGD, FOPT_CLASSIC_MOMENTUM, COMMON, MOMENTUM, 0},
    {FOPT_RMSPROP, 0, COMMON | FOPT_CENTERED | FOPT_EPS_INSIDE_SQRT, 0, 0},
    {FOPT_RMSPROP, 0, COMMON | FOPT_CENTERED | FOPT_EPS_INSIDE_SQRT, MOMENTUM, 0},
    {FOPT_ADAM, 0, COMMON | FOPT_AMSGRAD | FOPT_NO_BIAS_CORRECTION, 0, 0},
    {FOPT_ADAMW, FOPT_DECOUPLED_DECAY, FOPT_MAXIMIZE | FOPT_AMSGRAD | FOPT_NO_BIAS_CORRECTION, 0, 0},
};

static const fopt_format formats[] = {FOPT_F32, FOPT_BF16, FOPT_F16};
static const fopt_format moment_formats[] = {FOPT_F32, FOPT_BF16, FOPT_Q8, FOPT_Q8_64}; /* quantized: last */

/* Counts the cases of a row: twice as many as there are subsets, with and without decay. */
static size_t cases_of(const struct row *row)
{
    size_t count = 2;
    for (unsigned rest = row->optional; rest != 0; rest &= rest - 1)
        count *= 2;
    return count;
}

size_t case_count(void)
{
    size_t count = 0;
    for (size_t i = 0; i < LENGTH(rows); i++)
        count += cases_of(&rows[i]);
    return count;
}

fopt_group case_group(size_t index)
{
    const struct row *row = rows;
    while (index >= cases_of(row))
        index -= cases_of(row++);

    fopt_group group;
    fopt_group_init(&group, sizeof group, row->rule);
    group.lr = 0.1; /* large enough to move 16-bit parameters */
    group.weight_decay = index % 2 != 0 ? DECAY : 0;
    group.momentum = row->momentum;
    group.dampening = row->dampening;
    group.flags = row->always;
    index /= 2;
    for (unsigned rest = row->optional; rest != 0; rest &= rest - 1, index /= 2)
        if (index % 2 != 0)
            group.flags |= rest & (0 - rest); /* its lowest flag */
    return group;
}

void case_name(const fopt_group *group, char name[CASE_NAME_SIZE])
{
    char flags[ORACLE_NAME_SIZE];
    oracle_name(group, flags);
    snprintf(name, CASE_NAME_SIZE, "%s%s%s", flags, group->dampening > 0 ? " dampening" : "",
             group->weight_decay > 0 ? " decay" : "");
}

/* Counts the plain triples; those of quantized formats come behind them. */
size_t case_plain_formats_count(void)
{
    return LENGTH(formats) * LENGTH(formats) * case_plain_states_count();
}

size_t case_formats_count(void)
{
    return LENGTH(formats) * LENGTH(formats) * LENGTH(moment_formats);
}

case_formats case_formats_at(size_t index)
{
    const size_t all = LENGTH(formats);
    return (case_formats){
        .param = formats[index / all % all], .grad = formats[index % all], .state = moment_formats[index / all / all]};
}

size_t case_states_count(void)
{
    return LENGTH(moment_formats);
}

size_t case_plain_states_count(void)
{
    size_t count = 0;
    while (count < LENGTH(moment_formats) && !is_quantized(moment_formats[count]))
        count++;
    return count;
}

fopt_format case_state_at(size_t index)
{
    return moment_formats[index];
}

void case_set_state(fopt_group *group, fopt_format state)
{
    const bool refused = is_quantized(state) && group->flags & FOPT_CENTERED;
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        group->state_format[kind] = refused ? FOPT_F32 : state;
}
