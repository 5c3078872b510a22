/*
 * fusedopt: the optimizer step of neural-network training, fused, over raw device or host buffers.
 *
 * This is the whole public interface. It compiles as C99 and as C++ and needs no CUDA header.
 *
 * Conventions
 *  - Every function that can fail returns a fopt_status. On anything but FOPT_OK, fopt_last_error() says in this
 *    thread in which call which argument, of which tensor or group, was wrong, and what its value was.
 *  - Everything is validated before the first byte is written: a refused call changes nothing.
 *  - The library never prints, exits, aborts or throws, and keeps no global mutable state of its own.
 *  - All calls on one optimizer must be ordered by the caller. Different optimizers are independent and may be used
 *    from different threads at the same time.
 *  - Every struct that is passed by pointer begins with `size`, which the caller sets to sizeof of the struct as it was
 *    compiled. In an array of structs all elements have the size of the first, and lie that many bytes apart. Fields
 *    are only ever added at the end; a field that the library does not know must be zero. All-zero fields are valid
 *    defaults everywhere but in fopt_group, which fopt_group_init() fills. So a program works with a later library than
 *    it was compiled for, and with an earlier one as long as it does not use what that has not.
 *  - A "tile" is 256 consecutive elements, counted from the start of a tensor.
 *
 * Numerics
 *  The arithmetic is IEEE single precision, round to nearest even, subnormal parameters kept, fused only where the
 *  formulas say so. The result depends on the inputs alone: not on the device, the instruction set, the
 *  number of threads, the route (fopt_step or fopt_update), or how tensors are cut into shards at tile boundaries.
 *  The caller's rounding and flush-to-zero modes are neither used nor changed. Which bits a NaN has is not specified,
 *  except that 16-bit formats store one canonical NaN (0x7fc0 and 0x7e00).
 *
 *  A finite gradient, coupled decay included, leaves every moving average finite (a sum like momentum's buffer may
 *  overflow); and however large it is, the step of a rule that divides by the root of an average of squares stays
 *  within the bound that exact arithmetic has, but for the rounding of stored moments and for FOPT_CENTERED. A NaN or
 *  infinite gradient makes its element's first moment and parameter NaN or infinite, as in PyTorch, unless a moment is
 *  quantized; other elements are untouched.
 *
 *  No finite input makes a step slow (but for quantized buffers of 1e-22 and below with a momentum below 0.25). CPUs
 *  take ten times as long to multiply or divide where a subnormal number is met: so what is too small to count is zero
 *  before it is multiplied (see fopt_rule). A parameter whose update is zero keeps its bits.
 *
 * Streams (CUDA)
 *  - A call that is given a stream, except fopt_get_step() and fopt_copy(), only enqueues on it, takes its values at
 *    the call, and may be captured into a graph: a replay repeats it with the values of the capture, and counts its
 *    steps. (A step's values are on the device: a replayed one uses the rates and gradients in force then.) Parameters,
 *    gradients and state must stay valid until the stream has done the work.
 *  - A stream that is NULL is the legacy default stream, with whatever default stream a program is compiled.
 *  - The caller's current device and context are the same after every call, and no context is made on another device
 *    than the optimizer's. (Where a thread has no context yet, its device's primary one may be current afterwards, as
 *    after any call of CUDA's runtime.)
 *  - Memory must be the device's own, managed, or the host's where the device sees it at the same address.
 *  - A CUDA error that a call causes is returned by it and consumed; one that was there before is reported and left.
 *
 * Not supported, and refused with FOPT_ERR_UNSUPPORTED
 *  - a moment stored as FOPT_F16: squares of gradients below 1e-4 are under its range;
 *  - more than one of FOPT_NESTEROV, FOPT_EMA_MOMENTUM and FOPT_CLASSIC_MOMENTUM, or one of them with dampening;
 *  - one of them, or dampening, without momentum;
 *  - FOPT_ADAMW without FOPT_DECOUPLED_DECAY, which is FOPT_ADAM;
 *  - parameters or gradients as FOPT_Q8 or FOPT_Q8_64, or FOPT_CENTERED with any such moment: a difference of two
 *    quantized squares gives steps of 1000 * lr;
 *  - beta1, beta2 and eps all 0, or alpha and eps: a group that fopt_group_init() has not seen;
 *  - adding or removing state arrays after creation (fopt_set_group).
 * Limits, refused with FOPT_ERR_ARGUMENT: 2^31 - 1 tensors and as many groups; 2^57 - 1 elements in a tensor; state of
 * 2^62 bytes in all, or 2^63 elements; 65,536 threads; a `size` of 4,096, or one that is no multiple of sizeof(size_t).
 * Names in messages are cut after 80 bytes, and what could not be printed safely is '?' there.
 */
