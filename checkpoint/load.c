/* fopt_checkpoint_load(): finds out where the elements of each tensor are, checks all, and then takes them. */
#include "parts.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last step count. */
#define LAST_STEP ((int64_t)1 << 53)

typedef struct loading {
    fopt_i_session session;
    fopt_i_file *files;
    size_t file_count;    /* opened, or tried to */
    fopt_i_piece *pieces; /* by name and place */
    size_t piece_count;
    fopt_i_move *moves;
    size_t move_count;
    int64_t *steps; /* of each tensor; -1: it keeps its own */
    fopt_i_buffers *buffers;
} loading;

/* A tensor of the optimizer, and the pieces of it that the files have. */
typedef struct wanted {
    size_t index;
    fopt_tensor tensor;
    fopt_i_piece *pieces;
    size_t count;
} wanted;

/* ---- pieces -------------------------------------------------------------------------------------------------- */

static int compare_pieces(const void *a, const void *b)
{
    const fopt_i_piece *one = a, *two = b;
    const int names = strcmp(one->name, two->name);
    return names ? names : (one->first > two->first) - (one->first < two->first);
}

/* Sorts the pieces, and checks that none has elements which another has. */
static fopt_status sort_pieces(loading *l)
{
    size_t kept = 0;
    if (l->piece_count > 0)
        qsort(l->pieces, l->piece_count, sizeof *l->pieces, compare_pieces);
    for (size_t i = 0; i < l->piece_count; i++) {
        const fopt_i_piece *next = &l->pieces[i], *last = kept > 0 ? &l->pieces[kept - 1] : NULL;
        if (last && strcmp(last->name, next->name) == 0 && next->first < last->first + last->count) {
            if (!next->group && last->file == next->file)
                continue; /* of another tool's file, listed for each shard */
            return fopt_i_refuse(&l->session, FOPT_ERR_FILE, "%s: tensor '%.80s%s' has elements that %s has too",
                                 next->file->path, next->name, next->range, last->file->path);
        }
        l->pieces[kept++] = *next;
    }
    l->piece_count = kept;
    return FOPT_OK;
}

