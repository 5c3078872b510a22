/* The table of the command state. */
#include "state/state_report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

void state_formats_name(state_formats formats, char name[STATE_NAME_SIZE])
{
    const char *first = fopt_format_name(formats.first), *second = fopt_format_name(formats.second);
    const bool same = formats.first == formats.second;
    snprintf(name, STATE_NAME_SIZE, "%s%s%s", first, same ? "" : "/", same ? "" : second);
}

void state_table_head(void)
{
    printf("%-9s %6s %7s %-12s %11s %9s %9s %9s %9s %9s\n", "gradients", "beta1", "beta2", "moments", "bytes/param",
           "error", "gain", "second", "worst", "moved");
}

static void print_cell(double value)
{
    char text[32];
    snprintf(text, sizeof text, value < 0.001 || value >= 10000 ? "%.1e" : "%.3f", value);
    printf(" %9s", isnan(value) ? "-" : text);
}

void state_table_row(const state_row *row)
{
    char name[STATE_NAME_SIZE];
    state_formats_name(row->formats, name);
    printf("%-9s %6g %7g %-12s %11.2f", gradients_names[row->what.kind], row->what.beta1, row->what.beta2, name,
           row->bytes);
    print_cell(row->error);
    print_cell(row->gain);
    print_cell(row->second);
    print_cell(row->worst);
    print_cell(row->moved);
    putchar('\n');
}

void state_table_foot(const state_setting *setting)
{
    printf("\n"
           "moments    the format of the first and the second one\n"
           "error      the RMS of the update's difference from that of exact Adam, by the RMS of the exact update\n"
           "gain       the exact update's factor in the update: below 1 updates are too short\n"
           "second     the sum of the second moments as they are stored, at the end, by what it is exactly\n"
           "worst      the largest update of an element by the largest exact one\n"
           "moved      the way of parameters whose gradients have stopped, by the way that they would go exactly\n"
           "\n"
           "Over %zu elements and every %dth of %zu steps, after the first %zu; moved: %zu elements, all of %zu steps "
           "after %d.\n",
           setting->elements, STATE_EVERY, setting->steps, state_unmeasured(setting),
           state_elements(setting, GRADIENTS_STOP), state_steps(setting, GRADIENTS_STOP), GRADIENTS_FEW);
}