#ifndef FUSEDOPT_H
#define FUSEDOPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(FOPT_SHARED)
#ifdef FOPT_BUILDING
#define FOPT_API __declspec(dllexport)
#else
#define FOPT_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define FOPT_API __attribute__((visibility("default")))
#else
#define FOPT_API
#endif

/* ---- version ------------------------------------------------------------------------------------------------- */

#define FOPT_VERSION_MAJOR 0 /* goes up when programs must be compiled again */
#define FOPT_VERSION_MINOR 1 /* goes up with additions */
#define FOPT_VERSION_PATCH 0 /* goes up with corrections */
/* The version of this header as one number, 10203 for 1.2.3. */
#define FOPT_VERSION (FOPT_VERSION_MAJOR * 10000 + FOPT_VERSION_MINOR * 100 + FOPT_VERSION_PATCH)

FOPT_API int fopt_version(void);                /* FOPT_VERSION of the library that is linked */
FOPT_API const char *fopt_version_string(void); /* "0.1.0" */

/* ---- status -------------------------------------------------------------------------------------------------- */

/* The outcome of a call; every one that can fail returns it. */
typedef enum fopt_status {
    FOPT_OK = 0,
    FOPT_ERR_ARGUMENT = 1,    /* an argument is NULL, out of range, misaligned, or contradicts another */
    FOPT_ERR_UNSUPPORTED = 2, /* each argument is valid, but the combination is not offered */
    FOPT_ERR_MEMORY = 3,      /* an allocator returned NULL */
    FOPT_ERR_DEVICE = 4,      /* the device is absent, or failed */
    FOPT_ERR_BROKEN = 5,      /* an earlier step of this optimizer failed half-way; only fopt_destroy() is left */
    FOPT_ERR_FILE = 6         /* a file cannot be read or written, or is not what it should be: from a companion library
                                 alone, such as fusedopt_checkpoint.h */
} fopt_status;

/* Returns a status in two or three words. */
FOPT_API const char *fopt_status_string(fopt_status status);

/* Returns the text of this thread's most recent failure, "" before the first. It stays valid until this thread's next
 * failing call. A call that succeeds leaves it alone. */
FOPT_API const char *fopt_last_error(void);

/* Sets that text, for a library that is built on this one and fails by itself. It is copied, cut after 511 bytes, and
 * what could not be printed safely becomes '?'. NULL is "". */
FOPT_API void fopt_set_last_error(const char *text);

/* ---- devices ------------------------------------------------------------------------------------------------- */

/* The backends. */
typedef enum fopt_device_kind { FOPT_CPU = 0, FOPT_CUDA = 1 } fopt_device_kind;

/* One device. */
typedef struct fopt_device {
    fopt_device_kind kind; /* FOPT_CPU in a struct of zeros */
    int index;             /* from 0; the CPU is one device */
} fopt_device;

/* The CPU's instruction sets. All give the same bits; they differ in speed alone. */
typedef enum fopt_isa {
    FOPT_ISA_AUTO = 0,       /* the best one that this machine runs; the environment variable FUSEDOPT_ISA (avx512vbmi,
                              avx512, avx2, baseline) overrides the choice, as it was when the library was loaded (if
                              it was built by gcc or clang) */
    FOPT_ISA_BASELINE = 1,   /* portable C as compiled for the target's baseline: any that is little-endian */
    FOPT_ISA_AVX2 = 2,       /* x86-64 with AVX2 and FMA */
    FOPT_ISA_AVX512 = 3,     /* x86-64 with AVX-512 F, BW, DQ, VL, and FMA */
    FOPT_ISA_AVX512_VBMI = 4 /* the same with VBMI, for quantized moments */
} fopt_isa;

