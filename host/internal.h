/* Declarations that the files of host/ share. Nothing here is public; names that cross files begin with fopt_i_. */
#ifndef FOPT_I_INTERNAL_H
#define FOPT_I_INTERNAL_H

#include "../kernels/state.h"
#include "fusedopt.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct fopt_i_backend fopt_i_backend;

/* ---- status.c ------------------------------------------------------------------------------------------------ */

#ifdef __GNUC__
#define FOPT_I_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define FOPT_I_PRINTF(text, first)
#endif

/* Begins a public call: each that can fail calls fopt_i_begin(__func__) first, so that messages say which it was. */
void fopt_i_begin(const char *call);

/* Returns the name of the public call that this thread is in. */
const char *fopt_i_call(void);

/* Copies text of a caller's so that it can be printed anywhere: what is not valid UTF-8, or would control a terminal or
 * the direction of text, becomes '?'. Cuts between characters. */
void fopt_i_copy_printable(char *to, size_t size, const char *from);

/* Sets this thread's fopt_last_error() and returns `status`. */
fopt_status fopt_i_fail(fopt_status status, const char *format, ...) FOPT_I_PRINTF(2, 3);

/* ---- tables.c: the lists of kernels/ as the host needs them ------------------------------------------------- */

typedef struct fopt_i_rule {
    const char *name;
    unsigned flags, hyperparameters; /* what it accepts */
    const char *state_names[FOPT_I_STATE_KINDS];
    void (*defaults)(fopt_group *group);
    unsigned (*kinds)(const fopt_group *group);
    const char *(*check)(const fopt_group *group);
} fopt_i_rule;

typedef struct fopt_i_format {
    const char *name;
    bool stores_params, stores_moments; /* the former: gradients too */
} fopt_i_format;

/* Find the entry for a value; NULL if it is not of the enum. */
const fopt_i_rule *fopt_i_find_rule(fopt_rule rule);
const fopt_i_format *fopt_i_find_format(fopt_format format);

/* Returns an index into FOPT_I_LOOPS; FOPT_I_LOOP_COUNT if there is no such loop. */
unsigned fopt_i_find_loop(fopt_rule rule, unsigned kinds, bool quantized);

/* ---- validate.c: reading what the caller describes ---------------------------------------------------------- */

/* Index of an unnumbered group or tensor: fopt_update() has just one. */
#define FOPT_I_NO_INDEX SIZE_MAX

/* The subject of a message. Its text is made when something is wrong, and not before. */
typedef struct fopt_i_subject {
    const char *what; /* "tensor" */
    size_t index;     /* FOPT_I_NO_INDEX: none */
    const char *name; /* the caller's; NULL: none */
    const char *part; /* "states[1]"; NULL: the whole */
} fopt_i_subject;

/* "tensor 3 'name'", "tensor 'name': states[1]", "group 3", "config" */
typedef struct fopt_i_label {
    char text[160];
} fopt_i_label;
fopt_i_label fopt_i_label_of(fopt_i_subject subject);

fopt_i_subject fopt_i_tensor(size_t index, const char *name);

/* Read and check what the caller describes. The configuration comes out complete, with defaults where it had none. */
fopt_status fopt_i_read_config(const fopt_config *from, fopt_config *config, const fopt_i_backend **backend);
fopt_status fopt_i_read_group(const fopt_group *from, size_t index, fopt_i_group *group);
fopt_status fopt_i_read_tensor(const fopt_tensor *from, size_t index, size_t group_count, fopt_tensor *tensor);

fopt_status fopt_i_check_lr(size_t group, double lr);

/* Checks that a tensor's param is there, and that param and grad are aligned and lie in the address space. */
fopt_status fopt_i_check_pointers(const fopt_tensor *tensor, size_t index);

/* Checks that `field` of `subject` is aligned to its elements, and lies in the address space. */
fopt_status fopt_i_check_pointer(const void *pointer, const char *field, size_t count, fopt_format format,
                                 fopt_i_subject subject);
fopt_status fopt_i_check_grad(const void *grad, size_t count, fopt_format format, fopt_i_subject tensor);