/* Finds the pieces of a name. */
static void find_pieces(const loading *l, wanted *w)
{
    size_t begin = 0, end = l->piece_count;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (strcmp(l->pieces[middle].name, w->tensor.name) < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    w->pieces = l->pieces + begin;
    w->count = 0;
    while (begin + w->count < l->piece_count && strcmp(w->pieces[w->count].name, w->tensor.name) == 0)
        w->count++;
}

/* Finds the entry of a piece: NAME[RANGE].PART, with `end` behind it. */
static fopt_i_entry *find_entry(const fopt_i_piece *piece, const char *part, const char *end)
{
    char rest[FOPT_I_RANGE + 64];
    snprintf(rest, sizeof rest, "%s%s%s%s", piece->range, *part ? "." : "", part, end);
    return fopt_i_find_entry(piece->file, piece->name, rest);
}

/* ---- what fits ----------------------------------------------------------------------------------------------- */

/* Checks that a piece is of the tensor that the optimizer has. */
static fopt_status check_piece(loading *l, const wanted *w, const fopt_i_piece *piece)
{
    fopt_i_session *s = &l->session;
    const char *const rule = fopt_i_rule_in(piece);
    const char *const ours = fopt_rule_name(fopt_i_group_at(s, w->tensor.group).rule);
    fopt_status status = FOPT_OK;
    if (piece->full != w->tensor.full_count)
        return fopt_i_refuse(s, FOPT_ERR_FILE, "tensor %zu '%.80s': the whole has %zu elements, but in %s %" PRIu64,
                             w->index, w->tensor.name, w->tensor.full_count, piece->file->path, piece->full);
    if (rule && strcmp(rule, ours) != 0)
        status = fopt_i_allow(s, FOPT_CHECKPOINT_CONVERT, "tensor %zu '%.80s': rule is %s, but in %s %.20s", w->index,
                              w->tensor.name, ours, piece->file->path, rule);
    if (!status && rule && piece->id != w->tensor.global_id)
        status =
            fopt_i_allow(s, FOPT_CHECKPOINT_CONVERT, "tensor %zu '%.80s': global_id is %" PRIu64 ", but in %s %" PRIu64,
                         w->index, w->tensor.name, w->tensor.global_id, piece->file->path, piece->id);
    return status;
}

/* Finds out in which format a piece's array is: one that has its dtype and as many scales; of several the one that its
 * file names, or else that of the optimizer. Returns false if there is none. */
static bool find_format(const fopt_i_move *m, fopt_format *format)
{
    const char *const named = m->part.kind < FOPT_STATE_KINDS ? fopt_i_format_in(m->piece, m->part.name) : NULL;
    bool found = false;
    for (int f = 0; fopt_format_name((fopt_format)f); f++) {
        const fopt_format candidate = (fopt_format)f;
        const char *dtype = fopt_i_dtype_of(candidate);
        const uint64_t scales = fopt_i_absmax_count(candidate, m->piece->count);
        if (!dtype || strcmp(dtype, m->data->dtype) != 0 || scales != (m->absmax ? m->absmax->count : 0))
            continue;
        if (named ? strcmp(named, fopt_format_name(candidate)) == 0 : !found || candidate == m->part.format) {
            *format = candidate;
            found = true;
        }
    }
    return found;
}

/* Checks that a piece's array has the elements that it should have, in a format that may be taken. */
static fopt_status check_array(loading *l, const wanted *w, fopt_i_move *m)
{
    fopt_i_session *s = &l->session;
    const fopt_i_entry *const entry = m->data;
    if (entry->count != m->piece->count)
        return fopt_i_refuse(s, FOPT_ERR_FILE,
                             "%s: tensor '%.80s' has %" PRIu64 " elements, must be %" PRIu64 " as tensor %zu '%.80s'",
                             m->piece->file->path, entry->key, entry->count, m->piece->count, w->index, w->tensor.name);
    if (m->absmax && strcmp(m->absmax->dtype, "F32") != 0)
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: tensor '%.80s' is %s, but scales are F32", m->piece->file->path,
                             m->absmax->key, m->absmax->dtype);
    if (!find_format(m, &m->format))
        return fopt_i_refuse(s, FOPT_ERR_FILE,
                             "%s: tensor '%.80s' is %s with %" PRIu64 " scales, which is no format of %s",
                             m->piece->file->path, entry->key, entry->dtype, m->absmax ? m->absmax->count : 0,
                             *m->part.name ? m->part.name : "a parameter");
    if (m->format == m->part.format)
        return FOPT_OK;
    return fopt_i_allow(s, FOPT_CHECKPOINT_CONVERT, "%s: tensor '%.80s' is %s, but %s in the optimizer",
                        m->piece->file->path, entry->key, fopt_format_name(m->format),
                        fopt_format_name(m->part.format));
}

/* Plans to take from one piece the elements that the tensor has of it, if any. */
static fopt_status add_move(loading *l, const wanted *w, const fopt_i_piece *piece, const fopt_i_part *part,
                            uint64_t *missing)
{
    const uint64_t first = w->tensor.first_element, end = first + w->tensor.count;
    const uint64_t begin = piece->first > first ? piece->first : first;
    const uint64_t last = piece->first + piece->count < end ? piece->first + piece->count : end;
    fopt_i_move m = {.piece = piece, .part = *part};
    m.data = find_entry(piece, part->name, "");
    m.absmax = part->kind < FOPT_STATE_KINDS ? find_entry(piece, part->name, ".absmax") : NULL;
    if (!m.data || begin >= last)
        return FOPT_OK;
    fopt_status status = check_array(l, w, &m);
    if (status)
        return status;
    m.from = begin - piece->first;
    m.to = begin - first;
    m.count = last - begin;
    *missing -= m.count;
    fopt_i_move *grown = fopt_i_grow(l->moves, l->move_count, sizeof m);
    if (!grown)
        return fopt_i_refuse(&l->session, FOPT_ERR_MEMORY, "no memory for what is to be read");
    l->moves = grown;
    grown[l->move_count++] = m;
    return FOPT_OK;
}