/* A device, as fopt_device_query() describes it; what belongs to the other kind of device is 0. */
typedef struct fopt_device_info {
    size_t size;
    char name[128]; /* as its maker calls it */
    /* CPU */
    unsigned isas; /* bit 1u << isa is set for each instruction set that can be used here */
    fopt_isa isa;  /* what FOPT_ISA_AUTO chooses, FUSEDOPT_ISA considered */
    int threads;   /* what fopt_config.threads == 0 means when called from this thread */
    /* CUDA */
    int compute_major, compute_minor; /* compute capability */
    int multiprocessors;              /* SMs */
    size_t memory_bytes;              /* in all, free or not */
} fopt_device_info;

/* Counts the devices of a kind that can be used now. FOPT_OK with *count == 0 when there is none. */
FOPT_API fopt_status fopt_device_count(fopt_device_kind kind, int *count);

/* Describes one device. `info->size` must be set. */
FOPT_API fopt_status fopt_device_query(fopt_device device, fopt_device_info *info);

/* A cudaStream_t (this is how CUDA declares it); the CPU backend ignores it. */
typedef struct CUstream_st *fopt_stream;

/* ---- rules and formats --------------------------------------------------------------------------------------- */

/*
 * The update rules. p parameter, g gradient, t the tensor's step count from 1.
 *
 * Every rule first does:          g = -g with FOPT_MAXIMIZE;   g += weight_decay * p unless FOPT_DECOUPLED_DECAY
 * and last, with the update u:    p -= u                       p -= u + lr * weight_decay * p if decoupled
 *
 * FOPT_SGD      u = lr * g. If momentum > 0, with the momentum buffer b (zero at first):
 *                   b = t == 1 ? g : momentum * b + (1 - dampening) * g       (PyTorch's spelling)
 *                   u = lr * b, or lr * (g + momentum * b) with FOPT_NESTEROV
 *               FOPT_EMA_MOMENTUM:      b = momentum * b + (1 - momentum) * g;  u = lr * b
 *               FOPT_CLASSIC_MOMENTUM:  b = momentum * b + lr * g;              u = b
 * FOPT_RMSPROP  s = alpha * s + (1 - alpha) * g^2                               (Hinton, lecture 6e; s is square_avg)
 *               FOPT_CENTERED:  a = alpha * a + (1 - alpha) * g;  s' = max(s - a^2, 0), else s' = s
 *               d = g / (sqrt(s') + eps), or g / sqrt(s' + eps) with FOPT_EPS_INSIDE_SQRT
 *               u = lr * d. If momentum > 0:  b = momentum * b + d;  u = lr * b
 *               With FOPT_CENTERED two squares are subtracted that cancel: where a gradient stays nearly the same, or
 *               was above 1e19 once, steps are as large as lr * g / eps.
 * FOPT_ADAM     m = beta1 * m + (1 - beta1) * g                                 (Kingma and Ba, 2015)
 *               v = beta2 * v + (1 - beta2) * g^2
 *               FOPT_AMSGRAD:  x = max(x, v), used in place of v below           (Reddi et al., 2018)
 *               u = lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *               FOPT_NO_BIAS_CORRECTION: both 1 - beta^t are 1
 * FOPT_ADAMW    FOPT_ADAM with FOPT_DECOUPLED_DECAY                             (Loshchilov and Hutter, 2019)
 *
 * Without weight decay its term is left out, so that an infinite parameter does not make NaN of it.
 * Where g is squared, a finite g counts as no more than 2^63 (9e18) in magnitude, so that its square is finite.
 *
 * What is too small counts as zero. With S = 2^-78, 3.3e-24, this is
 *  - where g is squared, a g below 4.4e-19, or of which (1 - alpha) * g^2 or (1 - beta2) * g^2 is below FLT_MIN (a g
 *    below 3.4e-18 with 0.999); in FOPT_EMA_MOMENTUM's average a g below S; elsewhere one of which lr * g, or what b
 *    gets of it, is below FLT_MIN;
 *  - m or a below S, b (and FOPT_NESTEROV's sum) below S / momentum, and any of them of which the update would be below
 *    FLT_MIN; s and v below 2 * FLT_MIN, and what they would change by less than FLT_MIN. Moments are stored as they
 *    count: none is subnormal;
 *  - an update below FLT_MIN, and decay, weight_decay * p or lr * weight_decay * p, below S;
 *  - a factor below 2^-100: lr, weight_decay and their product, 1 - dampening; a beta, alpha or momentum below 2^-44,
 *    where the distance from 1 is no smaller than that either. An eps that is not zero is no smaller than FLT_MIN.
 */
