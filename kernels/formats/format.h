/*
 * What a format is. Format NAME is a header with
 *   fopt_i_NAME                 the type of a stored element
 *   fopt_i_NAME_loops           how a tile of an array is read and written, on the CPU (of q8: cpu/q8_loops.h)
 * and, if an element stands for itself (FOPT_I_ARRAY_FORMATS, FOPT_I_MOMENT_FORMATS in formats.h),
 *   fopt_i_NAME_decode          the float that a stored element stands for
 *   fopt_i_NAME_encode          a parameter, to the nearest, ties to even
 *   fopt_i_NAME_encode_moment   a moment of some kind, element `element` of the tile that has the key
 * Where elements of a tile share a scale (FOPT_I_QUANTIZED_FORMATS), see q8.h.
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

/* One moment of one tile. */
typedef struct fopt_i_moments {
    void *data;    /* its first element */
    float *absmax; /* FOPT_Q8: its scale */
    fopt_state_kind kind;
    uint64_t tile_key;
} fopt_i_moments;

/* A tile's elements from and to floats. All NULL: the array holds floats, to be used in place. load and store are for
 * parameters and gradients, the others for moments; NULL where the format does not have them. */
typedef struct fopt_i_format_loops {
    void (*load)(const void *tile, size_t count, float *FOPT_I_RESTRICT out);
    void (*store)(void *tile, size_t count, const float *FOPT_I_RESTRICT in);
    void (*load_moments)(const fopt_i_moments *from, size_t count, float *FOPT_I_RESTRICT out);
    void (*store_moments)(const fopt_i_moments *to, size_t count, const float *FOPT_I_RESTRICT in);
} fopt_i_format_loops;

#endif
