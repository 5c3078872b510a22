/* Declarations that the files of checkpoint/ share. None is public; names that cross files begin with fopt_i_. */
#ifndef FOPT_I_CHECKPOINT_PARTS_H
#define FOPT_I_CHECKPOINT_PARTS_H

#include "../kernels/formats/formats.h"
#include "fusedopt_checkpoint.h"
#include <jansson.h>
#include <stdbool.h>

/* The number of the layout that this library writes and reads. */
#define FOPT_I_LAYOUT "1"

/* Bytes that the header of a file has at most, by the format's definition. */
#define FOPT_I_LONGEST_HEADER 100000000

/* Elements that no tensor of a file has. */
#define FOPT_I_TOO_MANY ((uint64_t)1 << 62)

#ifdef __GNUC__
#define FOPT_I_TEXT(text, first) __attribute__((format(printf, text, first)))
#else
#define FOPT_I_TEXT(text, first)
#endif

/* ---- session.c: a call, and what it was given ---------------------------------------------------------------- */

typedef struct fopt_i_session {
    const char *call;
    fopt_run run;
    uint64_t seed;
    fopt_checkpoint_options options;
    fopt_stream stream;
    char **notes; /* what is to be told at the end */
    size_t note_count;
} fopt_i_session;

/* Begins a public call: reads and checks what it was given. fopt_i_end_session() must follow, in any case. */
fopt_status fopt_i_begin_session(fopt_i_session *s, const char *call, const fopt_run *run,
                                 const fopt_checkpoint_options *options, unsigned known_flags, fopt_stream stream);
void fopt_i_end_session(fopt_i_session *s);

/* Sets fopt_last_error(), with the call's name before it, and returns `status`. */
fopt_status fopt_i_refuse(const fopt_i_session *s, fopt_status status, const char *format, ...) FOPT_I_TEXT(3, 4);

/* Returns the status of a call of the core's; if it failed, its text gets the name of ours before it. */
fopt_status fopt_i_pass(const fopt_i_session *s, fopt_status status);

/* Returns what messages have of a path: its end, if it is long. */
const char *fopt_i_end_of(const char *path);

/* Notes something that one of `flags` has allowed, or refuses it, if none did. */
fopt_status fopt_i_allow(fopt_i_session *s, unsigned flags, const char *format, ...) FOPT_I_TEXT(3, 4);

/* Tells all notes. */
void fopt_i_tell_notes(const fopt_i_session *s);

/* Return the caller's descriptions; a tensor with global_id and full_count as they count. */
fopt_tensor fopt_i_tensor_at(const fopt_i_session *s, size_t index);
fopt_group fopt_i_group_at(const fopt_i_session *s, size_t index);

/* An array of a tensor that a file may have: a moment, or the parameter. */
typedef struct fopt_i_part {
    const char *name; /* "exp_avg"; "" is the parameter */
    unsigned kind;    /* a fopt_state_kind; FOPT_STATE_KINDS is the parameter */
    fopt_format format;
    void *data;
    float *absmax;
} fopt_i_part;
enum { FOPT_I_PARTS = FOPT_STATE_KINDS + 1 };

/* Lists a tensor's arrays: those that it keeps, and the parameter. */
fopt_status fopt_i_list_parts(const fopt_i_session *s, size_t tensor, fopt_i_part parts[FOPT_I_PARTS], size_t *count);

/* Returns items of a size for a list that grows: more memory, of which the old items stay, or NULL. Room doubles. */
void *fopt_i_grow(void *list, size_t count, size_t item_bytes);

/* ---- safetensors.c: files as they lie on the disk ------------------------------------------------------------ */

/* A tensor of a file. */
typedef struct fopt_i_entry {
    const char *key;
    const char *dtype; /* of the table's */
    uint64_t count;    /* elements */
    uint64_t begin, end;
    bool expected; /* the optimizer has a place for it */
} fopt_i_entry;

typedef struct fopt_i_file {
    const char *path; /* for messages */
    int descriptor;
    uint64_t data; /* where the entries' bytes begin */
    json_t *header;
    fopt_i_entry *entries; /* by key */
    size_t entry_count;
} fopt_i_file;

