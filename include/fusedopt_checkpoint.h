/*
 * fusedopt_checkpoint: the state of an optimizer in files that any tool reads, whichever machine and however many ranks
 * wrote them. A library of its own beside fusedopt, since it needs jansson. The conventions of fusedopt.h hold:
 * statuses, fopt_last_error(), sized structs, nothing that prints or exits; and what is wrong in or with a file is
 * FOPT_ERR_FILE.
 *
 * Files
 *  They are in the safetensors format. A parameter NAME has the names that PyTorch gives its state,
 *    NAME.step               how many steps it has made: one 64-bit integer
 *    NAME.exp_avg            and so on, as fopt_state_kind_name() says, in the format of the state: F32, BF16 or U8
 *    NAME.exp_avg.absmax     the scales of a quantized one
 *    NAME                    the parameter itself, on request: F32, BF16 or F16
 *  all of one dimension. A shard of a larger tensor is NAME[FIRST:END]: the index of its first element, and
 *  one more than that of its last. Empty tensors have no state and are left out. The metadata are texts:
 *  "fusedopt.format", the number of this layout, "fusedopt.version", that of the library, "fusedopt.seed", and in JSON
 *  "fusedopt.groups", rule, hyperparameters and formats of each group as the caller describes them, and
 *  "fusedopt.tensors", of each tensor or shard its name, global_id, group and place in the whole. The same state gives
 *  the same bytes.
 *
 *  A file without these metadata is taken as another tool's, if it has the names above: its tensors are whole ones of
 *  any shape, with all that is to be had of each in the one file; its step counts may be of any number type (32 or 64
 *  bits), and of moments of one byte a scale for every 256 or 64 elements says how they are quantized.
 *
 * Memory: 1 MiB, besides what lists the tensors: some 10 KiB for each, and while a header is read up to 50 times its
 * bytes, of which a file can have 100 million. If the system refuses memory to jansson, a file may be called invalid,
 * or jansson end the process; a file that is there stays whole.
 */
#ifndef FUSEDOPT_CHECKPOINT_H
#define FUSEDOPT_CHECKPOINT_H

#include "fusedopt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A run to be saved or loaded: an optimizer, and what fopt_create() was given for it, in the same order. The
 * descriptions are checked as fopt_create() does, and that their state is the optimizer's; that they have the same
 * order, and that the hyperparameters are those in force, is up to the caller. */
typedef struct fopt_run {
    size_t size;
    fopt_optimizer *optimizer;  /* whose state it is */
    const fopt_config *config;  /* of it, the seed is in files; may be NULL */
    const fopt_group *groups;   /* as they are now: files have their hyperparameters */
    size_t group_count;         /* their number */
    const fopt_tensor *tensors; /* with names */
    size_t tensor_count;        /* their number */
} fopt_run;

/* fopt_checkpoint_options.flags. All but the first are for a load, and allow what it otherwise refuses. Where a format
 * is another, values become the nearest ones; then, and where the rule, the seed or a global_id is another, the run
 * goes on, though not to the bit. */
#define FOPT_CHECKPOINT_PARAMS     (1u << 0) /* the parameters too */
#define FOPT_CHECKPOINT_MISSING    (1u << 1) /* what the files do not have stays as it is in the optimizer */
#define FOPT_CHECKPOINT_UNEXPECTED (1u << 2) /* what the optimizer has no place for is not read: other ranks' tensors */
#define FOPT_CHECKPOINT_CONVERT    (1u << 3) /* other formats, and another rule, seed or global_id */

/* How a checkpoint is saved or loaded. NULL in place of a pointer to one, or all zeros: state and step counts, and no
 * difference is allowed. */
typedef struct fopt_checkpoint_options {
    size_t size;
    unsigned flags; /* of the flags above */
    /* Is told, in lines of text at the end of a load, each thing that a flag has allowed. May be NULL. */
    void (*note)(void *context, const char *text);
    void *note_context; /* the first argument of note */
} fopt_checkpoint_options;

/*
 * Writes the state of an optimizer to a file. It replaces an older one of that name when it is whole, and on the disk:
 * whenever the process or the machine dies, the old file is there or the new one, never a part. The new one is first
 * called PATH.unfinished; a save that was killed leaves that, and the next one takes it over. An old file's mode stays;
 * a symbolic link is followed.
 *
 * Errors: FOPT_ERR_ARGUMENT (also names that are missing, are not UTF-8, or would be in the file twice),
 * FOPT_ERR_MEMORY, FOPT_ERR_DEVICE, FOPT_ERR_FILE: no room, no permission, another save of that file is under way; the
 * old file is then as it was, and nothing is left of the new one.
 *
 * CUDA: waits for the stream, again and again.
 */
FOPT_API fopt_status fopt_checkpoint_save(const fopt_run *run, const char *path, const fopt_checkpoint_options *options,
                                          fopt_stream stream);

/*
 * Reads the state of an optimizer from files: one, or those that the ranks of an earlier run have written, in any order
 * and cut in any way. Each tensor or shard takes its elements from wherever they are: all must be there, and none
 * twice.
 *
 * All is checked before anything is written: that the files are sound; that names, counts, formats, rule, seed,
 * global_ids and the parts' step counts fit; and the values: no second moment is negative, no scale negative or not
 * finite. (Hyperparameters are the caller's, and are not compared. Subnormal moments become zero, as in a step.) If a
 * file changes or cannot be read after it was checked, the state is in part the file's, and the message says so: load
 * again, or destroy the optimizer.
 *
 * Errors: as fopt_checkpoint_save(). CUDA: waits for the stream, again and again.
 */
FOPT_API fopt_status fopt_checkpoint_load(const fopt_run *run, const char *const *paths, size_t path_count,
                                          const fopt_checkpoint_options *options, fopt_stream stream);

#ifdef __cplusplus
}
#endif

#endif