/* Bytes that a struct of the caller's must have at least. One that is shorter than ours was compiled before the rest
 * was added, and the rest is zero. These sizes never change. */
enum {
    FOPT_I_LEAST_DEVICE_INFO = offsetof(fopt_device_info, memory_bytes),
    FOPT_I_LEAST_GROUP = offsetof(fopt_group, state_format),
    FOPT_I_LEAST_TENSOR = offsetof(fopt_tensor, global_id),
    FOPT_I_LEAST_CONFIG = offsetof(fopt_config, isa),
    FOPT_I_LEAST_SIZES = offsetof(fopt_sizes, table_bytes),
    FOPT_I_LEAST_STEP_OPTIONS = sizeof(size_t),
    FOPT_I_LEAST_ARRAY = offsetof(fopt_array, absmax),
};

/* Checks an array of sized structs: all must have the size of the first. */
fopt_status fopt_i_check_array(const void *array, size_t count, size_t least, const char *array_name,
                               const char *count_name);

/* Returns element `index` of such an array. */
const void *fopt_i_at(const void *array, size_t index);

/* Copies a struct of the caller's to one of `known` bytes, or says what is wrong with its `size`. */
fopt_status fopt_i_read_struct(void *to, const void *from, size_t least, size_t known, fopt_i_subject subject);

/* Reads the options of a step or an update; NULL stands for the defaults. */
fopt_status fopt_i_read_options(const fopt_step_options *from, fopt_step_options *options);

/* Checks the `size` that the caller gave a struct to be filled, and fills what it has room for. */
fopt_status fopt_i_write_struct(void *to, const void *from, size_t least, size_t known, const char *what);

/* ---- overlap.c ----------------------------------------------------------------------------------------------- */

/* The bytes of an array, or the elements of a shard. `owner` says whose. */
typedef struct fopt_i_interval {
    uint64_t space; /* intervals of different spaces never overlap: memory is one, and so is each whole tensor */
    uint64_t begin, end;
    size_t owner;
} fopt_i_interval;

/* Returns the interval of an array. */
fopt_i_interval fopt_i_interval_of(const void *pointer, size_t bytes, size_t owner);

/* Sorts, and returns the first of two neighbours that overlap, or NULL. Allocates nothing. */
const fopt_i_interval *fopt_i_sort_intervals(fopt_i_interval *intervals, size_t count);

/* Finds one of the sorted, disjoint intervals that overlaps the given one; NULL if none does. */
const fopt_i_interval *fopt_i_find_overlap(const fopt_i_interval *sorted, size_t count, fopt_i_interval interval);

/* ---- update.c ------------------------------------------------------------------------------------------------ */

/* The arrays of a tensor, as intervals number them: param, grad, each kind's moment, each kind's absmax. */
enum {
    FOPT_I_STATE_ARRAYS = 2,
    FOPT_I_ABSMAX_ARRAYS = FOPT_I_STATE_ARRAYS + FOPT_I_STATE_KINDS,
    FOPT_I_ARRAYS = FOPT_I_ABSMAX_ARRAYS + FOPT_I_STATE_KINDS,
};
extern const char *const fopt_i_array_names[];

/* Reads the moments that a caller keeps of a tensor into its record, checked against the group. `states` may be NULL if
 * the group needs none. */
fopt_status fopt_i_read_states(const fopt_array *states, const fopt_i_group *group, fopt_i_subject tensor,
                               fopt_i_record *record);

/* Writes the intervals of a record's moments, and returns how many there are. Their owners are `owner` and the number
 * of the array. */
size_t fopt_i_state_intervals(const fopt_i_group *group, const fopt_i_record *record, size_t owner,
                              fopt_i_interval *intervals);

/* ---- optimizer.c --------------------------------------------------------------------------------------------- */