/* Opens a file, and checks its header. fopt_i_close_file() must follow, in any case. */
fopt_status fopt_i_open_file(const fopt_i_session *s, const char *path, fopt_i_file *file);
void fopt_i_close_file(fopt_i_file *file);

/* Finds the tensor whose name is made of these two; NULL if there is none. */
fopt_i_entry *fopt_i_find_entry(const fopt_i_file *file, const char *name, const char *rest);

/* Reads bytes of a tensor, from its beginning. */
fopt_status fopt_i_read_entry(const fopt_i_session *s, const fopt_i_file *file, const fopt_i_entry *entry,
                              uint64_t from, void *to, size_t bytes);

/* Returns the bytes of an element of a dtype that is known. */
size_t fopt_i_dtype_bytes(const char *dtype);

/* ---- metadata.c: what they say of the optimizer -------------------------------------------------------------- */

/* Bytes of a range in words. */
enum { FOPT_I_RANGE = 48 };

/* A tensor or shard that a file has. */
typedef struct fopt_i_piece {
    fopt_i_file *file;
    const char *name;
    uint64_t id, first, count, full; /* as in fopt_tensor */
    const json_t *group;             /* NULL: the file is another tool's */
    char range[FOPT_I_RANGE];        /* what follows the name in the file: "[256:512]" or nothing */
} fopt_i_piece;

/* Returns the metadata of a file that is to be written, or NULL without memory. */
json_t *fopt_i_make_metadata(const fopt_i_session *s);

/* Writes JSON; NULL without memory. */
char *fopt_i_dump(const json_t *value);

/* Lists the pieces of a file, behind those of others. */
fopt_status fopt_i_list_pieces(fopt_i_session *s, fopt_i_file *file, fopt_i_piece **pieces, size_t *count);

/* Writes what follows a tensor's name: the range, if it is not the whole. */
void fopt_i_write_range(char to[FOPT_I_RANGE], uint64_t first, uint64_t count, uint64_t full);

/* Returns the format in which a piece's file says that it has a moment, NULL if it says nothing. */
const char *fopt_i_format_in(const fopt_i_piece *piece, const char *moment);
const char *fopt_i_rule_in(const fopt_i_piece *piece);

/* ---- values.c: what a file's values may be, and other formats of them ----------------------------------------- */

/* Returns the dtype in which a format's elements are written; NULL if there is none. */
const char *fopt_i_dtype_of(fopt_format format);

/* Where elements come from and go: a range of a piece's array, to a range of the optimizer's. */
typedef struct fopt_i_move {
    const fopt_i_piece *piece;
    const fopt_i_entry *data, *absmax; /* absmax: of quantized ones, else NULL */
    fopt_format format;                /* of these */
    fopt_i_part part;
    uint64_t from, to, count; /* elements */
} fopt_i_move;

/* Buffers of a load. */
typedef struct fopt_i_buffers fopt_i_buffers;
fopt_i_buffers *fopt_i_new_buffers(void); /* NULL without memory; free() */

/* Checks the values of a move, and writes them to the optimizer if `write`. */
fopt_status fopt_i_make_move(const fopt_i_session *s, fopt_i_buffers *buffers, const fopt_i_move *move, bool write);

/* ---- new_file.c: a file that appears when it is whole ---------------------------------------------------------- */

typedef struct fopt_i_new_file {
    const char *path;          /* the caller's */
    char *target, *unfinished; /* behind symbolic links; beside it */
    int descriptor;
    unsigned char *buffer;
    size_t used;
} fopt_i_new_file;

/* Begin a new file, add bytes of the optimizer's or the host's to it, and give it its name. After a failure of any
 * fopt_i_drop_file() removes it; it also releases what a finished one held. */
fopt_status fopt_i_begin_file(const fopt_i_session *s, const char *path, fopt_i_new_file *file);
fopt_status fopt_i_add(const fopt_i_session *s, fopt_i_new_file *file, const void *from, size_t bytes);
fopt_status fopt_i_finish_file(const fopt_i_session *s, fopt_i_new_file *file);
void fopt_i_drop_file(fopt_i_new_file *file);

#endif