typedef enum fopt_rule { FOPT_SGD = 0, FOPT_RMSPROP = 1, FOPT_ADAM = 2, FOPT_ADAMW = 3 } fopt_rule;

/* fopt_group.flags */
#define FOPT_MAXIMIZE           (1u << 0) /* every rule: ascend */
#define FOPT_DECOUPLED_DECAY    (1u << 1) /* every rule; FOPT_ADAMW must have it */
#define FOPT_NESTEROV           (1u << 2) /* FOPT_SGD with momentum */
#define FOPT_EMA_MOMENTUM       (1u << 3) /* FOPT_SGD with momentum */
#define FOPT_CLASSIC_MOMENTUM   (1u << 4) /* FOPT_SGD with momentum */
#define FOPT_CENTERED           (1u << 5) /* FOPT_RMSPROP */
#define FOPT_EPS_INSIDE_SQRT    (1u << 6) /* FOPT_RMSPROP */
#define FOPT_AMSGRAD            (1u << 7) /* FOPT_ADAM, FOPT_ADAMW */
#define FOPT_NO_BIAS_CORRECTION (1u << 8) /* FOPT_ADAM, FOPT_ADAMW */

/* How an array is stored. */
typedef enum fopt_format {
    FOPT_F32 = 0,
    FOPT_BF16 = 1, /* parameters and gradients are rounded to nearest even; moments stochastically (see
                      fopt_config.seed), since where one step changes an average by less than half a unit in the last
                      place the nearest is the old one for ever. AMSGrad's x, which adds nothing up, is rounded to the
                      nearest; but it keeps the largest of v's errors (4 % after 20,000 steps at beta2 0.999): it asks
                      for v in f32 */
    FOPT_F16 = 2,  /* parameters and gradients only */
    FOPT_Q8 = 3,   /* moments only: 8 bits each, quantized by blocks of 256 elements; see below */
    FOPT_Q8_64 = 4 /* the same by blocks of 64, where elements beside each other are of different sizes (embeddings) */
} fopt_format;

/*
 * FOPT_Q8 and FOPT_Q8_64 (Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022) store moments by
 * blocks of 256 or 64 elements, counted from the tensor's start: a float, absmax, and a byte for each element: a code,
 * the place in a map of 256 values. An element is the map's value times absmax. Moments that have a sign (first moment,
 * momentum buffer) and those that have none (s, v, x) have a map each: those of bitsandbytes, whose layout of codes and
 * absmax this is; states can be copied from and to it, if zeros among its second moments are raised to code 1. (Its
 * maps are computed in float and differ from ours, which are exact, by up to 2 ULP. Its 8-bit RMSprop and Adagrad use
 * the map with signs for a moment that has none.)
 *  - The parameter is updated from the new moments before they are quantized.
 *  - A block's largest magnitude becomes the last value below 1, on either side: absmax is 1.0070 (1.0035 without sign)
 *    times that, and it comes back to an ULP. Smaller ones than 2^-57 (2^-103) count as that; zeros have an absmax of
 *    0.
 *  - A second moment becomes one of the two values around it by random bits (see fopt_config.seed), so that it is
 *    itself in the mean: one step changes it by less than half the distance of two values. A positive one never becomes
 *    zero, since beside a first moment that is not zero it would divide by eps: what is below 3e-7 of its block's
 *    absmax is held up to that, and its steps are smaller until the block's absmax has decayed.
 *  - A first moment or momentum buffer becomes the nearest value; but where that has the code which the element had,
 *    one of the two around it, by random bits, so that what should decay does not stay. AMSGrad's x becomes the
 *    nearest.
 *  - In a group with such a moment, an element stays as it was if its gradient is NaN or infinite, or a new moment, or
 *    that is above 2^126, so that it does not spoil its block: its parameter, and its moments up to being quantized
 *    again.
 *  - A map's value times a small absmax that did not come from a step may be subnormal.
 */

