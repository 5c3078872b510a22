/* Exact Adam, and what an update differs from it. */
#include "state/figures.h"
#include "machine/parallel.h"
#include <float.h>
#include <math.h>

/* Where gradients stay zero, moments would end among the subnormal numbers, which are slow and move nothing. */
static inline double without_subnormals(double x)
{
    return fabs(x) < DBL_MIN ? 0 : x;
}

FOR_EACH_ISA
static void average(double beta1, double beta2, double *restrict m, double *restrict v, const float *restrict gradients,
                    size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double g = (double)gradients[i];
        m[i] = without_subnormals(beta1 * m[i] + (1 - beta1) * g);
        v[i] = without_subnormals(beta2 * v[i] + (1 - beta2) * (g * g));
    }
}

void exact_step(const exact_adam *adam, const float *gradients, size_t count)
{
    average(adam->beta1, adam->beta2, adam->m, adam->v, gradients, count);
}

FOR_EACH_ISA
static void make_updates(double factor, double root, double eps, const double *restrict m, const double *restrict v,
                         size_t count, double *restrict updates)
{
    for (size_t i = 0; i < count; i++)
        updates[i] = factor * m[i] / (sqrt(v[i]) / root + eps);
}

void exact_updates(const exact_adam *adam, size_t t, size_t count, double *updates)
{
    const double factor = 1 / (1 - pow(adam->beta1, (double)t)), root = sqrt(1 - pow(adam->beta2, (double)t));
    make_updates(factor, root, adam->eps, adam->m, adam->v, count, updates);
}

void figures_add(figures *f, const float *moved, const double *exact, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double update = -(double)moved[i], error = update - exact[i];
        f->errors += error * error;
        f->squares += exact[i] * exact[i];
        f->products += update * exact[i];
        f->largest = fmax(f->largest, fabs(update));
        f->largest_exact = fmax(f->largest_exact, fabs(exact[i]));
    }
}

double figures_error(const figures *f)
{
    return sqrt(f->errors / f->squares);
}

double figures_gain(const figures *f)
{
    return f->products / f->squares;
}

double figures_worst(const figures *f)
{
    return f->largest / f->largest_exact;
}
