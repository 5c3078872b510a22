/* The tables that kernels with "bins" in their names encode by. */
#ifndef FUSEDOPT_GPU_BINS_H
#define FUSEDOPT_GPU_BINS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BINS = 4096 /* of a map */ };

/* Fills them: first the map with a sign. */
void fill_bins(uint32_t bins[2][BINS]);

#ifdef __cplusplus
}
#endif

#endif
