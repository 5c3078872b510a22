/* Files that are not what they should be: each is refused in words that say where it is wrong, and nothing is
 * written. */
#include "../reference/numbers.h"
#include "net.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OK(call) cr_assert_eq(call, FOPT_OK, "%s: %s", #call, fopt_last_error())

enum { COUNT = 300, TENSORS = 2 };

/* An optimizer of two tensors: w with two moments in f32, v with one in 8 bits. */
static struct {
    float params[TENSORS][COUNT], grads[TENSORS][COUNT];
    fopt_group groups[TENSORS];
    fopt_tensor tensors[TENSORS];
    fopt_run run;
} own;

static char folder[64], path[96];
static const char *const paths[] = {path, path};

/* A sound file of it: the header, and the bytes behind it. */
static char header[4000], data[4000];
static size_t data_bytes;

static void write_file(uint64_t length, const char *text, size_t text_bytes, const char *bytes, size_t byte_count)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    cr_assert(fwrite(&length, 1, 8, file) == 8 && fwrite(text, 1, text_bytes, file) == text_bytes &&
              fwrite(bytes, 1, byte_count, file) == byte_count);
    fclose(file);
}

static void create(void)
{
    for (size_t i = 0; i < TENSORS; i++) {
        OK(fopt_group_init(&own.groups[i], sizeof own.groups[i], i == 0 ? FOPT_ADAM : FOPT_SGD));
        own.tensors[i] = (fopt_tensor){.size = sizeof own.tensors[i], .name = i == 0 ? "w" : "v", .group = i};
        own.tensors[i].param = own.params[i];
        own.tensors[i].grad = own.grads[i];
        own.tensors[i].count = COUNT;
        for (size_t j = 0; j < COUNT; j++)
            own.grads[i][j] = (float)(j + 1);
    }
    own.groups[1].momentum = 0.5;
    own.groups[1].state_format[FOPT_MOMENTUM_BUFFER] = FOPT_Q8;
    own.run = (fopt_run){sizeof own.run, NULL, NULL, own.groups, TENSORS, own.tensors, TENSORS};
    OK(fopt_create(NULL, own.groups, TENSORS, own.tensors, TENSORS, &own.run.optimizer));
    OK(fopt_step(own.run.optimizer, NULL, NULL));
}

static void set_up(void)
{
    snprintf(folder, sizeof folder, "/tmp/fusedopt.XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    create();
    OK(fopt_checkpoint_save(&own.run, path, NULL, NULL));
    uint64_t length;
    FILE *file = fopen(path, "rb");
    cr_assert(file && fread(&length, 1, 8, file) == 8 && length < sizeof header);
    cr_assert_eq(fread(header, 1, length, file), length);
    data_bytes = fread(data, 1, sizeof data, file);
    cr_assert_eq(data_bytes, 2724);
    fclose(file);
}

static void tear_down(void)
{
    fopt_destroy(own.run.optimizer);
    unlink(path);
    cr_expect_eq(rmdir(folder), 0);
}

TestSuite(checkpoint_refused, .init = set_up, .fini = tear_down);

/* Copies all that a load may write. */
static void read_all(float values[3][COUNT], int64_t steps[TENSORS])
{
    for (int kind = 0; kind < 2; kind++) {
        fopt_array view = {.size = sizeof view};
        OK(fopt_state(own.run.optimizer, 0, (fopt_state_kind)kind, &view));
        memcpy(values[kind], view.data, view.bytes);
    }
    fopt_array view = {.size = sizeof view};
    OK(fopt_state(own.run.optimizer, 1, FOPT_MOMENTUM_BUFFER, &view));
    memcpy(values[2], view.data, view.bytes);
    memcpy((char *)values[2] + view.bytes, view.absmax, 8);
    for (size_t i = 0; i < TENSORS; i++)
        OK(fopt_get_step(own.run.optimizer, i, &steps[i], NULL));
}

/* Expects files to be refused in these words, '*' being any text, even if every difference is allowed. */
static void refused_files(size_t count, const char *words)
{
    static float before[3][COUNT], after[3][COUNT];
    const fopt_checkpoint_options lenient = {.size = sizeof lenient,
                                             .flags = FOPT_CHECKPOINT_MISSING | FOPT_CHECKPOINT_UNEXPECTED |
                                                      FOPT_CHECKPOINT_CONVERT};
    int64_t steps_before[TENSORS], steps_after[TENSORS];
    read_all(before, steps_before);
    for (int i = 0; i < 2; i++) {
        const fopt_status status = fopt_checkpoint_load(&own.run, paths, count, i == 0 ? NULL : &lenient, NULL);
        cr_expect_eq(status, FOPT_ERR_FILE, "%s: status %d", words, (int)status);
        cr_expect(net_mentions(fopt_last_error(), "fopt_checkpoint_load: ") && net_mentions(fopt_last_error(), words),
                  "'%s', not '%s'", fopt_last_error(), words);
        cr_expect(!net_mentions(fopt_last_error(), "has a part"), "%s", fopt_last_error());
    }
    read_all(after, steps_after);
    cr_expect_eq(memcmp(before, after, sizeof before), 0, "%s", words);
    cr_expect_eq(memcmp(steps_before, steps_after, sizeof steps_before), 0, "%s", words);
}

static void refused(const char *words)
{
    refused_files(1, words);
}

/* Replaces a part of the sound file's header. */
static void replace(const char *from, const char *to)
{
    static char text[200000];
    const char *at = strstr(header, from);
    cr_assert(at, "%s is not in %s", from, header);
    const int length = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - header), header, to, at + strlen(from));
    cr_assert_lt((size_t)length, sizeof text);
    write_file((uint64_t)length, text, (size_t)length, data, data_bytes);
}