/* Plans where one array of a tensor comes from. */
static fopt_status plan_part(loading *l, const wanted *w, const fopt_i_part *part)
{
    fopt_status status = FOPT_OK;
    uint64_t missing = w->tensor.count;
    for (size_t i = 0; i < w->count && !status; i++)
        status = add_move(l, w, &w->pieces[i], part, &missing);
    if (status || missing == 0)
        return status;
    const char *const name = *part->name ? part->name : "the parameter";
    if (missing < w->tensor.count)
        return fopt_i_refuse(&l->session, FOPT_ERR_FILE,
                             "tensor %zu '%.80s': the files have all of %s but %" PRIu64 " of its %zu elements",
                             w->index, w->tensor.name, name, missing, w->tensor.count);
    return fopt_i_allow(&l->session, FOPT_CHECKPOINT_MISSING, "tensor %zu '%.80s': the files do not have %s", w->index,
                        w->tensor.name, name);
}

/* ---- step counts --------------------------------------------------------------------------------------------- */

/* Reads a step count, of any type of number. */
static fopt_status read_step(const fopt_i_session *s, const fopt_i_piece *piece, const fopt_i_entry *entry,
                             int64_t *step)
{
    union {
        int64_t i64;
        int32_t i32;
        double f64;
        float f32;
    } number = {0};
    double value = -1;
    if (entry->count == 1) {
        fopt_status status = fopt_i_read_entry(s, piece->file, entry, 0, &number, (size_t)(entry->end - entry->begin));
        if (status)
            return status;
        if (strcmp(entry->dtype, "I64") == 0)
            value = number.i64 <= LAST_STEP ? (double)number.i64 : -1;
        else if (strcmp(entry->dtype, "I32") == 0)
            value = number.i32;
        else if (strcmp(entry->dtype, "F64") == 0)
            value = number.f64;
        else if (strcmp(entry->dtype, "F32") == 0)
            value = (double)number.f32;
    }
    if (!(value >= 0 && value <= (double)LAST_STEP) || value != (double)(int64_t)value)
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: tensor '%.80s' is not one integer from 0 to 2^53",
                             piece->file->path, entry->key);
    *step = (int64_t)value;
    return FOPT_OK;
}

/* Finds the step count of a tensor, which all pieces of it that are used must have. */
static fopt_status plan_step(loading *l, const wanted *w)
{
    fopt_i_session *s = &l->session;
    for (size_t i = 0; i < w->count; i++) {
        const fopt_i_piece *piece = &w->pieces[i];
        const fopt_i_entry *entry = find_entry(piece, "step", "");
        int64_t step = 0;
        if (!entry || piece->first + piece->count <= w->tensor.first_element ||
            piece->first >= w->tensor.first_element + w->tensor.count)
            continue;
        fopt_status status = read_step(s, piece, entry, &step);
        if (status)
            return status;
        if (l->steps[w->index] >= 0 && l->steps[w->index] != step)
            return fopt_i_refuse(s, FOPT_ERR_FILE,
                                 "%s: tensor '%.80s' is %" PRId64 ", but other parts of it have made %" PRId64 " steps",
                                 piece->file->path, entry->key, step, l->steps[w->index]);
        l->steps[w->index] = step;
    }
    return l->steps[w->index] >= 0
               ? FOPT_OK
               : fopt_i_allow(s, FOPT_CHECKPOINT_MISSING, "tensor %zu '%.80s': the files do not have its step",
                              w->index, w->tensor.name);
}

/* ---- the plan ------------------------------------------------------------------------------------------------ */

/* Marks what a piece has of the arrays that the optimizer keeps: in whatever part of the tensor, and the parameter even
 * if it is not to be read. */
static void expect_entries(const fopt_i_piece *piece, const fopt_i_part *parts, size_t count)
{
    fopt_i_entry *entry = find_entry(piece, "step", "");
    if (entry)
        entry->expected = true;
    for (size_t i = 0; i < count; i++) {
        entry = find_entry(piece, parts[i].name, "");
        if (entry)
            entry->expected = true;
        entry = parts[i].kind < FOPT_STATE_KINDS ? find_entry(piece, parts[i].name, ".absmax") : NULL;
        if (entry)
            entry->expected = true;
    }
}

static fopt_status plan_tensor(loading *l, size_t index)
{
    const fopt_i_session *s = &l->session;
    wanted w = {.index = index, .tensor = fopt_i_tensor_at(s, index)};
    fopt_i_part parts[FOPT_I_PARTS];
    size_t count;
    if (w.tensor.count == 0)
        return FOPT_OK;
    find_pieces(l, &w);
    fopt_status status = fopt_i_list_parts(s, index, parts, &count);
    for (size_t i = 0; i < w.count && !status; i++) {
        status = check_piece(l, &w, &w.pieces[i]);
        if (!status)
            expect_entries(&w.pieces[i], parts, count);
    }
    if (!status)
        status = plan_step(l, &w);
    for (size_t i = 0; i < count && !status; i++)
        if (parts[i].kind < FOPT_STATE_KINDS || s->options.flags & FOPT_CHECKPOINT_PARAMS)
            status = plan_part(l, &w, &parts[i]);
    return status;
}

