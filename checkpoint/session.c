/* A call, what it was given, and what it says. */
#include "parts.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that fopt_last_error() has room for. */
enum { LONGEST_TEXT = 512 };

/* Bytes of a path that messages have, so that there is room for a tensor's name, and what is wrong with it. */
enum { LONGEST_PATH = 160 };

/* ---- words --------------------------------------------------------------------------------------------------- */

static void set_text(const fopt_i_session *s, const char *text)
{
    char whole[LONGEST_TEXT + 64];
    snprintf(whole, sizeof whole, "%s: %s", s->call, text);
    fopt_set_last_error(whole);
}

fopt_status fopt_i_refuse(const fopt_i_session *s, fopt_status status, const char *format, ...)
{
    char text[LONGEST_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    set_text(s, text);
    return status;
}

fopt_status fopt_i_pass(const fopt_i_session *s, fopt_status status)
{
    if (status)
        set_text(s, fopt_last_error());
    return status;
}

const char *fopt_i_end_of(const char *path)
{
    const size_t length = strlen(path);
    return length > LONGEST_PATH ? path + length - LONGEST_PATH : path;
}

void *fopt_i_grow(void *list, size_t count, size_t item_bytes)
{
    if (count & (count - 1)) /* there is room until the count is a power of two */
        return list;
    const size_t room = count > 0 ? 2 * count : 1;
    return room > SIZE_MAX / item_bytes ? NULL : realloc(list, room * item_bytes);
}

fopt_status fopt_i_allow(fopt_i_session *s, unsigned flags, const char *format, ...)
{
    char text[LONGEST_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!(s->options.flags & flags)) {
        set_text(s, text);
        return FOPT_ERR_FILE;
    }
    if (!s->options.note)
        return FOPT_OK;
    char **notes = fopt_i_grow(s->notes, s->note_count, sizeof *notes);
    if (notes) {
        s->notes = notes;
        notes[s->note_count] = malloc(strlen(text) + 1);
    }
    if (!notes || !notes[s->note_count])
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for what is to be noted");
    memcpy(notes[s->note_count++], text, strlen(text) + 1);
    return FOPT_OK;
}

void fopt_i_tell_notes(const fopt_i_session *s)
{
    for (size_t i = 0; i < s->note_count; i++)
        s->options.note(s->options.note_context, s->notes[i]);
}

/* ---- what the caller gave ------------------------------------------------------------------------------------ */

/* Bytes that a struct has at least, and at most: those of the first release, and what none will grow to. */
enum {
    LEAST_RUN = offsetof(fopt_run, tensor_count) + sizeof(size_t),
    LEAST_OPTIONS = offsetof(fopt_checkpoint_options, note_context) + sizeof(void *),
    LARGEST_STRUCT = 4096,
};

/* Copies a struct of the caller's to one of `known` bytes, as fopt_create() does. */
static fopt_status read_struct(const fopt_i_session *s, void *to, const void *from, size_t least, size_t known,
                               const char *what)
{
    size_t size;
    memcpy(&size, from, sizeof size);
    if (size < least || size > LARGEST_STRUCT || size % sizeof(size_t) != 0)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "%s.size is %zu, must be the sizeof of its type, at least %zu", what,
                             size, least);
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)from)[i] != 0)
            return fopt_i_refuse(s, FOPT_ERR_UNSUPPORTED,
                                 "%s.size is %zu and byte %zu is not zero: fusedopt %s knows only the first %zu bytes",
                                 what, size, i, fopt_version_string(), known);
    memset(to, 0, known);
    memcpy(to, from, size < known ? size : known);
    return FOPT_OK;
}

/* Copies what our struct has of a caller's one that fopt_query_sizes() has accepted. */
static void copy_element(void *to, size_t known, const void *array, size_t index)
{
    size_t size;
    memcpy(&size, array, sizeof size);
    memset(to, 0, known);
    memcpy(to, (const char *)array + index * size, size < known ? size : known);
}

fopt_tensor fopt_i_tensor_at(const fopt_i_session *s, size_t index)
{
    fopt_tensor tensor;
    copy_element(&tensor, sizeof tensor, s->run.tensors, index);
    if (tensor.global_id == 0)
        tensor.global_id = index + 1;
    if (tensor.full_count == 0)
        tensor.full_count = tensor.first_element + tensor.count;
    return tensor;
}

fopt_group fopt_i_group_at(const fopt_i_session *s, size_t index)
{
    fopt_group group;
    copy_element(&group, sizeof group, s->run.groups, index);
    return group;
}

