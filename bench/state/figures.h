/* What is measured of a format: how far the updates, and the second moments, are from those of exact Adam. */
#ifndef FIGURES_H
#define FIGURES_H

#include <stddef.h>

/* Adam without weight decay and with a learning rate of 1, in double, straight from the formulas of fusedopt.h. */
typedef struct exact_adam {
    double beta1, beta2, eps;
    double *m, *v; /* the caller's, zero at first */
} exact_adam;

/* Takes a step's gradients into the moments. */
void exact_step(const exact_adam *adam, const float *gradients, size_t count);

/* Writes what step t then subtracts from the parameters. */
void exact_updates(const exact_adam *adam, size_t t, size_t count, double *updates);

/* Sums over all elements of the steps that are measured; zero at first. */
typedef struct figures {
    double errors, squares, products; /* of (u - exact)^2, exact^2, u * exact */
    double largest, largest_exact;
} figures;

/* Adds a step: `moved` is what it added to the parameters, the update with the other sign. */
void figures_add(figures *f, const float *moved, const double *exact, size_t count);

double figures_error(const figures *f); /* the RMS of the update's error by that of the exact update */
double figures_gain(const figures *f);  /* the exact update's factor in the update: 1 if it is neither long nor short */
double figures_worst(const figures *f); /* the largest update by the largest exact one */

#endif