/* The state arrays that a rule may keep, and PyTorch's names for them. */
typedef enum fopt_state_kind {
    FOPT_FIRST_MOMENT = 0,      /* exp_avg of Adam; grad_avg of centered RMSprop */
    FOPT_SECOND_MOMENT = 1,     /* exp_avg_sq of Adam; square_avg of RMSprop */
    FOPT_MAX_SECOND_MOMENT = 2, /* max_exp_avg_sq of Adam with AMSGrad */
    FOPT_MOMENTUM_BUFFER = 3    /* momentum_buffer of SGD and RMSprop, if momentum > 0 */
} fopt_state_kind;
#define FOPT_STATE_KINDS 8 /* how many there can ever be: the rest is reserved */

/* Return short lower-case names ("adamw", "bf16", "exp_avg_sq", "avx2"); NULL for a value that is not of the enum. */
FOPT_API const char *fopt_rule_name(fopt_rule rule);
FOPT_API const char *fopt_format_name(fopt_format format);
FOPT_API const char *fopt_state_kind_name(fopt_rule rule, fopt_state_kind kind);
FOPT_API const char *fopt_isa_name(fopt_isa isa);

/* ---- descriptions -------------------------------------------------------------------------------------------- */

/*
 * What some tensors share: rule, hyperparameters, storage of the moments. Fill it with fopt_group_init(), then change
 * what differs. A hyperparameter or flag that the rule does not use must stay zero.
 *
 * Ranges: lr, eps, weight_decay in [0, 1e9]; beta1, beta2, alpha, momentum in [0, 1); dampening in [0, 1].
 * With eps 0 an element whose moments are zero becomes NaN (0 / 0), as in PyTorch.
 */
typedef struct fopt_group {
    size_t size;
    fopt_rule rule;                             /* what is done with a gradient */
    unsigned flags;                             /* of the flags above, those that the rule has */
    double lr;                                  /* the learning rate */
    double beta1, beta2;                        /* FOPT_ADAM, FOPT_ADAMW */
    double eps;                                 /* FOPT_ADAM, FOPT_ADAMW, FOPT_RMSPROP */
    double weight_decay;                        /* coupled, or decoupled with FOPT_DECOUPLED_DECAY */
    double momentum;                            /* FOPT_SGD, FOPT_RMSPROP */
    double dampening;                           /* FOPT_SGD with momentum, PyTorch's spelling */
    double alpha;                               /* FOPT_RMSPROP */
    fopt_format state_format[FOPT_STATE_KINDS]; /* by fopt_state_kind: FOPT_F32, FOPT_BF16, FOPT_Q8 or FOPT_Q8_64, any
                                                   mix; unused kinds are ignored */
} fopt_group;

/* Sets PyTorch's defaults of a rule: lr 1e-3 (FOPT_RMSPROP 1e-2), betas 0.9 and 0.999, eps 1e-8, alpha 0.99,
 * weight_decay 0 (FOPT_ADAMW 1e-2), momentum and dampening 0; moments FOPT_F32. `size` is sizeof(fopt_group). */
FOPT_API fopt_status fopt_group_init(fopt_group *group, size_t size, fopt_rule rule);

/* One array as it lies in memory of the device. */
typedef struct fopt_array {
    size_t size;
    void *data;         /* its first element, or code */
    size_t count;       /* elements */
    size_t bytes;       /* of data */
    fopt_format format; /* of the elements */
    float *absmax;      /* one for each block of 256 (FOPT_Q8) or 64 (FOPT_Q8_64), the last of which may be a part;
                           otherwise NULL */
} fopt_array;