Test(checkpoint_refused, the_sound_file_is_not)
{
    replace("{", " {");
    refused("the header does not begin with '{'");
    replace("{", "{ ");
    OK(fopt_checkpoint_load(&own.run, paths, 1, NULL, NULL));
}

/* What may be wrong in the header: what stands there, what is put there, and the words. */
static const struct {
    const char *from, *to, *words;
} wrong[] = {
    /* dtypes */
    {"\"dtype\":\"F32\"", "\"dtype\":\"F31\"", "tensor 'w.exp_avg': dtype is F31"},
    {"\"dtype\":\"F32\"", "\"dtype\":7", "tensor 'w.exp_avg': dtype is missing"},
    {"\"dtype\":\"F32\",", "", "tensor 'w.exp_avg': dtype is missing"},
    {"\"dtype\":\"F32\"", "\"dtype\":\"I32\"",
     "tensor 'w.exp_avg' is I32 with 0 scales, which is no format of exp_avg"},
    {"\"dtype\":\"F32\",\"shape\":[300]", "\"dtype\":\"F64\",\"shape\":[150]", "tensor 'w.exp_avg' has 150 elements"},
    /* shapes */
    {"\"shape\":[300]", "\"shape\":[301]", "tensor 'w.exp_avg': shape has 301 elements of 4 bytes"},
    {"\"shape\":[300]", "\"shape\":[-300]", "tensor 'w.exp_avg': shape is"},
    {"\"shape\":[300]", "\"shape\":[300.0]", "tensor 'w.exp_avg': shape is"},
    {"\"shape\":[300]", "\"shape\":[[300]]", "tensor 'w.exp_avg': shape is"},
    {"\"shape\":[300]", "\"shape\":300", "tensor 'w.exp_avg': shape is"},
    {"\"shape\":[300],", "", "tensor 'w.exp_avg': shape is"},
    {"\"shape\":[300]", "\"shape\":[0]", "tensor 'w.exp_avg': shape has 0 elements"},
    {"\"shape\":[300]", "\"shape\":[4294967296,4294967296,4]", "tensor 'w.exp_avg': shape is"},
    {"\"shape\":[300]", "\"shape\":[4611686018427388204]",
     "tensor 'w.exp_avg': shape has 4611686018427388204 elements"},
    {"\"shape\":[300]", "\"shape\":[99999999999999999999]", "the header is not valid JSON"},
    /* places */
    {"[16,1216]", "[20,1220]", "tensor 'w.exp_avg': before its data is a hole of 4 bytes"},
    {"[1216,2416]", "[1212,2412]", "tensor 'w.exp_avg_sq': its data overlap those of 'w.exp_avg'"},
    {"[16,1216]", "[1216,16]", "tensor 'w.exp_avg': data_offsets is"},
    {"[16,1216]", "[-1,1199]", "tensor 'w.exp_avg': data_offsets is"},
    {"[16,1216]", "[16]", "tensor 'w.exp_avg': data_offsets is"},
    {"[16,1216]", "[16,1216,1216]", "tensor 'w.exp_avg': data_offsets is"},
    {"[16,1216]", "[16.0,1216.0]", "tensor 'w.exp_avg': data_offsets is"},
    {"[16,1216]", "{\"16\":1216}", "tensor 'w.exp_avg': data_offsets is"},
    {"[16,1216]", "[9223372036854774607,9223372036854775807]",
     "tensor 'w.exp_avg_sq': before its data is a hole of 1200 bytes"},
    {"[2424,2724]", "[2424,2725]", "tensor 'v.momentum_buffer': shape has 300 elements"},
    {"\"shape\":[300],\"data_offsets\":[2424,2724]", "\"shape\":[301],\"data_offsets\":[2424,2725]",
     "tensor 'v.momentum_buffer': its data end at byte 2725, but the file has only 2724"},
    {"\"shape\":[300],\"data_offsets\":[2424,2724]", "\"shape\":[299],\"data_offsets\":[2424,2723]",
     "has 1 bytes behind its last tensor"},
    /* names */
    {"\"v.step\"", "\"w.step\"", "the header is not valid JSON: *duplicate"},
    {"\"v.step\"", "\"v\\u0000.step\"", "the header is not valid JSON"},
    {"\"v.step\"", "\"v\xff.step\"", "the header is not valid JSON"},
    {"\"dtype\":\"I64\",", "\"dtype\":\"I64\",\"dtype\":\"I64\",", "the header is not valid JSON: *duplicate"},
    /* steps */
    {"\"dtype\":\"I64\"", "\"dtype\":\"U64\"", "tensor 'w.step' is not one integer"},
    {"\"dtype\":\"I64\"", "\"dtype\":\"F64\"", "tensor 'w.step' is not one integer"}, /* whose value is subnormal */
    {"\"dtype\":\"I64\",\"shape\":[]", "\"dtype\":\"I32\",\"shape\":[2]", "tensor 'w.step' is not one integer"},
    /* the metadata */
    {"\"fusedopt.format\":\"1\"", "\"fusedopt.format\":\"2\"", "has format '2'; fusedopt * reads format 1"},
    {"\"fusedopt.format\":\"1\"", "\"fusedopt.format\":1", "'fusedopt.format' of __metadata__ is not a text"},
    {"\"__metadata__\":", "\"__metadata__\":[],\"a\":", "__metadata__ is not an object"},
    {"\"fusedopt.seed\":\"0\"", "\"fusedopt.seed\":\"18446744073709551616\"", "fusedopt.seed of the metadata is not"},
    {"\"fusedopt.seed\":\"0\"", "\"fusedopt.seed\":\"-1\"", "fusedopt.seed of the metadata is not"},
    {"\"fusedopt.seed\":\"0\",", "", "fusedopt.seed of the metadata is not"},
    {"\"fusedopt.groups\":", "\"groups\":", "fusedopt.groups of the metadata is not a list in JSON: it is missing"},
    {"\"fusedopt.groups\":\"[", "\"fusedopt.groups\":\"[[", "fusedopt.groups of the metadata is not a list in JSON"},
    {"\"fusedopt.tensors\":\"[", "\"fusedopt.tensors\":\"{}\",\"a\":\"",
     "fusedopt.tensors of the metadata is not a list"},
    {"\\\"rule\\\":\\\"adam\\\"", "\\\"rule\\\":1", "tensor 'w': the metadata have no group 0 with a rule"},
    {"\\\"group\\\":0", "\\\"group\\\":2", "tensor 'w': the metadata have no group 2"},
    {"\\\"exp_avg\\\":\\\"f32\\\"", "\\\"exp_avg\\\":\\\"q8\\\"",
     "tensor 'w.exp_avg' is F32 with 0 scales, which is no"},
    {"\\\"name\\\":\\\"w\\\"", "\\\"name\\\":7", "number 0 lacks a valid name"},
    {"\\\"id\\\":\\\"1\\\"", "\\\"id\\\":1", "number 0 lacks a valid name, id"},
    {"\\\"first\\\":0", "\\\"first\\\":-256", "number 0 lacks a valid name, id, group, first"},
    {"\\\"first\\\":0", "\\\"first\\\":1",
     "tensor 'w': the metadata have first 1, count 300, full 300, which is no place"},
    {"\\\"first\\\":0,\\\"count\\\":300,\\\"full\\\":300", "\\\"first\\\":1,\\\"count\\\":300,\\\"full\\\":301",
     "tensor 'w': the metadata have first 1, count 300, full 301, which is no place"},
    {"\\\"first\\\":0", "\\\"first\\\":256", "tensor 'w': the metadata have first 256, count 300, full 300"},
    {"\\\"count\\\":300", "\\\"count\\\":0", "tensor 'w': the metadata have first 0, count 0"},
    {"\\\"count\\\":300", "\\\"count\\\":9223372036854775807", "number 0 lacks"},
    {"\\\"full\\\":300", "\\\"full\\\":301", "tensor 0 'w': the whole has 300 elements, but in *a.safetensors 301"},
    {"\\\"name\\\":\\\"v\\\"", "\\\"name\\\":\\\"w\\\"", "tensor 'w' has elements that *a.safetensors has too"},
    /* sizes of the whole */
    {"\"shape\":[2]", "\"shape\":[1,2,1,1]", NULL},
    {"\"shape\":[2],\"data_offsets\":[2416,2424]},\"v.momentum_buffer\":{\"dtype\":\"U8\",\"shape\":[300],"
     "\"data_offsets\":[2424,2724]}",
     "\"shape\":[3],\"data_offsets\":[2416,2428]},\"v.momentum_buffer\":{\"dtype\":\"U8\",\"shape\":[296],"
     "\"data_offsets\":[2428,2724]}",
     "tensor 'v.momentum_buffer' has 296 elements, must be 300 as tensor 1 'v'"},
};

