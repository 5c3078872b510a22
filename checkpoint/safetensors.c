/* safetensors files: eight bytes with the length of a header, the header in JSON, and the tensors' bytes, one behind
 * the other. Every byte of a file may be hostile: nothing is used before it is checked. */
#include "parts.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- dtypes -------------------------------------------------------------------------------------------------- */

static const struct dtype {
    const char *name;
    size_t bytes;
} dtypes[] = {
    {"F32", 4},  {"BF16", 2}, {"U8", 1},      {"I64", 8},     {"F16", 2},     {"F64", 8},
    {"I32", 4},  {"U64", 8},  {"U32", 4},     {"I16", 2},     {"U16", 2},     {"I8", 1},
    {"BOOL", 1}, {"C64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; name && i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

size_t fopt_i_dtype_bytes(const char *dtype)
{
    return find_dtype(dtype)->bytes;
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

static fopt_status read_bytes(const fopt_i_session *s, const fopt_i_file *file, void *to, size_t bytes, uint64_t offset)
{
    char *next = to;
    while (bytes > 0) {
        const ssize_t got = pread(file->descriptor, next, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fopt_i_refuse(s, FOPT_ERR_FILE, "%s cannot be read: %s", file->path, strerror(errno));
        if (got == 0)
            return fopt_i_refuse(s, FOPT_ERR_FILE, "%s ends at byte %" PRIu64 ", earlier than when it was opened",
                                 file->path, offset);
        next += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return FOPT_OK;
}

fopt_status fopt_i_read_entry(const fopt_i_session *s, const fopt_i_file *file, const fopt_i_entry *entry,
                              uint64_t from, void *to, size_t bytes)
{
    return read_bytes(s, file, to, bytes, file->data + entry->begin + from);
}

/* ---- the header ---------------------------------------------------------------------------------------------- */

/* Refuses a tensor of a file. */
#define REFUSE_ENTRY(text, ...)                                                                                        \
    fopt_i_refuse(s, FOPT_ERR_FILE, "%s: tensor '%.80s': " text, file->path, entry->key, __VA_ARGS__)

/* Reads an integer that is not negative. */
static bool read_natural(const json_t *value, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

/* Multiplies an entry's shape out. */
static bool count_elements(const json_t *shape, uint64_t *count)
{
    size_t i;
    json_t *dimension;
    *count = 1;
    if (!json_is_array(shape))
        return false;
    json_array_foreach(shape, i, dimension)
    {
        uint64_t size;
        if (!read_natural(dimension, &size) || (size > 0 && *count > INT64_MAX / size))
            return false;
        *count *= size;
    }
    return true;
}

static fopt_status read_entry(const fopt_i_session *s, const fopt_i_file *file, const json_t *from, fopt_i_entry *entry)
{
    const json_t *offsets = json_object_get(from, "data_offsets"), *shape = json_object_get(from, "shape");
    const char *name = json_string_value(json_object_get(from, "dtype"));
    const struct dtype *dtype = find_dtype(name);
    if (!dtype)
        return REFUSE_ENTRY("dtype is %.20s, not one that is known", name ? name : "missing or no text");
    if (!count_elements(shape, &entry->count))
        return REFUSE_ENTRY("shape is %s", "missing, negative, too large, or no list of integers");
    if (json_array_size(offsets) != 2 || !read_natural(json_array_get(offsets, 0), &entry->begin) ||
        !read_natural(json_array_get(offsets, 1), &entry->end) || entry->end < entry->begin)
        return REFUSE_ENTRY("data_offsets is %s", "missing, or not two integers that are not negative, in order");
    if (entry->count > INT64_MAX / dtype->bytes || entry->count * dtype->bytes != entry->end - entry->begin)
        return REFUSE_ENTRY("shape has %" PRIu64 " elements of %zu bytes, but data_offsets %" PRIu64 " bytes",
                            entry->count, dtype->bytes, entry->end - entry->begin);
    entry->dtype = dtype->name;
    return FOPT_OK;
}

static int compare_places(const void *a, const void *b)
{
    const fopt_i_entry *one = a, *two = b;
    const int begins = (one->begin > two->begin) - (one->begin < two->begin);
    return begins ? begins : (one->end > two->end) - (one->end < two->end);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const fopt_i_entry *)a)->key, ((const fopt_i_entry *)b)->key);
}

/* Checks that the tensors lie one behind the other, and are all that the file has. */
static fopt_status check_places(const fopt_i_session *s, const fopt_i_file *file, uint64_t bytes)
{
    uint64_t end = 0;
    for (size_t i = 0; i < file->entry_count; i++) {
        const fopt_i_entry *entry = &file->entries[i];
        if (entry->begin < end)
            return REFUSE_ENTRY("its data overlap those of '%.80s'", entry[-1].key);
        if (entry->begin > end)
            return REFUSE_ENTRY("before its data is a hole of %" PRIu64 " bytes", entry->begin - end);
        if (entry->end > bytes)
            return REFUSE_ENTRY("its data end at byte %" PRIu64 ", but the file has only %" PRIu64, entry->end, bytes);
        end = entry->end;
    }
    if (end < bytes)
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s has %" PRIu64 " bytes behind its last tensor", file->path,
                             bytes - end);
    return FOPT_OK;
}

/* Lists the entries of the header, of which one may be the metadata, texts all. */
static fopt_status list_entries(const fopt_i_session *s, fopt_i_file *file)
{
    const char *key;
    json_t *value;
    file->entries = calloc(json_object_size(file->header) + 1, sizeof *file->entries);
    if (!file->entries)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the tensors of %s", file->path);
    json_object_foreach(file->header, key, value)
    {
        if (strcmp(key, "__metadata__") == 0)
            continue;
        fopt_i_entry *entry = &file->entries[file->entry_count++];
        entry->key = key;
        fopt_status status = read_entry(s, file, value, entry);
        if (status)
            return status;
    }
    return FOPT_OK;
}

static fopt_status check_metadata(const fopt_i_session *s, const fopt_i_file *file)
{
    const char *key;
    json_t *value, *metadata = json_object_get(file->header, "__metadata__");
    if (metadata && !json_is_object(metadata))
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: __metadata__ is not an object", file->path);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: '%.80s' of __metadata__ is not a text", file->path, key);
    }
    return FOPT_OK;
}