/*
 * One parameter tensor, or one shard of one, as the caller owns it. `param` and `grad` point to `count` consecutive
 * elements in memory of the optimizer's device, aligned to their element size (16 bytes or more is fastest), and must
 * stay valid as long as the optimizer uses them. No parameter may overlap another parameter or a gradient, and no
 * gradient the optimizer's state; moments that are the caller's may overlap nothing at all.
 */
typedef struct fopt_tensor {
    size_t size;
    const char *name; /* for messages; copied; may be NULL */
    void *param;      /* `count` elements, which a step updates */
    void *grad;       /* NULL: the tensor is skipped, step count included, until fopt_set_grads() gives one. Only read,
                          except by fopt_zero_grads() */
    size_t count;     /* elements; 0 is legal, param and grad may then be NULL */
    fopt_format param_format, grad_format; /* FOPT_F32, FOPT_BF16 or FOPT_F16, each its own */
    size_t group;                          /* index into the groups */

    /* The identity of the whole tensor, for what depends on it: the random bits of stochastic rounding. No element may
     * be in one optimizer twice. */
    uint64_t global_id; /* 0: one more than this tensor's index (fopt_update: 1), which no other may then have; a shard
                             must have one */
    size_t first_element; /* of the whole tensor, a multiple of 256: where this shard begins */
    size_t full_count;    /* elements of the whole tensor; 0: first_element + count */

    const fopt_array *states; /* NULL: the library allocates the moments. Else FOPT_STATE_KINDS of the caller's, as
                                 fopt_update() takes them, which must stay valid like the parameter: the optimizer reads
                                 and writes them where they lie, and keeps no copy. It does not zero them: before the
                                 first step they must be */
} fopt_tensor;

/* An allocator of the caller's. `allocate` returns at least `bytes` bytes aligned to `alignment` (a power of two), or
 * NULL; `release` gets back what `allocate` returned, with the same `bytes`. Both are called only inside fopt_create()
 * and fopt_destroy(), with a stream of NULL; on CUDA the optimizer's device is current then. Both NULL: the library's
 * own. */
typedef struct fopt_allocator {
    void *context; /* what both are given */
    /* Returns bytes for the library, or NULL. */
    void *(*allocate)(void *context, size_t bytes, size_t alignment, fopt_stream stream);
    /* Takes back what allocate() has given. */
    void (*release)(void *context, void *pointer, size_t bytes, fopt_stream stream);
} fopt_allocator;

/* Calls function(argument, i) once for each i in [0, count), on any threads and in any order, and returns 0 when all
 * have returned. Anything else than 0 means that some may not have been called: the library's call then fails with
 * FOPT_ERR_DEVICE, as it does where calls were left out or made twice. If that call was fopt_step(), the optimizer is
 * broken; so it is if parallel_for leaves fopt_step() by an exception or longjmp(), or its thread is cancelled there.
 * fopt_create(), left in such a way, does not release what it has allocated.
 * fopt_create(), fopt_step(), fopt_zero_grads() and fopt_update() call it where there is work for more than one thread:
 * one index covers up to 16,384 elements of a step, or a MiB of state to be zeroed. */
typedef int (*fopt_parallel_for)(void *context, size_t count, void (*function)(void *argument, size_t index),
                                 void *argument);

/* How an optimizer runs. NULL in place of a pointer to one, or all zeros, means the CPU with its best instruction set
 * on OpenMP's threads. */
typedef struct fopt_config {
    size_t size;
    fopt_device device; /* where the parameters are, and are updated */
    uint64_t seed;      /* the key of the random bits, with the tensor's global_id, the element and the step */
    fopt_allocator host_allocator;   /* for tables that the host reads */
    fopt_allocator device_allocator; /* for state, in memory of the device */

    /* CPU only */
    fopt_isa isa; /* FOPT_ISA_AUTO, or one to force, which FUSEDOPT_ISA does not override */
    int threads;  /* 0: as many as OpenMP gives the calling thread; 1 in a child of fork(), where OpenMP's threads are
                     gone (libgomp would wait for them for ever). When OpenMP cannot start a thread it ends the process;
                     a program that must survive that gives its own parallel_for, or 1 */
    fopt_parallel_for parallel_for; /* NULL: OpenMP, or the calling thread alone if built without it */
    void *parallel_context;         /* first argument of parallel_for */
} fopt_config;