Test(checkpoint_refused, headers)
{
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        replace(wrong[i].from, wrong[i].to);
        if (wrong[i].words)
            refused(wrong[i].words);
        else
            OK(fopt_checkpoint_load(&own.run, paths, 1, NULL, NULL));
    }
}

/* Where a name or a part is another, the flags allow it; a strict load does not. */
Test(checkpoint_refused, names)
{
    static const struct {
        const char *from, *to, *words;
    } other[] = {
        {"\"w.exp_avg\"", "\"x.exp_avg\"", "tensor 0 'w': the files do not have exp_avg"},
        {"\"w.step\"", "\"w.steps\"", "tensor 0 'w': the files do not have its step"},
        {"\"w.exp_avg_sq\"", "\"w.\\u001b[2J\"", "tensor 0 'w': the files do not have exp_avg_sq"},
        {"\"v.momentum_buffer.absmax\"", "\"v.absmax\"", "tensor 'v.momentum_buffer' is U8 with 0 scales"},
        {"\\\"name\\\":\\\"w\\\"", "\\\"name\\\":\\\"x\\\"", "tensor 0 'w': the files do not have its step"},
        {"\\\"id\\\":\\\"1\\\"", "\\\"id\\\":\\\"3\\\"", "tensor 0 'w': global_id is 1, but in *a.safetensors 3"},
    };
    for (size_t i = 0; i < LENGTH(other); i++) {
        replace(other[i].from, other[i].to);
        cr_expect_eq(fopt_checkpoint_load(&own.run, paths, 1, NULL, NULL), FOPT_ERR_FILE);
        cr_expect(net_mentions(fopt_last_error(), other[i].words), "%s", fopt_last_error());
    }
}

