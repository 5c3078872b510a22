/* The cases of the command verify, by number: every rule, variant and triple of formats over some tensors; some of
 * these over ten thousand tensors; and one tensor that 32 bits cannot count. */
#ifndef VERIFY_CASES_H
#define VERIFY_CASES_H

#include "verify/check.h"
#include <stddef.h>
#include <stdint.h>

typedef struct verify_case {
    check_case what;
    size_t small_tensors;   /* for check_open() */
    uint64_t long_elements; /* not 0: for long_check() */
} verify_case;

/* Counts the cases. Of those before verify_usual_count() each differs from all others in rule, variant or formats. */
size_t verify_case_count(void);
size_t verify_usual_count(void);
verify_case verify_case_at(size_t number, uint64_t seed);

#endif