/* ---- an optimizer -------------------------------------------------------------------------------------------- */

/* Tensors, their state, and how to update them; made by fopt_create(). */
typedef struct fopt_optimizer fopt_optimizer;

/* Bytes that fopt_create() would ask of the allocators. */
typedef struct fopt_sizes {
    size_t size;
    size_t state_bytes;   /* the moments: exactly count * bytes per element, and 4 a block of quantized ones, summed
                             over tensors and moments, but for those that are the caller's */
    size_t padding_bytes; /* between them: each array starts at a multiple of 64 bytes, and some pages in all */
    size_t table_bytes;   /* what describes tensors and groups, where the device reads it */
    size_t host_bytes;    /* all that the host allocator gives; on the CPU it holds the tables */
    size_t device_bytes;  /* all that the device allocator gives: state, padding, and on CUDA the tables */
} fopt_sizes;

/* Says how many bytes fopt_create() would take. Validates each description as that would, except for memory: pointers
 * are not looked at, so that bytes can be known before anything is allocated. Nor is it asked whether the device is
 * there, or whether elements are there twice. `sizes->size` must be set. */
FOPT_API fopt_status fopt_query_sizes(const fopt_config *config, const fopt_group *groups, size_t group_count,
                                      const fopt_tensor *tensors, size_t tensor_count, fopt_sizes *sizes);

/*
 * Registers tensors and allocates their state, zeroed, unless it is the caller's; step counts are 0. The descriptions
 * are copied; *out is NULL after a failure. tensor_count may be 0. Errors: FOPT_ERR_ARGUMENT, FOPT_ERR_UNSUPPORTED,
 * FOPT_ERR_MEMORY, FOPT_ERR_DEVICE (no such device, an instruction set that the machine lacks, or a GPU for which this
 * build has no kernels).
 *
 * CUDA: works in the calling thread's current context if that is of the given device, else in the device's primary
 * context, and so do all calls on the optimizer, from any thread. A context of the caller's own must outlive it. Checks
 * the first and the last byte of every array of the caller's, loads all kernels that the calls will launch, waits for
 * the legacy default stream, and is refused while a blocking stream is captured.
 */
FOPT_API fopt_status fopt_create(const fopt_config *config, const fopt_group *groups, size_t group_count,
                                 const fopt_tensor *tensors, size_t tensor_count, fopt_optimizer **out);

/*
 * Releases everything. NULL is allowed.
 *
 * CUDA: waits for the device. A graph in which a call on the optimizer was captured must not be launched afterwards.
 * While a stream is captured nothing can be waited for: then memory of the device is not released, ever. If that stream
 * is a non-blocking one, the capture is spoiled besides.
 */
FOPT_API void fopt_destroy(fopt_optimizer *optimizer);

/* Options of one step or update. There are none yet: pass NULL. */
typedef struct fopt_step_options {
    size_t size;
} fopt_step_options;

/* Makes one step of every tensor that has a gradient: its step count goes up by one, its parameter and moments are
 * updated. Gradients are only read. An empty tensor's step count stays as it is, and so does one of 2^53. */
FOPT_API fopt_status fopt_step(fopt_optimizer *optimizer, const fopt_step_options *options, fopt_stream stream);

/* Replaces a group's hyperparameters and flags from the next step on. The rule, the state formats and the set of state
 * arrays must remain: momentum cannot become zero or non-zero, nor FOPT_AMSGRAD or FOPT_CENTERED change. */
FOPT_API fopt_status fopt_set_group(fopt_optimizer *optimizer, size_t group, const fopt_group *value,
                                    fopt_stream stream);

/* Replaces a group's learning rate. */
FOPT_API fopt_status fopt_set_lr(fopt_optimizer *optimizer, size_t group, double lr, fopt_stream stream);