static fopt_status parse_header(const fopt_i_session *s, fopt_i_file *file, const char *text, size_t length,
                                uint64_t bytes)
{
    json_error_t error;
    if (text[0] != '{')
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: the header does not begin with '{'", file->path);
    file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return fopt_i_refuse(s, json_error_code(&error) == json_error_out_of_memory ? FOPT_ERR_MEMORY : FOPT_ERR_FILE,
                             "%s: the header is not valid JSON: byte %d: %s", file->path, error.position, error.text);
    fopt_status status = check_metadata(s, file);
    if (!status)
        status = list_entries(s, file);
    if (status)
        return status;
    qsort(file->entries, file->entry_count, sizeof *file->entries, compare_places);
    status = check_places(s, file, bytes);
    qsort(file->entries, file->entry_count, sizeof *file->entries, compare_keys);
    return status;
}

static fopt_status read_header(const fopt_i_session *s, fopt_i_file *file, uint64_t size)
{
    unsigned char start[8];
    uint64_t length = 0;
    if (size < sizeof start)
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s has %" PRIu64 " bytes, too few for a safetensors file", file->path,
                             size);
    fopt_status status = read_bytes(s, file, start, sizeof start, 0);
    if (status)
        return status;
    for (size_t i = sizeof start; i > 0; i--)
        length = length << 8 | start[i - 1];
    if (length == 0 || length > FOPT_I_LONGEST_HEADER || length > size - sizeof start)
        return fopt_i_refuse(s, FOPT_ERR_FILE,
                             "%s: the header's length is %" PRIu64 ", must be from 1 to %d and in the file of %" PRIu64
                             " bytes",
                             file->path, length, FOPT_I_LONGEST_HEADER, size);
    char *text = malloc((size_t)length);
    if (!text)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for the header of %s, %" PRIu64 " bytes", file->path,
                             length);
    status = read_bytes(s, file, text, (size_t)length, sizeof start);
    file->data = sizeof start + length;
    if (!status)
        status = parse_header(s, file, text, (size_t)length, size - file->data);
    free(text);
    return status;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

fopt_status fopt_i_open_file(const fopt_i_session *s, const char *path, fopt_i_file *file)
{
    struct stat found;
    *file = (fopt_i_file){.path = fopt_i_end_of(path)};
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe would be waited for */
    if (file->descriptor < 0 || fstat(file->descriptor, &found) != 0)
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s cannot be opened: %s", file->path, strerror(errno));
    if (!S_ISREG(found.st_mode))
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s is not a regular file", file->path);
    return read_header(s, file, (uint64_t)found.st_size);
}

void fopt_i_close_file(fopt_i_file *file)
{
    if (file->descriptor >= 0)
        close(file->descriptor);
    json_decref(file->header);
    free(file->entries);
}

/* Compares a key with a name and what follows it. */
static int compare_halves(const char *name, const char *rest, const char *key)
{
    const size_t length = strlen(name);
    const int names = strncmp(name, key, length);
    return names ? names : strcmp(rest, key + length);
}

fopt_i_entry *fopt_i_find_entry(const fopt_i_file *file, const char *name, const char *rest)
{
    size_t begin = 0, end = file->entry_count;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        const int order = compare_halves(name, rest, file->entries[middle].key);
        if (order == 0)
            return &file->entries[middle];
        if (order < 0)
            end = middle;
        else
            begin = middle + 1;
    }
    return NULL;
}
