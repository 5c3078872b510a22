/* fopt_checkpoint_save(): lists what is to be written, then writes it. */
#include "../host/utf8.h"
#include "parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Something to be written: bytes of the device's, or the step count of a tensor. */
typedef struct item {
    char *key;
    const char *dtype;
    const void *data; /* NULL: the step count */
    size_t tensor, count;
    size_t place; /* in the order of the tensors */
} item;

typedef struct saving {
    fopt_i_session session;
    item *items;
    size_t item_count;
    json_t *header;
    char *text; /* of the header */
} saving;

/* Tells whether a name may be in JSON. */
static bool is_utf8(const char *name)
{
    uint32_t code;
    size_t length = 1;
    for (; *name && length > 0; name += length)
        length = fopt_i_read_character((const unsigned char *)name, &code);
    return length > 0;
}

/* Adds an item; its name is made of the tensor's, its range, and two suffixes. */
static fopt_status add_item(saving *saved, size_t tensor, const char *suffix, const char *end, item added)
{
    const fopt_i_session *s = &saved->session;
    const fopt_tensor t = fopt_i_tensor_at(s, tensor);
    if (!added.dtype)
        return fopt_i_refuse(s, FOPT_ERR_UNSUPPORTED, "tensor %zu '%.80s': files have no dtype for the format of %s",
                             tensor, t.name, *suffix ? suffix : "the parameter");
    if (!is_utf8(t.name))
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "tensor %zu '%.80s': name is not valid UTF-8", tensor, t.name);
    char range[FOPT_I_RANGE];
    fopt_i_write_range(range, t.first_element, t.count, t.full_count);
    const size_t size = strlen(t.name) + strlen(range) + strlen(suffix) + strlen(end) + 2;
    item *items = fopt_i_grow(saved->items, saved->item_count, sizeof *items);
    saved->items = items ? items : saved->items;
    added.key = items ? malloc(size) : NULL;
    if (!added.key)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for what is to be written");
    snprintf(added.key, size, "%s%s%s%s%s", t.name, range, *suffix ? "." : "", suffix, end);
    added.tensor = tensor;
    added.place = saved->item_count;
    items[saved->item_count++] = added;
    return FOPT_OK;
}

static fopt_status add_tensor(saving *saved, size_t tensor)
{
    const fopt_i_session *s = &saved->session;
    const size_t elements = fopt_i_tensor_at(s, tensor).count;
    fopt_i_part parts[FOPT_I_PARTS];
    size_t count;
    if (elements == 0)
        return FOPT_OK;
    fopt_status status = fopt_i_list_parts(s, tensor, parts, &count);
    if (!status)
        status = add_item(saved, tensor, "step", "", (item){.dtype = "I64", .count = 1});
    for (size_t i = 0; i < count && !status; i++) {
        const fopt_i_part *p = &parts[i];
        if (p->kind == FOPT_STATE_KINDS && !(s->options.flags & FOPT_CHECKPOINT_PARAMS))
            continue;
        status = add_item(saved, tensor, p->name, "",
                          (item){.dtype = fopt_i_dtype_of(p->format), .data = p->data, .count = elements});
        if (!status && p->absmax)
            status = add_item(
                saved, tensor, p->name, ".absmax",
                (item){.dtype = "F32", .data = p->absmax, .count = (size_t)fopt_i_absmax_count(p->format, elements)});
    }
    return status;
}

/* Orders items by the size of their elements, so that each is aligned to its own in the file. */
static int compare_items(const void *a, const void *b)
{
    const item *one = a, *two = b;
    const size_t mine = fopt_i_dtype_bytes(one->dtype), other = fopt_i_dtype_bytes(two->dtype);
    if (mine != other)
        return mine < other ? 1 : -1;
    return (one->place > two->place) - (one->place < two->place);
}

