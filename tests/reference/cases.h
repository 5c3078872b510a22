/*
 * All that the library can be asked to compute: every rule with every combination of its options, and every
 * combination of formats. Whatever must hold for all of them goes through these lists.
 *
 * To add a rule, or an option: a row, or a flag in a row, of the table in cases.c. To add a format: the lists there.
 */
#ifndef FUSEDOPT_TESTS_CASES_H
#define FUSEDOPT_TESTS_CASES_H

#include "fusedopt.h"

/* A case is a group, complete but for the state formats, which are FOPT_F32. Each option is off in one half of the
 * cases that may have it, and on in the other; numbers such as a weight decay are then zero or not. */
size_t case_count(void);
fopt_group case_group(size_t index);

/* "adam amsgrad decoupled decay", say. */
#define CASE_NAME_SIZE 200
void case_name(const fopt_group *group, char name[CASE_NAME_SIZE]);

/* The formats of a tensor and all its moments. The first triple is single precision throughout. */
typedef struct case_formats {
    fopt_format param, grad, state;
} case_formats;

size_t case_formats_count(void);
case_formats case_formats_at(size_t index);

/* The first of them: those whose moments stand for themselves, element by element, and are not quantized. */
size_t case_plain_formats_count(void);

/* The formats of moments, the quantized ones last. A group with FOPT_CENTERED, which refuses these, gets FOPT_F32
 * instead. */
size_t case_states_count(void);
size_t case_plain_states_count(void);
fopt_format case_state_at(size_t index);
void case_set_state(fopt_group *group, fopt_format state);

#endif