fopt_status fopt_i_list_parts(const fopt_i_session *s, size_t tensor, fopt_i_part parts[FOPT_I_PARTS], size_t *count)
{
    const fopt_tensor t = fopt_i_tensor_at(s, tensor);
    const fopt_group group = fopt_i_group_at(s, t.group);
    *count = 0;
    for (unsigned kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        fopt_array view = {.size = sizeof view};
        fopt_status status = fopt_state(s->run.optimizer, tensor, (fopt_state_kind)kind, &view);
        if (status)
            return fopt_i_pass(s, status);
        if (!view.data)
            continue;
        const char *name = fopt_state_kind_name(group.rule, (fopt_state_kind)kind);
        if (!name || view.count != t.count || view.format != group.state_format[kind])
            return fopt_i_refuse(s, FOPT_ERR_ARGUMENT,
                                 "tensor %zu '%.80s': the optimizer was not created from this description", tensor,
                                 t.name);
        parts[(*count)++] = (fopt_i_part){name, kind, view.format, view.data, view.absmax};
    }
    if (t.count > 0)
        parts[(*count)++] = (fopt_i_part){"", FOPT_STATE_KINDS, t.param_format, t.param, NULL};
    return FOPT_OK;
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

/* A tensor's name and place, to be sorted. */
typedef struct place {
    const char *name;
    uint64_t first, end;
    size_t index;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *one = a, *two = b;
    const int names = strcmp(one->name, two->name);
    return names ? names : (one->first > two->first) - (one->first < two->first);
}

/* Checks that all tensors have names, and that no two have the same elements of one. */
static fopt_status check_names(const fopt_i_session *s)
{
    fopt_status status = FOPT_OK;
    size_t count = 0;
    place *places = malloc(s->run.tensor_count * sizeof *places + 1);
    if (!places)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the names of %zu tensors", s->run.tensor_count);
    for (size_t i = 0; i < s->run.tensor_count && !status; i++) {
        const fopt_tensor t = fopt_i_tensor_at(s, i);
        if (!t.name)
            status = fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "tensor %zu: name is NULL, and files know tensors by it", i);
        else if (t.full_count >= FOPT_I_TOO_MANY)
            status =
                fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "tensor %zu '%.80s': full_count is %zu, more than a file can say",
                              i, t.name, t.full_count);
        else if (t.count > 0)
            places[count++] = (place){t.name, t.first_element, t.first_element + t.count, i};
    }
    if (!status && count > 0)
        qsort(places, count, sizeof *places, compare_places);
    for (size_t i = 1; i < count && !status; i++)
        if (strcmp(places[i - 1].name, places[i].name) == 0 && places[i].first < places[i - 1].end)
            status = fopt_i_refuse(s, FOPT_ERR_ARGUMENT,
                                   "tensor %zu '%.80s': name is that of tensor %zu, with elements that it has",
                                   places[i].index, places[i].name, places[i - 1].index);
    free(places);
    return status;
}

/* Checks that the optimizer has not more tensors than its description. The core says so by an error, which nobody is to
 * see. */
static fopt_status check_tensor_count(const fopt_i_session *s)
{
    char last[LONGEST_TEXT];
    fopt_array view = {.size = sizeof view};
    snprintf(last, sizeof last, "%s", fopt_last_error());
    const fopt_status status = fopt_state(s->run.optimizer, s->run.tensor_count, FOPT_FIRST_MOMENT, &view);
    if (status == FOPT_OK)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "run.tensor_count is %zu, but the optimizer has more tensors",
                             s->run.tensor_count);
    if (status != FOPT_ERR_ARGUMENT)
        return fopt_i_pass(s, status);
    fopt_set_last_error(last);
    return FOPT_OK;
}

/* Checks that the descriptions are valid, and that their state is what the optimizer has. */
static fopt_status check_run(const fopt_i_session *s)
{
    const fopt_run *r = &s->run;
    fopt_sizes sizes = {.size = sizeof sizes};
    fopt_status status =
        fopt_i_pass(s, fopt_query_sizes(r->config, r->groups, r->group_count, r->tensors, r->tensor_count, &sizes));
    if (!status)
        status = check_names(s);
    if (!status)
        status = check_tensor_count(s);
    size_t bytes = 0;
    for (size_t i = 0; i < r->tensor_count && !status; i++) {
        fopt_i_part parts[FOPT_I_PARTS];
        const size_t elements = fopt_i_tensor_at(s, i).count;
        size_t count = 0;
        status = fopt_i_list_parts(s, i, parts, &count);
        for (size_t p = 0; p < count; p++)
            if (parts[p].kind < FOPT_STATE_KINDS)
                bytes += elements * fopt_i_element_bytes(parts[p].format) +
                         (size_t)fopt_i_absmax_count(parts[p].format, elements) * sizeof(float);
    }
    if (!status && bytes != sizes.state_bytes)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT,
                             "run: the state of its groups and tensors has %zu bytes, but the optimizer's has %zu",
                             sizes.state_bytes, bytes);
    return status;
}

fopt_status fopt_i_begin_session(fopt_i_session *s, const char *call, const fopt_run *run,
                                 const fopt_checkpoint_options *options, unsigned known_flags, fopt_stream stream)
{
    *s = (fopt_i_session){.call = call, .stream = stream};
    fopt_status status = FOPT_OK;
    if (!run)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "run is NULL");
    status = read_struct(s, &s->run, run, LEAST_RUN, sizeof s->run, "run");
    if (!status && options)
        status = read_struct(s, &s->options, options, LEAST_OPTIONS, sizeof s->options, "options");
    if (status)
        return status;
    if (s->options.flags & ~known_flags)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "options.flags is 0x%x, of which 0x%x is not for this call",
                             s->options.flags, s->options.flags & ~known_flags);
    if (!s->run.optimizer)
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "run.optimizer is NULL");
    status = check_run(s);
    if (!status && s->run.config) {
        fopt_config config;
        copy_element(&config, sizeof config, s->run.config, 0);
        s->seed = config.seed;
    }
    return status;
}

void fopt_i_end_session(fopt_i_session *s)
{
    for (size_t i = 0; i < s->note_count; i++)
        free(s->notes[i]);
    free(s->notes);
    s->notes = NULL;
    s->note_count = 0;
}