struct fopt_optimizer {
    fopt_config config; /* complete: nothing in it is left to a default */
    const fopt_i_backend *backend;
    size_t group_count, tensor_count;
    uint64_t tile_count;
    fopt_i_group *groups;
    fopt_i_record *records;
    fopt_i_interval *written; /* the caller's memory that a step writes, sorted; empty tensors have none */
    size_t written_count;
    const char **names; /* each NULL or a copy */
    char *state;        /* all moments, then the tables that the backend keeps on the device */
    void *private;      /* the backend's own, private_bytes of it */
    size_t host_bytes, device_bytes;
    bool broken;
};

/* The library's own allocator of host memory. */
extern const fopt_allocator fopt_i_host_allocator;

/* ---- backends ------------------------------------------------------------------------------------------------ */

/* The operations of a kind of device. Arguments are valid by then, and the optimizer is not broken. The calls from
 * `step` to `copy` come between enter() and leave(). */
struct fopt_i_backend {
    size_t private_bytes;
    /* Returns the bytes of the tables that it keeps on the device. */
    size_t (*table_bytes)(size_t group_count, size_t tensor_count, uint64_t tile_count);
    fopt_status (*device_count)(int *count);
    fopt_status (*device_query)(int index, fopt_device_info *info); /* info is zeroed */
    /* Completes the configuration with this machine's defaults, or says why it cannot be had here. */
    fopt_status (*complete_config)(fopt_config *config);
    /* Creation. open() gets records and groups filled in: it finds the device, checks that it can use the tensors'
     * memory, orders their tiles, and makes the device current. Memory is then allocated, as large as was planned, and
     * fill() makes of it a state of zeros and whatever else lies there; when it fails nothing writes there any more.
     * shut() makes the caller's device current again. */
    fopt_status (*open)(fopt_optimizer *optimizer);
    fopt_status (*fill)(fopt_optimizer *optimizer);
    void (*shut)(fopt_optimizer *optimizer);
    /* The end. reopen() makes the device current once more. wait() waits for it, and tells whether it is done with the
     * memory, which is then released before shut(). close() ends what open() began, even if that failed. */
    void (*reopen)(fopt_optimizer *optimizer);
    bool (*wait)(const fopt_optimizer *optimizer);
    void (*close)(fopt_optimizer *optimizer);
    /* Make the optimizer's device current for a call, and the caller's again. */
    fopt_status (*enter)(const fopt_optimizer *optimizer);
    void (*leave)(const fopt_optimizer *optimizer);
    fopt_status (*step)(fopt_optimizer *optimizer, fopt_stream stream);
    fopt_status (*set_group)(fopt_optimizer *optimizer, size_t group, const fopt_i_group *value, fopt_stream stream);
    fopt_status (*set_lr)(fopt_optimizer *optimizer, size_t group, double lr, fopt_stream stream);
    fopt_status (*set_grads)(fopt_optimizer *optimizer, void *const *grads, fopt_stream stream);
    fopt_status (*zero_grads)(fopt_optimizer *optimizer, fopt_stream stream);
    fopt_status (*grad_norm)(fopt_optimizer *optimizer, size_t first, size_t count, double *norm, double *tensor_norms,
                             fopt_stream stream);
    fopt_status (*get_step)(const fopt_optimizer *optimizer, size_t tensor, int64_t *step, fopt_stream stream);
    fopt_status (*set_step)(fopt_optimizer *optimizer, size_t tensor, int64_t step, fopt_stream stream);
    fopt_status (*copy)(const fopt_optimizer *optimizer, void *to, const void *from, size_t bytes, fopt_stream stream);
    /* Makes the next step of one tensor, which messages name. Checks that the device is there and can use the
     * memory. */
    fopt_status (*update)(const fopt_config *config, const fopt_i_group *group, const fopt_i_record *record,
                          fopt_i_subject tensor, fopt_stream stream);
};

extern const fopt_i_backend fopt_i_cpu_backend;
#ifdef FOPT_I_CUDA
extern const fopt_i_backend fopt_i_cuda_backend;
#endif

/* backends.c: find the backend of a kind, NULL if this build has none, and fail for want of it. */
const fopt_i_backend *fopt_i_find_backend(fopt_device_kind kind);
fopt_status fopt_i_fail_without_backend(fopt_device_kind kind);

#endif
