/*
 * Arrays for tests: memory between inaccessible pages, random and adversarial data, and a comparison to the bit whose
 * failure says how to get it again.
 */
#ifndef FUSEDOPT_TESTS_BUFFERS_H
#define FUSEDOPT_TESTS_BUFFERS_H

#include "../reference/numbers.h"
#include "../reference/splitmix.h"

#include <stdbool.h>

/* ---- what runs ----------------------------------------------------------------------------------------------- */

/* Says what runs from now on, "adam amsgrad bf16/f32/bf16 avx2 seed=7" say: every failure below begins with it, and a
 * segmentation fault prints it. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void now_running(const char *format, ...);
const char *what_runs(void);

void expect_ok(fopt_status status);

/* Count, and give by number, the instruction sets that run here, from the least. */
size_t isa_count(void);
fopt_isa isa_at(size_t index);

/* ---- guarded memory ------------------------------------------------------------------------------------------ */

typedef struct guarded {
    void *data;
    size_t bytes;
    unsigned char *pages;
    size_t page_bytes;
} guarded;

/* Memory with an inaccessible page on either side. It begins `offset` bytes after the first, or, with GUARD_END, ends
 * where the last begins. */
#define GUARD_END SIZE_MAX
guarded guarded_new(size_t bytes, size_t offset);

/* Fails if anything was written into the accessible bytes around the data. */
void guarded_free(guarded memory);

/* ---- numbers ------------------------------------------------------------------------------------------------- */

double get_value(fopt_format format, const void *array, size_t index);
void set_value(fopt_format format, void *array, size_t index, double value); /* the nearest */

/* Numbers of both signs from 2^-12 to 2^4; one in `special` is adversarial instead (none if 0). */
void fill_random(fopt_format format, void *array, size_t count, uint64_t seed, unsigned special);

/* ---- moments ------------------------------------------------------------------------------------------------- */

/* A moment in memory of a test's own. Codes of a quantized format are followed by their absmax, at the next multiple of
 * four. */
size_t moment_bytes(fopt_format format, size_t count);
fopt_array moment_array(fopt_format format, void *data, size_t count);

/* Elements [first, first + count) of it, where tiles begin. */
fopt_array moment_part(fopt_array whole, size_t first, size_t count);
void copy_moments(fopt_array to, fopt_array from);

/* moment_array() in the group's format, as fopt_update() wants it: none of a moment that the group does not keep. */
fopt_array kept_moment(const fopt_group *group, fopt_state_kind kind, void *data, size_t count);

/* Updates by fopt_update() a tensor whose moments begin at `moments`, each `stride` bytes after the one before. */
void update_tensor(const fopt_config *config, const fopt_group *group, const fopt_tensor *tensor, void *moments,
                   size_t stride, int64_t step);

/* ---- comparison ---------------------------------------------------------------------------------------------- */

/* Fails unless the two arrays have the same bits. In single precision all NaNs are equal; a 16-bit format has one. */
void expect_same(const char *what, fopt_format format, const void *got, const void *want, size_t count);
void expect_same_moments(const char *what, fopt_array got, fopt_array want);

#endif