/* JSON that does not end, or goes deeper than any parser should follow. */
Test(checkpoint_refused, endless_and_deep)
{
    enum { LONG = 5000000 };
    static const struct {
        const char *begin;
        char filling;
    } texts[] = {{"{\"a\":", '['}, {"{\"a\":\"", 'x'}, {"{\"a\":", '9'}, {"{", ' '}, {"{\"", '\\'}};
    char *text = malloc(LONG);
    cr_assert(text);
    for (size_t i = 0; i < LENGTH(texts); i++) {
        memset(text, texts[i].filling, LONG);
        memcpy(text, texts[i].begin, strlen(texts[i].begin));
        write_file(LONG, text, LONG, data, data_bytes);
        refused("the header is not valid JSON");
    }
    for (size_t i = 0; i + 6 < LONG; i += 6)
        memcpy(text + i, "{\"a\":\"", 5), text[i + 5] = ' ';
    write_file(LONG, text, LONG, data, data_bytes);
    refused("the header is not valid JSON");
    free(text);
}

Test(checkpoint_refused, lengths)
{
    const size_t length = strlen(header);
    static const uint64_t lies[] = {0, 1, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, (uint64_t)1 << 32};
    for (size_t i = 0; i < LENGTH(lies); i++) {
        write_file(lies[i], header, length, data, data_bytes);
        refused(lies[i] == 1 ? "not valid JSON" : "the header's length is");
    }
    write_file(length + data_bytes + 1, header, length, data, data_bytes);
    refused("the header's length is");
    write_file(length + data_bytes, header, length, data, data_bytes);
    refused("not valid JSON");
    write_file(length - 1, header, length, data, data_bytes);
    refused("has 1 bytes behind its last tensor"); /* a blank less, a byte more */
    for (size_t bytes = 0; bytes < data_bytes; bytes += 97) {
        write_file(length, header, length, data, bytes);
        refused("but the file has only");
    }
    for (size_t bytes = 0; bytes < 8; bytes++) {
        cr_assert_eq(truncate(path, (off_t)bytes), 0);
        refused("too few for a safetensors file");
    }
}