/* Replaces all gradient pointers: grads[i] for tensor i, NULL to skip it. Formats and counts remain. CUDA: whether the
 * device can use the memory is not checked. */
FOPT_API fopt_status fopt_set_grads(fopt_optimizer *optimizer, void *const *grads, fopt_stream stream);

/* Writes zeros to every gradient that is not NULL. */
FOPT_API fopt_status fopt_zero_grads(fopt_optimizer *optimizer, fopt_stream stream);

/*
 * Computes Euclidean norms of the gradients of `tensor_count` tensors from `first_tensor` on: of all of them together
 * into *norm, and of each into tensor_norms[i] for tensor first_tensor + i. Both are memory of the device, for doubles;
 * either may be NULL. A tensor without a gradient has a norm of 0. A norm is infinite, or NaN, if something in it is.
 *
 * A norm depends on the gradients alone, to the bit, as results do, and on where tiles begin: squares are summed as
 * floats in a tile and as integers over tiles. It is right to 2^-21. In a tile what is below 2^-60 of the largest
 * magnitude counts as zero, and so does what is subnormal. *norm and tensor_norms may not overlap each other or
 * anything that the optimizer uses; gradients are not looked through for that.
 */
FOPT_API fopt_status fopt_grad_norm(fopt_optimizer *optimizer, size_t first_tensor, size_t tensor_count, double *norm,
                                    double *tensor_norms, fopt_stream stream);

/* Gives a view of one moment of one tensor, to inspect, save or fill it. `view->size` must be set; data is NULL, and
 * count and bytes are 0, if the tensor's rule keeps no such array, the kind is reserved, or the tensor is empty. The
 * view is valid until fopt_destroy(). A caller that fills it must leave what a step could have left: nothing subnormal,
 * and no negative second moment; absmax finite and not negative. */
FOPT_API fopt_status fopt_state(const fopt_optimizer *optimizer, size_t tensor, fopt_state_kind kind, fopt_array *view);

/* Reads a tensor's step count: how many steps it has made, from 0 to 2^53. CUDA: waits for the stream, and is refused
 * while that is captured. */
FOPT_API fopt_status fopt_get_step(const fopt_optimizer *optimizer, size_t tensor, int64_t *step, fopt_stream stream);

/* Sets a tensor's step count. To resume, create an optimizer with the same groups, seed and identities of tensors, and
 * set state and step counts. */
FOPT_API fopt_status fopt_set_step(fopt_optimizer *optimizer, size_t tensor, int64_t step, fopt_stream stream);

/* Copies bytes from the host's memory to the device's, such as an optimizer's state, or back, or within either; the two
 * must not overlap. What was enqueued on the stream is done before. CUDA: waits for the stream, and is refused while
 * that is captured. */
FOPT_API fopt_status fopt_copy(const fopt_optimizer *optimizer, void *to, const void *from, size_t bytes,
                               fopt_stream stream);

/* ---- without an object --------------------------------------------------------------------------------------- */

/*
 * Makes one update of one tensor with state that the caller owns: the same bits as fopt_step(), no allocation.
 *
 * `tensor->group` and `tensor->states` are ignored; a NULL gradient is an error unless count is 0. `states` has
 * FOPT_STATE_KINDS elements, by fopt_state_kind: those that the group's rule uses must have data, the group's
 * state_format, count == tensor->count and, if quantized, absmax; the others, those reserved too, must have data NULL.
 * No two arrays may overlap. `states` may be NULL if the rule keeps none. `step` is the number of this update, from 1
 * (to 2^53); before the first the arrays must be zero. The allocators of `config` are not called.
 *
 * CUDA: checks the first and the last byte of every array. The first update of a kind loads its kernel: make one before
 * a capture.
 */
FOPT_API fopt_status fopt_update(const fopt_config *config, const fopt_group *group, const fopt_tensor *tensor,
                                 const fopt_array *states, int64_t step, const fopt_step_options *options,
                                 fopt_stream stream);

#ifdef __cplusplus
}
#endif

#endif
