/* Writes and reads what a file says of its optimizer. */
#include "parts.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The hyperparameters, by the names of fopt_group. */
static const struct hyperparameter {
    const char *name;
    size_t offset;
} hyperparameters[] = {
    {"lr", offsetof(fopt_group, lr)},
    {"beta1", offsetof(fopt_group, beta1)},
    {"beta2", offsetof(fopt_group, beta2)},
    {"eps", offsetof(fopt_group, eps)},
    {"weight_decay", offsetof(fopt_group, weight_decay)},
    {"momentum", offsetof(fopt_group, momentum)},
    {"dampening", offsetof(fopt_group, dampening)},
    {"alpha", offsetof(fopt_group, alpha)},
};

void fopt_i_write_range(char to[FOPT_I_RANGE], uint64_t first, uint64_t count, uint64_t full)
{
    to[0] = '\0';
    if (count < full)
        snprintf(to, FOPT_I_RANGE, "[%" PRIu64 ":%" PRIu64 "]", first, first + count);
}

/* ---- written ------------------------------------------------------------------------------------------------- */

static json_t *natural_text(uint64_t value)
{
    return json_sprintf("%" PRIu64, value); /* JSON's integers have a sign */
}

/* Sets a member; a value that is NULL means that there was no memory. */
static bool put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *describe_group(const fopt_group *group)
{
    json_t *object = json_object(), *formats = json_object();
    bool good = put(object, "rule", json_string(fopt_rule_name(group->rule))) &&
                put(object, "flags", json_integer(group->flags));
    for (size_t i = 0; i < sizeof hyperparameters / sizeof *hyperparameters && good; i++) {
        double value;
        memcpy(&value, (const char *)group + hyperparameters[i].offset, sizeof value);
        good = put(object, hyperparameters[i].name, json_real(value));
    }
    for (unsigned kind = 0; kind < FOPT_STATE_KINDS && good; kind++) {
        const char *name = fopt_state_kind_name(group->rule, (fopt_state_kind)kind);
        const char *format = fopt_format_name(group->state_format[kind]);
        if (name && format)
            good = put(formats, name, json_string(format));
    }
    good = put(object, "formats", formats) && good;
    if (!good)
        json_decref(object);
    return good ? object : NULL;
}

static json_t *describe_tensor(const fopt_tensor *t)
{
    json_t *object = json_object();
    if (put(object, "name", json_string(t->name)) && put(object, "id", natural_text(t->global_id)) &&
        put(object, "group", json_integer((json_int_t)t->group)) &&
        put(object, "first", json_integer((json_int_t)t->first_element)) &&
        put(object, "count", json_integer((json_int_t)t->count)) &&
        put(object, "full", json_integer((json_int_t)t->full_count)))
        return object;
    json_decref(object);
    return NULL;
}

/* A text that grows. Without memory it has failed, which jansson does not always pass on. */
typedef struct dump {
    char *text;
    size_t length, room;
    bool failed;
} dump;

static int add_text(const char *more, size_t length, void *to)
{
    dump *d = to;
    if (!d->failed && length >= d->room - d->length) {
        const size_t room = 2 * (d->room + length) + 64;
        char *text = realloc(d->text, room);
        d->failed = !text;
        d->text = text ? text : d->text;
        d->room = text ? room : d->room;
    }
    if (d->failed)
        return -1;
    memcpy(d->text + d->length, more, length);
    d->length += length;
    d->text[d->length] = '\0';
    return 0;
}

char *fopt_i_dump(const json_t *value)
{
    dump d = {.text = NULL};
    if (value && json_dump_callback(value, add_text, &d, JSON_COMPACT) == 0 && !d.failed)
        return d.text;
    free(d.text);
    return NULL;
}

/* Makes a text of a list, which goes. */
static json_t *text_of(json_t *list)
{
    char *text = fopt_i_dump(list);
    json_t *value = json_string(text);
    free(text);
    json_decref(list);
    return value;
}