/* Values that no step could have left. */
Test(checkpoint_refused, values)
{
    static const struct {
        size_t place;
        uint64_t value;
        size_t bytes;
        const char *words;
    } values[] = {
        {0, UINT64_MAX, 8, "tensor 'w.step' is not one integer from 0 to 2^53"},
        {8, ((uint64_t)1 << 53) + 1, 8, "tensor 'v.step' is not one integer from 0 to 2^53"},
        {1216 + 4 * 299, 0xbf800000, 4, "tensor 'w.exp_avg_sq': value 299 is -1, but it is a mean of squares"},
        {1216, 0xff800000, 4, "tensor 'w.exp_avg_sq': value 0 is -inf, but it is a mean of squares"},
        {2416, 0x7f800000, 4, "tensor 'v.momentum_buffer.absmax': value 0 is inf, but scales are finite"},
        {2420, 0x7fc00000, 4, "tensor 'v.momentum_buffer.absmax': value 1 is nan, but scales are finite"},
        {2420, 0xbf800000, 4, "tensor 'v.momentum_buffer.absmax': value 1 is -1, but scales are finite"},
    };
    for (size_t i = 0; i < LENGTH(values); i++) {
        static char changed[sizeof data];
        memcpy(changed, data, data_bytes);
        memcpy(changed + values[i].place, &values[i].value, values[i].bytes);
        write_file(strlen(header), header, strlen(header), changed, data_bytes);
        refused(values[i].words);
    }
}

/* Subnormal moments, which other tools leave, become zero; NaN and infinity stay. */
Test(checkpoint_refused, values_that_are_taken)
{
    static const uint32_t values[4] = {0x00000001, 0x007fffff, 0x7f800000, 0x7fc00001};
    static const uint32_t taken[4] = {0, 0, 0x7f800000, 0x7fc00001};
    fopt_array view = {.size = sizeof view};
    memcpy(data + 1216, values, sizeof values);
    write_file(strlen(header), header, strlen(header), data, data_bytes);
    OK(fopt_checkpoint_load(&own.run, paths, 1, NULL, NULL));
    OK(fopt_state(own.run.optimizer, 0, FOPT_SECOND_MOMENT, &view));
    cr_expect_eq(memcmp(view.data, taken, sizeof taken), 0);
}