/* Puts an item into the header, and moves `end` behind it. */
static fopt_status describe_item(saving *saved, const item *it, uint64_t *end)
{
    const fopt_i_session *s = &saved->session;
    const uint64_t begin = *end;
    *end += it->count * fopt_i_dtype_bytes(it->dtype);
    if (json_object_get(saved->header, it->key))
        return fopt_i_refuse(s, FOPT_ERR_ARGUMENT, "tensor %zu '%.80s': '%.80s' would be in the file twice", it->tensor,
                             fopt_i_tensor_at(s, it->tensor).name, it->key);
    json_t *entry = json_pack("{s:s, s:[], s:[I, I]}", "dtype", it->dtype, "shape", "data_offsets", (json_int_t)begin,
                              (json_int_t)*end);
    json_t *shape = json_object_get(entry, "shape"); /* of a step count it stays empty */
    if ((it->data && json_array_append_new(shape, json_integer((json_int_t)it->count)) != 0) ||
        json_object_set(saved->header, it->key, entry) != 0) {
        json_decref(entry);
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the header of a file");
    }
    json_decref(entry);
    return FOPT_OK;
}

static fopt_status make_header(saving *saved)
{
    const fopt_i_session *s = &saved->session;
    uint64_t end = 0;
    fopt_status status = FOPT_OK;
    json_t *metadata = fopt_i_make_metadata(s);
    saved->header = json_object();
    if (json_object_set_new(saved->header, "__metadata__", metadata) != 0)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the metadata of a file");
    for (size_t i = 0; i < saved->item_count && !status; i++)
        status = describe_item(saved, &saved->items[i], &end);
    if (status)
        return status;
    saved->text = fopt_i_dump(saved->header);
    if (!saved->text)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the header of a file");
    if (strlen(saved->text) + 7 > FOPT_I_LONGEST_HEADER)
        return fopt_i_refuse(s, FOPT_ERR_UNSUPPORTED, "a header of %zu bytes is longer than files may have: %d",
                             strlen(saved->text), FOPT_I_LONGEST_HEADER);
    return FOPT_OK;
}

/* ---- written ------------------------------------------------------------------------------------------------- */

/* Writes the header, with blanks at its end so that what follows is aligned. */
static fopt_status write_header(const saving *saved, fopt_i_new_file *file)
{
    static const char blanks[] = "       ";
    const size_t length = strlen(saved->text), padding = (8 - length % 8) % 8;
    unsigned char start[8];
    for (size_t i = 0; i < sizeof start; i++)
        start[i] = (unsigned char)((uint64_t)(length + padding) >> 8 * i);
    fopt_status status = fopt_i_add(&saved->session, file, start, sizeof start);
    if (!status)
        status = fopt_i_add(&saved->session, file, saved->text, length);
    return status ? status : fopt_i_add(&saved->session, file, blanks, padding);
}

static fopt_status write_item(const saving *saved, const item *it, fopt_i_new_file *file)
{
    const fopt_i_session *s = &saved->session;
    if (it->data)
        return fopt_i_add(s, file, it->data, it->count * fopt_i_dtype_bytes(it->dtype));
    int64_t step;
    fopt_status status = fopt_i_pass(s, fopt_get_step(s->run.optimizer, it->tensor, &step, s->stream));
    return status ? status : fopt_i_add(s, file, &step, sizeof step);
}

static fopt_status write_all(const saving *saved, const char *path)
{
    fopt_i_new_file file;
    fopt_status status = fopt_i_begin_file(&saved->session, path, &file);
    if (!status)
        status = write_header(saved, &file);
    for (size_t i = 0; i < saved->item_count && !status; i++)
        status = write_item(saved, &saved->items[i], &file);
    if (!status)
        status = fopt_i_finish_file(&saved->session, &file);
    fopt_i_drop_file(&file);
    return status;
}

fopt_status fopt_checkpoint_save(const fopt_run *run, const char *path, const fopt_checkpoint_options *options,
                                 fopt_stream stream)
{
    saving saved = {.items = NULL};
    fopt_status status = fopt_i_begin_session(&saved.session, __func__, run, options, FOPT_CHECKPOINT_PARAMS, stream);
    if (!status && !path)
        status = fopt_i_refuse(&saved.session, FOPT_ERR_ARGUMENT, "path is NULL");
    for (size_t i = 0; !status && i < saved.session.run.tensor_count; i++)
        status = add_tensor(&saved, i);
    if (!status && saved.item_count > 0)
        qsort(saved.items, saved.item_count, sizeof *saved.items, compare_items);
    if (!status)
        status = make_header(&saved);
    if (!status)
        status = write_all(&saved, path);
    for (size_t i = 0; i < saved.item_count; i++)
        free(saved.items[i].key);
    free(saved.items);
    free(saved.text);
    json_decref(saved.header);
    fopt_i_end_session(&saved.session);
    return status;
}