static json_t *describe_groups(const fopt_i_session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->run.group_count; i++) {
        const fopt_group group = fopt_i_group_at(s, i);
        if (json_array_append_new(list, describe_group(&group)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return text_of(list);
}

static json_t *describe_tensors(const fopt_i_session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->run.tensor_count; i++) {
        const fopt_tensor t = fopt_i_tensor_at(s, i);
        if (t.count > 0 && json_array_append_new(list, describe_tensor(&t)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return text_of(list);
}

json_t *fopt_i_make_metadata(const fopt_i_session *s)
{
    json_t *metadata = json_object();
    if (put(metadata, "fusedopt.format", json_string(FOPT_I_LAYOUT)) &&
        put(metadata, "fusedopt.version", json_string(fopt_version_string())) &&
        put(metadata, "fusedopt.seed", natural_text(s->seed)) && put(metadata, "fusedopt.groups", describe_groups(s)) &&
        put(metadata, "fusedopt.tensors", describe_tensors(s)))
        return metadata;
    json_decref(metadata);
    return NULL;
}

/* ---- read ---------------------------------------------------------------------------------------------------- */

/* Refuses the metadata of a file. */
#define REFUSE_METADATA(...) fopt_i_refuse(s, FOPT_ERR_FILE, __VA_ARGS__)

static const char *text_in(const fopt_i_file *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

/* Reads decimal digits, all of a text. */
static bool read_natural_text(const char *text, uint64_t *number)
{
    *number = 0;
    if (!text || !*text)
        return false;
    for (; *text; text++) {
        const unsigned digit = (unsigned char)*text - (unsigned)'0';
        if (digit > 9 || *number > (UINT64_MAX - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    return true;
}

/* Reads a list that is in a text, whose place in the header it takes. */
static fopt_status read_list(const fopt_i_session *s, const fopt_i_file *file, const char *key, json_t **list)
{
    const char *text = text_in(file, key);
    json_error_t error = {.text = "it is missing"};
    *list = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (!*list)
        return REFUSE_METADATA("%s: %s of the metadata is not a list in JSON: %s", file->path, key, error.text);
    json_t *metadata = json_object_get(file->header, "__metadata__");
    if (json_object_set_new(metadata, key, *list) != 0)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the metadata of %s", file->path);
    return json_is_array(*list) ? FOPT_OK : REFUSE_METADATA("%s: %s of the metadata is not a list", file->path, key);
}

static bool read_member(const json_t *object, const char *key, uint64_t *number)
{
    const json_t *value = json_object_get(object, key);
    *number = (uint64_t)json_integer_value(value);
    return json_is_integer(value) && *number < FOPT_I_TOO_MANY;
}

static fopt_status read_piece(const fopt_i_session *s, const json_t *from, size_t index, const json_t *groups,
                              fopt_i_piece *piece)
{
    uint64_t group;
    piece->name = json_string_value(json_object_get(from, "name"));
    if (!piece->name || !read_natural_text(json_string_value(json_object_get(from, "id")), &piece->id) ||
        !read_member(from, "group", &group) || !read_member(from, "first", &piece->first) ||
        !read_member(from, "count", &piece->count) || !read_member(from, "full", &piece->full))
        return REFUSE_METADATA(
            "%s: fusedopt.tensors of the metadata: number %zu lacks a valid name, id, group, first, count or full",
            piece->file->path, index);
    if (piece->count == 0 || piece->first % FOPT_I_TILE != 0 || piece->first + piece->count > piece->full)
        return REFUSE_METADATA("%s: tensor '%.80s': the metadata have first %" PRIu64 ", count %" PRIu64
                               ", full %" PRIu64 ", which is no place in a tensor",
                               piece->file->path, piece->name, piece->first, piece->count, piece->full);
    piece->group = json_array_get(groups, (size_t)group);
    if (!fopt_i_rule_in(piece))
        return REFUSE_METADATA("%s: tensor '%.80s': the metadata have no group %" PRIu64 " with a rule",
                               piece->file->path, piece->name, group);
    fopt_i_write_range(piece->range, piece->first, piece->count, piece->full);
    return FOPT_OK;
}

/* Adds a piece to the list. */
static fopt_status add_piece(const fopt_i_session *s, const fopt_i_piece *piece, fopt_i_piece **pieces, size_t *count)
{
    fopt_i_piece *grown = fopt_i_grow(*pieces, *count, sizeof *piece);
    if (!grown)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the tensors of %s", piece->file->path);
    *pieces = grown;
    grown[(*count)++] = *piece;
    return FOPT_OK;
}

/* Tells whether a file of another tool's has state of a tensor, or the tensor. */
static bool has_some(const fopt_i_session *s, const fopt_i_file *file, const fopt_tensor *t)
{
    const fopt_rule rule = fopt_i_group_at(s, t->group).rule;
    bool found = fopt_i_find_entry(file, t->name, "") || fopt_i_find_entry(file, t->name, ".step");
    for (unsigned kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        char rest[64];
        const char *name = fopt_state_kind_name(rule, (fopt_state_kind)kind);
        if (name) {
            snprintf(rest, sizeof rest, ".%s", name);
            found = found || fopt_i_find_entry(file, t->name, rest);
        }
    }
    return found;
}

/* Lists the optimizer's tensors that a file has which says nothing of itself. */
static fopt_status list_by_name(const fopt_i_session *s, fopt_i_file *file, fopt_i_piece **pieces, size_t *count)
{
    fopt_status status = FOPT_OK;
    for (size_t i = 0; i < s->run.tensor_count && !status; i++) {
        const fopt_tensor t = fopt_i_tensor_at(s, i);
        const fopt_i_piece piece = {.file = file, .name = t.name, .count = t.full_count, .full = t.full_count};
        if (t.count > 0 && has_some(s, file, &t)) /* perhaps not for the first time, if it is one of several shards */
            status = add_piece(s, &piece, pieces, count);
    }
    return status;
}

fopt_status fopt_i_list_pieces(fopt_i_session *s, fopt_i_file *file, fopt_i_piece **pieces, size_t *count)
{
    const char *format = text_in(file, "fusedopt.format");
    uint64_t seed;
    json_t *groups, *tensors;
    if (!format)
        return list_by_name(s, file, pieces, count);
    if (strcmp(format, FOPT_I_LAYOUT) != 0)
        return REFUSE_METADATA("%s has format '%.20s'; fusedopt %s reads format " FOPT_I_LAYOUT, file->path, format,
                               fopt_version_string());
    if (!read_natural_text(text_in(file, "fusedopt.seed"), &seed))
        return REFUSE_METADATA("%s: fusedopt.seed of the metadata is not a number", file->path);
    fopt_status status = FOPT_OK;
    if (seed != s->seed)
        status = fopt_i_allow(s, FOPT_CHECKPOINT_CONVERT, "%s: seed is %" PRIu64 ", but the optimizer's is %" PRIu64,
                              file->path, seed, s->seed);
    if (!status)
        status = read_list(s, file, "fusedopt.groups", &groups);
    if (!status)
        status = read_list(s, file, "fusedopt.tensors", &tensors);
    for (size_t i = 0; !status && i < json_array_size(tensors); i++) {
        fopt_i_piece piece = {.file = file};
        status = read_piece(s, json_array_get(tensors, i), i, groups, &piece);
        if (!status)
            status = add_piece(s, &piece, pieces, count);
    }
    return status;
}

const char *fopt_i_rule_in(const fopt_i_piece *piece)
{
    return json_string_value(json_object_get(piece->group, "rule"));
}

const char *fopt_i_format_in(const fopt_i_piece *piece, const char *moment)
{
    return json_string_value(json_object_get(json_object_get(piece->group, "formats"), moment));
}