Test(checkpoint_refused, what_cannot_become_8_bits)
{
    const uint32_t values[] = {0x7f800000, 0x7fc00000, 0x7f000000};
    const fopt_checkpoint_options convert = {.size = sizeof convert, .flags = FOPT_CHECKPOINT_CONVERT};
    fopt_destroy(own.run.optimizer);
    own.groups[0].state_format[FOPT_FIRST_MOMENT] = FOPT_Q8;
    OK(fopt_create(NULL, own.groups, TENSORS, own.tensors, TENSORS, &own.run.optimizer));
    for (size_t i = 0; i < LENGTH(values); i++) {
        memcpy(&data[16 + 4 * 7], &values[i], 4);
        write_file(strlen(header), header, strlen(header), data, data_bytes);
        cr_expect_eq(fopt_checkpoint_load(&own.run, paths, 1, &convert, NULL), FOPT_ERR_FILE);
        cr_expect(net_mentions(fopt_last_error(), "tensor 'w.exp_avg': value 7 is *, which 8 bits cannot be made of"),
                  "%s", fopt_last_error());
    }
}

Test(checkpoint_refused, files_that_are_none)
{
    refused_files(2, "tensor 'v' has elements that *a.safetensors has too"); /* the same file twice */
    unlink(path);
    refused("a.safetensors cannot be opened: No such file or directory");
    cr_assert_eq(mkdir(path, 0700), 0);
    refused("a.safetensors is not a regular file");
    rmdir(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    refused("a.safetensors is not a regular file");
    unlink(path);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    refused("a.safetensors is not a regular file");
}

/* ---- a file of another tool's -------------------------------------------------------------------------------- */

/* Steps in floating point, shapes of several dimensions, no metadata but its own, and another order. */
Test(checkpoint_refused, another_tools_file_is_not)
{
    static const char text[] =
        "{\"v.momentum_buffer\":{\"dtype\":\"U8\",\"shape\":[20,15],\"data_offsets\":[2424,2724]},"
        "\"w.step\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
        "\"v.step\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},"
        "\"w.exp_avg\":{\"dtype\":\"F32\",\"shape\":[3,100],\"data_offsets\":[16,1216]},"
        "\"w.exp_avg_sq\":{\"shape\":[100,1,3],\"data_offsets\":[1216,2416],\"dtype\":\"F32\"},"
        "\"v.momentum_buffer.absmax\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[2416,2424]},"
        "\"__metadata__\":{\"format\":\"pt\"}}";
    const float step = 12;
    const double other_step = 34;
    int64_t steps[TENSORS];
    static float before[3][COUNT], after[3][COUNT];
    read_all(before, steps);
    memcpy(data, &step, sizeof step);
    memcpy(data + 8, &other_step, sizeof other_step);
    write_file(strlen(text), text, strlen(text), data, data_bytes);
    fopt_destroy(own.run.optimizer);
    OK(fopt_create(NULL, own.groups, TENSORS, own.tensors, TENSORS, &own.run.optimizer));
    OK(fopt_checkpoint_load(&own.run, paths, 1, NULL, NULL));
    read_all(after, steps);
    cr_expect_eq(memcmp(before, after, sizeof before), 0);
    cr_expect(steps[0] == 12 && steps[1] == 34);

    const float fraction = 12.5F;
    memcpy(data, &fraction, sizeof fraction);
    write_file(strlen(text), text, strlen(text), data, data_bytes);
    refused("tensor 'w.step' is not one integer");
}

/* ---- arguments ----------------------------------------------------------------------------------------------- */

static void refused_call(fopt_status want, fopt_status status, const char *words)
{
    cr_expect_eq(status, want, "%s: status %d", words, (int)status);
    cr_expect(net_mentions(fopt_last_error(), words), "'%s', not '%s'", fopt_last_error(), words);
}

static void refused_run(const fopt_run *run, const char *words)
{
    char text[200];
    snprintf(text, sizeof text, "fopt_checkpoint_save: %s", words);
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_save(run, path, NULL, NULL), text);
    snprintf(text, sizeof text, "fopt_checkpoint_load: %s", words);
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_load(run, paths, 1, NULL, NULL), text);
}

