/*
 * What a format is. Format NAME is a header with
 *   fopt_i_NAME                 the type of a stored element
 *   fopt_i_NAME_decode          the float that a stored element stands for
 *   fopt_i_NAME_encode          a parameter, to the nearest, ties to even
 *   fopt_i_NAME_encode_moment   a moment of some kind, element `element` of the tile that has the key; only if the
 * format may store moments fopt_i_NAME_loops           the same for a tile of an array, on the CPU
 */
#ifndef FOPT_I_FORMAT_H
#define FOPT_I_FORMAT_H

#include "../random.h"
#include "fusedopt.h"

#if defined(__GNUC__) || defined(__CUDACC__)
#define FOPT_I_RESTRICT __restrict__
#else
#define FOPT_I_RESTRICT
#endif

/* Elements [first, first + count) of an array from and to floats; `first` is where a tile begins. All NULL: the array
 * holds floats, to be used in place. store_moment NULL: parameters and gradients only. */
typedef struct fopt_i_format_loops {
    void (*load)(const void *array, size_t first, size_t count, float *FOPT_I_RESTRICT out);
    void (*store)(void *array, size_t first, size_t count, const float *FOPT_I_RESTRICT in);
    void (*store_moment)(void *array, size_t first, size_t count, const float *FOPT_I_RESTRICT in, fopt_state_kind kind,
                         uint64_t tile_key);
} fopt_i_format_loops;

#endif
