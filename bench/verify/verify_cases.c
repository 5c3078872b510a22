/* Numbers the cases of the command verify. */
#include "verify/verify_cases.h"

enum { FEW = 40, MANY = 10000 };

/* Formats that ten thousand tensors get, each with all rules. */
static const case_formats many_formats[] = {
    {FOPT_F32, FOPT_F32, FOPT_F32}, {FOPT_BF16, FOPT_F16, FOPT_BF16}, {FOPT_BF16, FOPT_BF16, FOPT_Q8}};
enum { MANY_FORMATS = sizeof many_formats / sizeof *many_formats };

/* Elements of the long tensor: 2^32, three tiles, and a part of one. */
static const uint64_t long_elements = ((uint64_t)1 << 32) + 1000;
static const case_formats long_formats = {FOPT_BF16, FOPT_F16, FOPT_F32};

size_t verify_usual_count(void)
{
    return case_count() * case_formats_count();
}

static size_t rule_count(void)
{
    size_t count = 0;
    while (fopt_rule_name((fopt_rule)count))
        count++;
    return count;
}

size_t verify_case_count(void)
{
    return verify_usual_count() + rule_count() * MANY_FORMATS + 1;
}

/* Returns the last of a rule's groups, which has all its options. */
static fopt_group fullest_group(size_t rule)
{
    size_t index = case_count() - 1;
    while (index > 0 && case_group(index).rule != (fopt_rule)rule)
        index--;
    return case_group(index);
}

verify_case verify_case_at(size_t number, uint64_t seed)
{
    verify_case made = {.what = {.seed = seed + number}, .small_tensors = FEW};
    const size_t usual = verify_usual_count(), many = rule_count() * MANY_FORMATS;
    if (number < usual) {
        made.what.group = case_group(number / case_formats_count());
        made.what.formats = case_formats_at(number % case_formats_count());
    } else if (number < usual + many) {
        made.what.group = fullest_group((number - usual) / MANY_FORMATS);
        made.what.formats = many_formats[(number - usual) % MANY_FORMATS];
        made.small_tensors = MANY;
    } else {
        fopt_group_init(&made.what.group, sizeof made.what.group, FOPT_SGD);
        made.what.formats = long_formats;
        made.long_elements = long_elements;
    }
    case_set_state(&made.what.group, made.what.formats.state);
    return made;
}