/* Looks for what the files have and the optimizer has no place for. */
static fopt_status check_unexpected(loading *l)
{
    fopt_status status = FOPT_OK;
    for (size_t f = 0; f < l->file_count; f++)
        for (size_t i = 0; i < l->files[f].entry_count && !status; i++)
            if (!l->files[f].entries[i].expected)
                status = fopt_i_allow(&l->session, FOPT_CHECKPOINT_UNEXPECTED,
                                      "%s: the optimizer has no place for tensor '%.80s'", l->files[f].path,
                                      l->files[f].entries[i].key);
    return status;
}

static fopt_status plan(loading *l, const char *const *paths, size_t path_count)
{
    fopt_i_session *s = &l->session;
    fopt_status status = FOPT_OK;
    if (!paths || path_count == 0)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "paths is %s, path_count %zu", paths ? "given" : "NULL", path_count);
    l->files = calloc(path_count, sizeof *l->files);
    l->steps = malloc(s->run.tensor_count * sizeof *l->steps + 1);
    l->buffers = fopt_i_new_buffers();
    if (!l->files || !l->steps || !l->buffers)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for %zu files and %zu tensors", path_count,
                             s->run.tensor_count);
    memset(l->steps, -1, s->run.tensor_count * sizeof *l->steps);
    for (size_t i = 0; i < path_count && !status; i++) {
        if (!paths[i])
            return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "paths[%zu] is NULL", i);
        status = fopt_i_open_file(s, paths[i], &l->files[l->file_count++]);
        if (!status)
            status = fopt_i_list_pieces(s, &l->files[i], &l->pieces, &l->piece_count);
    }
    if (!status)
        status = sort_pieces(l);
    for (size_t i = 0; i < s->run.tensor_count && !status; i++)
        status = plan_tensor(l, i);
    return status ? status : check_unexpected(l);
}

/* ---- done ---------------------------------------------------------------------------------------------------- */

static fopt_status make_moves(const loading *l, bool write)
{
    fopt_status status = FOPT_OK;
    for (size_t i = 0; i < l->move_count && !status; i++)
        status = fopt_i_make_move(&l->session, l->buffers, &l->moves[i], write);
    return status;
}

static fopt_status take_all(const loading *l)
{
    const fopt_i_session *s = &l->session;
    fopt_status status = make_moves(l, true);
    for (size_t i = 0; i < s->run.tensor_count && !status; i++)
        if (l->steps[i] >= 0)
            status = fopt_i_pass(s, fopt_set_step(s->run.optimizer, i, l->steps[i], s->stream));
    if (status) {
        char why[400];
        snprintf(why, sizeof why, "%s", fopt_last_error() + strlen(s->call) + 2);
        return fopt_i_refuse(s, status, "%s; the optimizer has a part of the files' state", why);
    }
    return FOPT_OK;
}

fopt_status fopt_checkpoint_load(const fopt_run *run, const char *const *paths, size_t path_count,
                                 const fopt_checkpoint_options *options, fopt_stream stream)
{
    loading l = {.files = NULL};
    fopt_status status = fopt_i_begin_session(&l.session, __func__, run, options,
                                              FOPT_CHECKPOINT_PARAMS | FOPT_CHECKPOINT_MISSING |
                                                  FOPT_CHECKPOINT_UNEXPECTED | FOPT_CHECKPOINT_CONVERT,
                                              stream);
    if (!status)
        status = plan(&l, paths, path_count);
    if (!status)
        status = make_moves(&l, false);
    if (!status)
        status = take_all(&l);
    if (!status)
        fopt_i_tell_notes(&l.session);
    for (size_t i = 0; i < l.file_count; i++)
        fopt_i_close_file(&l.files[i]);
    free(l.files);
    free(l.pieces);
    free(l.moves);
    free(l.steps);
    free(l.buffers);
    fopt_i_end_session(&l.session);
    return status;
}
