/* Steps by hand on the CPU: a fused loop, and a chain of BLAS calls. */
#include "time/by_hand.h"
#include "machine/parallel.h"
#include <math.h>
#ifdef FUSEDOPT_HAVE_CBLAS
#include <cblas.h>
#endif
#ifdef FUSEDOPT_HAVE_CUBLAS
#include "machine/cublas.h"
#endif

static by_hand_job describe(const by_hand_model *model, size_t tensor)
{
    const fopt_group *g = &model->group;
    const double step = (double)model->step;
    return (by_hand_job){
        .tensor = model->tensors[tensor],
        .queue = model->queue,
        .scratch = model->scratch,
        .lr = (float)g->lr,
        .momentum = (float)g->momentum,
        .alpha = (float)g->alpha,
        .beta1 = (float)g->beta1,
        .beta2 = (float)g->beta2,
        .eps = (float)g->eps,
        .decay = (float)(g->lr * g->weight_decay),
        .step_size = (float)(g->lr / (1 - pow(g->beta1, step))),
        .correction = (float)(1 / sqrt(1 - pow(g->beta2, step))),
    };
}

/* ---- fused loops --------------------------------------------------------------------------------------------- */

FOR_EACH_ISA static void sgd_loop(const void *context, size_t begin, size_t end)
{
    const by_hand_job j = *(const by_hand_job *)context;
    float *restrict p = j.tensor.param;
    const float *restrict g = j.tensor.grad;
    for (size_t i = begin; i < end; i++)
        p[i] -= j.lr * g[i];
}

FOR_EACH_ISA static void momentum_loop(const void *context, size_t begin, size_t end)
{
    const by_hand_job j = *(const by_hand_job *)context;
    float *restrict p = j.tensor.param, *restrict b = j.tensor.state[FOPT_MOMENTUM_BUFFER];
    const float *restrict g = j.tensor.grad;
    for (size_t i = begin; i < end; i++) {
        b[i] = j.momentum * b[i] + g[i];
        p[i] -= j.lr * b[i];
    }
}

FOR_EACH_ISA static void rmsprop_loop(const void *context, size_t begin, size_t end)
{
    const by_hand_job j = *(const by_hand_job *)context;
    float *restrict p = j.tensor.param, *restrict s = j.tensor.state[FOPT_SECOND_MOMENT];
    const float *restrict g = j.tensor.grad;
    for (size_t i = begin; i < end; i++) {
        s[i] = j.alpha * s[i] + (1 - j.alpha) * g[i] * g[i];
        p[i] -= j.lr * g[i] / (sqrtf(s[i]) + j.eps);
    }
}

/* Steps by Adam, and by AdamW, whose decay is not zero. */
FOR_EACH_ISA static void adam_loop(const void *context, size_t begin, size_t end)
{
    const by_hand_job j = *(const by_hand_job *)context;
    float *restrict p = j.tensor.param, *restrict m = j.tensor.state[FOPT_FIRST_MOMENT];
    float *restrict v = j.tensor.state[FOPT_SECOND_MOMENT];
    const float *restrict g = j.tensor.grad;
    for (size_t i = begin; i < end; i++) {
        m[i] = j.beta1 * m[i] + (1 - j.beta1) * g[i];
        v[i] = j.beta2 * v[i] + (1 - j.beta2) * g[i] * g[i];
        p[i] -= j.decay * p[i] + j.step_size * m[i] / (sqrtf(v[i]) * j.correction + j.eps);
    }
}

/* ---- chains of BLAS calls ------------------------------------------------------------------------------------ */

#ifdef FUSEDOPT_HAVE_CBLAS

/* Computes y += a x, and x *= a. Each thread walks its own range: OpenBLAS's threads would fight with OpenMP's, which
 * spin. */
static void axpy(float a, const float *x, float *y, size_t begin, size_t end)
{
    cblas_saxpy((blasint)(end - begin), a, x + begin, 1, y + begin, 1);
}

static void scale(float a, float *x, size_t begin, size_t end)
{
    cblas_sscal((blasint)(end - begin), a, x + begin, 1);
}

/* Computes y += a x^2. */
FOR_EACH_ISA static void add_square(float a, const float *restrict x, float *restrict y, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        y[i] += a * x[i] * x[i];
}

/* Computes z = x / (a sqrt(y) + eps). */
FOR_EACH_ISA static void divide(const float *restrict x, const float *restrict y, float a, float eps, float *restrict z,
                                size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        z[i] = x[i] / (a * sqrtf(y[i]) + eps);
}

static void sgd_blas(const void *context, size_t begin, size_t end)
{
    const by_hand_job *j = context;
    axpy(-j->lr, j->tensor.grad, j->tensor.param, begin, end);
}