Test(checkpoint_refused, runs)
{
    fopt_run run = own.run;
    fopt_tensor tensors[TENSORS];
    refused_run(NULL, "run is NULL");
    run.size = 0;
    refused_run(&run, "run.size is 0, must be the sizeof of its type");
    run = own.run;
    run.optimizer = NULL;
    refused_run(&run, "run.optimizer is NULL");
    run = own.run;
    run.tensors = NULL;
    refused_run(&run, "fopt_query_sizes: tensors is NULL, but tensor_count is 2");
    run = own.run;
    run.tensor_count = 1;
    refused_run(&run, "run.tensor_count is 1, but the optimizer has more tensors");
    run = own.run;
    run.tensors = tensors;
    memcpy(tensors, own.tensors, sizeof tensors);
    tensors[1].name = NULL;
    refused_run(&run, "tensor 1: name is NULL");
    tensors[1].name = "w";
    refused_run(&run, "tensor 1 'w': name is that of tensor 0, with elements that it has");
    tensors[1] = own.tensors[1];
    tensors[1].count = 299;
    refused_run(&run, "tensor 1 'v': the optimizer was not created from this description");
    tensors[1] = own.tensors[1];
    tensors[1].group = 0;
    refused_run(&run, "tensor 1 'v': the optimizer was not created from this description");
    tensors[1] = own.tensors[1];
    tensors[1].count = 256;
    tensors[1].full_count = SIZE_MAX;
    tensors[1].global_id = 2;
    refused_run(&run, "tensor 1 'v': full_count is 18446744073709551615, more than a file can say");

    fopt_group groups[TENSORS];
    memcpy(groups, own.groups, sizeof groups);
    groups[0].flags = FOPT_AMSGRAD;
    run = own.run;
    run.groups = groups;
    refused_run(&run, "run: the state of its groups and tensors has 3908 bytes, but the optimizer's has 2708");
}

Test(checkpoint_refused, arguments)
{
    static const char *const no_path[] = {NULL};
    fopt_checkpoint_options options = {.size = 4};
    fopt_tensor tensors[TENSORS];
    fopt_run run = own.run;
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_save(&own.run, NULL, NULL, NULL), "path is NULL");
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_load(&own.run, NULL, 1, NULL, NULL), "paths is NULL");
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_load(&own.run, paths, 0, NULL, NULL), "path_count 0");
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_load(&own.run, no_path, 1, NULL, NULL), "paths[0] is NULL");
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_save(&own.run, path, &options, NULL), "options.size is 4");
    options = (fopt_checkpoint_options){.size = sizeof options, .flags = FOPT_CHECKPOINT_CONVERT};
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_save(&own.run, path, &options, NULL),
                 "options.flags is 0x8, of which 0x8 is not for this call");
    options.flags = 0x30;
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_load(&own.run, paths, 1, &options, NULL), "of which 0x30 is not");
    memcpy(tensors, own.tensors, sizeof tensors);
    run.tensors = tensors;
    tensors[1].name = "w\xff";
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_save(&run, path, NULL, NULL),
                 "tensor 1 'w?': name is not valid UTF-8");
    tensors[1].name = "w.exp_avg";
    options.flags = FOPT_CHECKPOINT_PARAMS;
    OK(fopt_checkpoint_save(&run, path, NULL, NULL));
    refused_call(FOPT_ERR_ARGUMENT, fopt_checkpoint_save(&run, path, &options, NULL),
                 "'w.exp_avg' would be in the file twice");
    struct {
        fopt_checkpoint_options known;
        size_t later;
    } future = {{.size = sizeof future}, 1};
    refused_call(FOPT_ERR_UNSUPPORTED, fopt_checkpoint_save(&own.run, path, &future.known, NULL),
                 "is not zero: fusedopt * knows only the first");
    future.later = 0;
    OK(fopt_checkpoint_save(&own.run, path, &future.known, NULL));
}