static void momentum_blas(const void *context, size_t begin, size_t end)
{
    const by_hand_job *j = context;
    float *b = j->tensor.state[FOPT_MOMENTUM_BUFFER];
    scale(j->momentum, b, begin, end);
    axpy(1, j->tensor.grad, b, begin, end);
    axpy(-j->lr, b, j->tensor.param, begin, end);
}

static void rmsprop_blas(const void *context, size_t begin, size_t end)
{
    const by_hand_job *j = context;
    float *s = j->tensor.state[FOPT_SECOND_MOMENT];
    scale(j->alpha, s, begin, end);
    add_square(1 - j->alpha, j->tensor.grad, s, begin, end);
    divide(j->tensor.grad, s, 1, j->eps, j->scratch, begin, end);
    axpy(-j->lr, j->scratch, j->tensor.param, begin, end);
}

static void adam_blas(const void *context, size_t begin, size_t end)
{
    const by_hand_job *j = context;
    float *m = j->tensor.state[FOPT_FIRST_MOMENT], *v = j->tensor.state[FOPT_SECOND_MOMENT];
    scale(j->beta1, m, begin, end);
    axpy(1 - j->beta1, j->tensor.grad, m, begin, end);
    scale(j->beta2, v, begin, end);
    add_square(1 - j->beta2, j->tensor.grad, v, begin, end);
    divide(m, v, j->correction, j->eps, j->scratch, begin, end);
    if (j->decay != 0)
        scale(1 - j->decay, j->tensor.param, begin, end);
    axpy(-j->step_size, j->scratch, j->tensor.param, begin, end);
}

#define CHAIN(name) name
#else
#define CHAIN(name) NULL
#endif

/* ---- choice -------------------------------------------------------------------------------------------------- */

static const struct recipe {
    fopt_rule rule;
    bool momentum;
    by_hand_rule how;
} recipes[] = {
    {FOPT_SGD, false, BY_HAND_SGD},   {FOPT_SGD, true, BY_HAND_MOMENTUM}, {FOPT_RMSPROP, false, BY_HAND_RMSPROP},
    {FOPT_ADAM, false, BY_HAND_ADAM}, {FOPT_ADAMW, false, BY_HAND_ADAM},
};

/* The loops on the CPU, by rule. */
static range_function *const loops[] = {sgd_loop, momentum_loop, rmsprop_loop, adam_loop};
static range_function *const chains[] = {CHAIN(sgd_blas), CHAIN(momentum_blas), CHAIN(rmsprop_blas), CHAIN(adam_blas)};

static const struct recipe *find(const fopt_group *group)
{
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        if (recipes[i].rule == group->rule && recipes[i].momentum == (group->momentum > 0))
            return &recipes[i];
    return NULL;
}

bool by_hand_knows(const fopt_group *group)
{
    fopt_group defaults;
    fopt_group_init(&defaults, sizeof defaults, group->rule);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (group->state_format[kind] != FOPT_F32)
            return false;
    return find(group) && group->flags == defaults.flags && group->weight_decay == defaults.weight_decay &&
           group->dampening == 0;
}

bool by_hand_has_blas(fopt_device device)
{
#ifdef FUSEDOPT_HAVE_CUBLAS
    if (device.kind == FOPT_CUDA)
        return cublas_load();
#endif
    return device.kind == FOPT_CPU && chains[BY_HAND_SGD];
}

static bool step_tensor(const by_hand_model *model, by_hand_rule how, bool chain, const by_hand_job *job)
{
    if (model->device.kind == FOPT_CPU)
        parallel_ranges(chain ? chains[how] : loops[how], job, job->tensor.count);
#ifdef FUSEDOPT_HAVE_CUDA
    else if (!chain)
        return by_hand_cuda_loop(how, job);
#endif
#ifdef FUSEDOPT_HAVE_CUBLAS
    else
        return by_hand_cuda_chain(how, job);
#endif
    return true;
}

static bool step(by_hand_model *model, bool chain)
{
    const by_hand_rule how = find(&model->group)->how;
    bool good = true;
    model->step++;
    for (size_t i = 0; i < model->tensor_count && good; i++) {
        const by_hand_job job = describe(model, i);
        good = step_tensor(model, how, chain, &job);
    }
    return good;
}

bool by_hand_loop(by_hand_model *model)
{
    return step(model, false);
}

bool by_hand_blas(by_hand_model *model)
{
#ifdef FUSEDOPT_HAVE_CBLAS
    openblas_set_num_threads(1);
#endif
    return step(model, true);
}
