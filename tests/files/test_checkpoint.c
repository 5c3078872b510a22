/* Checkpoints that go well: what is saved goes on to the bit, whatever ranks wrote it and read it. */
#include "../reference/numbers.h"
#include "../reference/quantized.h"
#include "net.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(call) cr_assert_eq(call, FOPT_OK, "%s: %s", #call, fopt_last_error())

enum { PARAM_BYTES = NET_TENSORS * NET_BYTES };
static char folder[64], paths[NET_RANKS][96];
static const char *const all_paths[NET_RANKS] = {paths[0], paths[1], paths[2], paths[3],
                                                 paths[4], paths[5], paths[6], paths[7]};
static const fopt_checkpoint_options with_params = {.size = sizeof with_params, .flags = FOPT_CHECKPOINT_PARAMS};

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/fusedopt.XXXXXX");
    cr_assert(mkdtemp(folder));
    for (size_t i = 0; i < NET_RANKS; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%zu.safetensors", folder, i);
}

static void remove_folder(void)
{
    for (size_t i = 0; i < NET_RANKS; i++)
        unlink(paths[i]);
    cr_expect_eq(rmdir(folder), 0, "there is more in %s than was saved", folder);
}

TestSuite(checkpoint, .init = make_folder, .fini = remove_folder);

/* ---- cut anew ------------------------------------------------------------------------------------------------ */

enum { SAVED_AT = 7, END = 107 };
static const size_t rank_counts[] = {1, 2, 3, 8};

/* Goes on from the files of other ranks, with parameters and state that were something else before. */
static void resume(size_t writers, size_t readers, const unsigned char *want)
{
    static unsigned char got[PARAM_BYTES];
    const fopt_checkpoint_options options = {.size = sizeof options,
                                             .flags = FOPT_CHECKPOINT_PARAMS | FOPT_CHECKPOINT_UNEXPECTED};
    net n;
    net_open(&n, &net_host, readers);
    net_train(&n, 500, 503);
    for (size_t r = 0; r < readers; r++)
        OK(fopt_checkpoint_load(&n.ranks[r].run, all_paths, writers, &options, NULL));
    net_train(&n, SAVED_AT, END);
    net_read_params(&n, got);
    cr_expect_eq(memcmp(got, want, sizeof got), 0, "%zu ranks read what %zu ranks wrote", readers, writers);
    net_close(&n);
}

Test(checkpoint, cut_anew)
{
    static unsigned char want[PARAM_BYTES];
    net whole;
    net_open(&whole, &net_host, 1);
    net_train(&whole, 0, END);
    net_read_params(&whole, want);
    net_close(&whole);
    for (size_t w = 0; w < sizeof rank_counts / sizeof *rank_counts; w++) {
        net n;
        net_open(&n, &net_host, rank_counts[w]);
        net_train(&n, 0, SAVED_AT);
        for (size_t r = 0; r < n.rank_count; r++)
            OK(fopt_checkpoint_save(&n.ranks[r].run, paths[r], &with_params, NULL));
        net_close(&n);
        for (size_t r = 0; r < sizeof rank_counts / sizeof *rank_counts; r++)
            resume(rank_counts[w], rank_counts[r], want);
    }
}

/* Files of different steps, of other tensors, and too few of them. */
Test(checkpoint, files_that_do_not_belong_together)
{
    const fopt_checkpoint_options options = {.size = sizeof options, .flags = FOPT_CHECKPOINT_UNEXPECTED};
    net n, whole;
    net_open(&n, &net_host, 3);
    net_train(&n, 0, 2);
    OK(fopt_checkpoint_save(&n.ranks[0].run, paths[0], NULL, NULL));
    OK(fopt_checkpoint_save(&n.ranks[1].run, paths[1], NULL, NULL));
    net_train(&n, 2, 3);
    OK(fopt_checkpoint_save(&n.ranks[2].run, paths[2], NULL, NULL));
    net_open(&whole, &net_host, 1);
    cr_expect_eq(fopt_checkpoint_load(&whole.ranks[0].run, all_paths, 3, NULL, NULL), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "2.safetensors: tensor 'embed.weight[1536:2321].step' is 3, but other "
                                              "parts of it have made 2 steps"),
              "%s", fopt_last_error());
    cr_expect_eq(fopt_checkpoint_load(&whole.ranks[0].run, all_paths, 2, NULL, NULL), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "tensor 0 'embed.weight': the files have all of exp_avg but 785 of its "
                                              "2321 elements"),
              "%s", fopt_last_error());
    cr_expect_eq(fopt_checkpoint_load(&n.ranks[2].run, all_paths, 2, NULL, NULL), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "tensor 0 'embed.weight': the files do not have its step"), "%s",
              fopt_last_error());
    OK(fopt_checkpoint_load(&n.ranks[1].run, all_paths, 2, &options, NULL));
    net_close(&n);
    net_close(&whole);
}

/* ---- one file ------------------------------------------------------------------------------------------------ */

/* Reads a whole file, to be freed. */
static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    cr_assert(file, "%s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    cr_assert(text && fread(text, 1, *bytes, file) == *bytes);
    text[*bytes] = '\0';
    fclose(file);
    return text;
}

static bool same_files(const char *one, const char *other)
{
    size_t bytes, other_bytes;
    char *text = read_file(one, &bytes), *other_text = read_file(other, &other_bytes);
    const bool same = bytes == other_bytes && memcmp(text, other_text, bytes) == 0;
    free(text);
    free(other_text);
    return same;
}

Test(checkpoint, same_state_same_bytes)
{
    net n, loaded;
    net_open(&n, &net_host, 1);
    net_train(&n, 0, 3);
    OK(fopt_checkpoint_save(&n.ranks[0].run, paths[0], &with_params, NULL));
    OK(fopt_checkpoint_save(&n.ranks[0].run, paths[1], &with_params, NULL));
    net_open(&loaded, &net_host, 1);
    OK(fopt_checkpoint_load(&loaded.ranks[0].run, all_paths, 1, &with_params, NULL));
    OK(fopt_checkpoint_save(&loaded.ranks[0].run, paths[2], &with_params, NULL));
    cr_expect(same_files(paths[0], paths[1]));
    cr_expect(same_files(paths[0], paths[2]));
    net_train(&loaded, 3, 4);
    OK(fopt_checkpoint_save(&loaded.ranks[0].run, paths[2], &with_params, NULL));
    cr_expect(!same_files(paths[0], paths[2]));
    net_close(&n);
    net_close(&loaded);
}

/* Without parameters a file is smaller, and a load leaves them alone, whether the file has them or not. */
Test(checkpoint, parameters_on_request)
{
    static unsigned char before[PARAM_BYTES], after[PARAM_BYTES];
    size_t with, without;
    net n, loaded;
    net_open(&n, &net_host, 1);
    net_train(&n, 0, 3);
    OK(fopt_checkpoint_save(&n.ranks[0].run, paths[0], &with_params, NULL));
    OK(fopt_checkpoint_save(&n.ranks[0].run, paths[1], NULL, NULL));
    free(read_file(paths[0], &with));
    free(read_file(paths[1], &without));
    cr_expect_gt(with, without + 20000);
    net_open(&loaded, &net_host, 1);
    net_read_params(&loaded, before);
    for (size_t i = 0; i < 2; i++) {
        OK(fopt_checkpoint_load(&loaded.ranks[0].run, &all_paths[i], 1, NULL, NULL));
        net_read_params(&loaded, after);
        cr_expect_eq(memcmp(before, after, sizeof before), 0);
    }
    cr_expect_eq(fopt_checkpoint_load(&loaded.ranks[0].run, &all_paths[1], 1, &with_params, NULL), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(),
                           "fopt_checkpoint_load: tensor 0 'embed.weight': the files do not have the parameter"),
              "%s", fopt_last_error());
    net_close(&n);
    net_close(&loaded);
}

/* Longer than any buffer, and cut where no buffer ends. */
Test(checkpoint, long_tensors)
{
    enum { COUNT = 3 * 65536 + 1100, CUT = 81 * 256 };
    static float params[2][COUNT], grads[COUNT];
    static const fopt_format formats[] = {FOPT_F32, FOPT_Q8, FOPT_Q8_64};
    for (size_t i = 0; i < COUNT; i++)
        grads[i] = (float)(i % 1013) - 500;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        fopt_group group;
        fopt_tensor whole = {.size = sizeof whole, .name = "long", .param = params[0], .grad = grads};
        fopt_optimizer *one;
        whole.count = COUNT;
        whole.global_id = 3;
        OK(fopt_group_init(&group, sizeof group, FOPT_ADAM));
        group.state_format[FOPT_FIRST_MOMENT] = group.state_format[FOPT_SECOND_MOMENT] = formats[f];
        OK(fopt_create(NULL, &group, 1, &whole, 1, &one));
        OK(fopt_step(one, NULL, NULL));
        const fopt_run run = {sizeof run, one, NULL, &group, 1, &whole, 1};
        OK(fopt_checkpoint_save(&run, paths[0], &with_params, NULL));
        fopt_tensor shards[2] = {whole, whole};
        shards[0].param = params[1];
        shards[0].count = CUT;
        shards[1].param = params[1] + CUT;
        shards[1].grad = grads + CUT;
        shards[1].count = COUNT - CUT;
        shards[1].first_element = CUT;
        shards[0].full_count = shards[1].full_count = COUNT;
        fopt_optimizer *two;
        OK(fopt_create(NULL, &group, 1, shards, 2, &two));
        const fopt_run cut = {sizeof cut, two, NULL, &group, 1, shards, 2};
        OK(fopt_checkpoint_load(&cut, all_paths, 1, &with_params, NULL));
        OK(fopt_checkpoint_save(&cut, paths[1], &with_params, NULL));
        OK(fopt_step(one, NULL, NULL));
        OK(fopt_step(two, NULL, NULL));
        cr_expect_eq(memcmp(params[0], params[1], sizeof params[0]), 0, "format %d, cut", (int)formats[f]);
        OK(fopt_checkpoint_load(&run, &all_paths[1], 1, &with_params, NULL));
        OK(fopt_checkpoint_save(&run, paths[2], &with_params, NULL));
        cr_expect(same_files(paths[0], paths[2]), "format %d, made whole", (int)formats[f]);
        fopt_destroy(one);
        fopt_destroy(two);
    }
}

/* Nothing, and tensors without elements, are a file too. */
Test(checkpoint, nothing)
{
    fopt_group group;
    fopt_tensor empty = {.size = sizeof empty, .name = "empty"};
    fopt_optimizer *optimizer;
    OK(fopt_group_init(&group, sizeof group, FOPT_ADAM));
    OK(fopt_create(NULL, &group, 1, &empty, 1, &optimizer));
    fopt_run run = {sizeof run, optimizer, NULL, &group, 1, &empty, 1};
    OK(fopt_checkpoint_save(&run, paths[0], &with_params, NULL));
    OK(fopt_checkpoint_load(&run, all_paths, 1, &with_params, NULL));
    fopt_destroy(optimizer);
    OK(fopt_create(NULL, NULL, 0, NULL, 0, &optimizer));
    run = (fopt_run){.size = sizeof run, .optimizer = optimizer};
    OK(fopt_checkpoint_save(&run, paths[0], NULL, NULL));
    OK(fopt_checkpoint_load(&run, all_paths, 1, NULL, NULL));
    fopt_destroy(optimizer);
}

/* ---- differences that are allowed ---------------------------------------------------------------------------- */

/* What a load has told, line by line. */
static char told[4000];

static void note(void *context, const char *text)
{
    cr_assert_lt(strlen(told) + strlen(text) + 2, sizeof told);
    strcat(told, text);
    strcat(told, context);
}

static fopt_checkpoint_options allowing(unsigned flags)
{
    told[0] = '\0';
    return (fopt_checkpoint_options){sizeof(fopt_checkpoint_options), flags, note, "\n"};
}

/* Loads a file that is refused unless a flag allows what it lacks, has, or has otherwise. */
static void allowed(const net *n, unsigned flag, const char *refusal, const char *notes)
{
    const fopt_run *run = &n->ranks[0].run;
    const unsigned others = (FOPT_CHECKPOINT_MISSING | FOPT_CHECKPOINT_UNEXPECTED | FOPT_CHECKPOINT_CONVERT) & ~flag;
    fopt_checkpoint_options options = allowing(others);
    size_t bytes, bytes_after;
    void *before = net_snapshot(n, 0, &bytes);
    cr_expect_eq(fopt_checkpoint_load(run, all_paths, 1, &options, NULL), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), refusal), "%s", fopt_last_error());
    void *after = net_snapshot(n, 0, &bytes_after);
    cr_expect(bytes == bytes_after && memcmp(before, after, bytes) == 0, "%s: something was written", refusal);
    cr_expect_str_empty(told);
    options = allowing(flag);
    OK(fopt_checkpoint_load(run, all_paths, 1, &options, NULL));
    cr_expect(net_mentions(told, notes), "%s", told);
    free(before);
    free(after);
}

/* Saves the usual network. */
static void save_usual(void)
{
    net n;
    net_open(&n, &net_host, 1);
    net_train(&n, 0, 3);
    OK(fopt_checkpoint_save(&n.ranks[0].run, paths[0], NULL, NULL));
    net_close(&n);
}

Test(checkpoint, fewer_and_more)
{
    static unsigned char before[PARAM_BYTES], after[PARAM_BYTES];
    save_usual();
    net n;
    net_describe(&n, &net_host, 1);
    n.wholes[9].name = "new.bias";
    n.groups[0].flags = FOPT_AMSGRAD;
    net_create(&n);
    net_read_params(&n, before);
    const fopt_run *run = &n.ranks[0].run;
    fopt_checkpoint_options options = allowing(FOPT_CHECKPOINT_MISSING);
    cr_expect_eq(fopt_checkpoint_load(run, all_paths, 1, &options, NULL), FOPT_ERR_FILE);
    cr_expect(
        net_mentions(fopt_last_error(), "0.safetensors: the optimizer has no place for tensor 'head.bias.exp_avg"),
        "%s", fopt_last_error());
    options = allowing(FOPT_CHECKPOINT_UNEXPECTED);
    cr_expect_eq(fopt_checkpoint_load(run, all_paths, 1, &options, NULL), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "tensor 0 'embed.weight': the files do not have max_exp_avg_sq"), "%s",
              fopt_last_error());
    options = allowing(FOPT_CHECKPOINT_MISSING | FOPT_CHECKPOINT_UNEXPECTED);
    OK(fopt_checkpoint_load(run, all_paths, 1, &options, NULL));
    cr_expect(net_mentions(told, "tensor 0 'embed.weight': the files do not have max_exp_avg_sq\n"
                                 "tensor 9 'new.bias': the files do not have its step\n"
                                 "tensor 9 'new.bias': the files do not have exp_avg\n"
                                 "tensor 9 'new.bias': the files do not have exp_avg_sq\n"
                                 "*0.safetensors: the optimizer has no place for tensor 'head.bias.exp_avg'\n"
                                 "*'head.bias.exp_avg_sq'\n*'head.bias.exp_avg_sq.absmax'\n*'head.bias.step'\n"),
              "%s", told);
    int64_t step;
    OK(fopt_get_step(run->optimizer, 0, &step, NULL));
    cr_expect_eq(step, 3);
    OK(fopt_get_step(run->optimizer, 9, &step, NULL));
    cr_expect_eq(step, 0);
    net_read_params(&n, after);
    cr_expect_eq(memcmp(before, after, sizeof before), 0);
    net_close(&n);
}

Test(checkpoint, missing)
{
    save_usual();
    net n;
    net_describe(&n, &net_host, 1);
    n.groups[0].flags = FOPT_AMSGRAD;
    net_create(&n);
    allowed(&n, FOPT_CHECKPOINT_MISSING, "the files do not have max_exp_avg_sq", "do not have max_exp_avg_sq\n");
    net_close(&n);
}

Test(checkpoint, unexpected)
{
    save_usual();
    net n;
    net_describe(&n, &net_host, 1);
    n.groups[4].momentum = 0;
    net_create(&n);
    allowed(&n, FOPT_CHECKPOINT_UNEXPECTED, "no place for tensor 'layers.1.bias.momentum_buffer'",
            "no place for tensor 'layers.1.bias.momentum_buffer'\n");
    net_close(&n);
}

Test(checkpoint, another_seed_rule_or_id)
{
    save_usual();
    net n;
    net_open(&n, &net_host, 1);
    n.ranks[0].config.seed = 8;
    allowed(&n, FOPT_CHECKPOINT_CONVERT, "0.safetensors: seed is 7, but the optimizer's is 8",
            "seed is 7, but the optimizer's is 8\n");
    net_close(&n);
    net_describe(&n, &net_host, 1);
    n.wholes[1].global_id = 77;
    n.wholes[2].global_id = UINT64_MAX;
    net_create(&n);
    allowed(&n, FOPT_CHECKPOINT_CONVERT, "tensor 1 'layers.0.weight': global_id is 77, but in *0.safetensors 2",
            "global_id is 18446744073709551615, but in *0.safetensors 3\n");
    net_close(&n);
    net_describe(&n, &net_host, 1);
    n.groups[0].rule = FOPT_ADAMW;
    n.groups[0].flags = FOPT_DECOUPLED_DECAY;
    net_create(&n);
    allowed(&n, FOPT_CHECKPOINT_CONVERT, "tensor 0 'embed.weight': rule is adamw, but in *0.safetensors adam",
            "rule is adamw, but in *0.safetensors adam\n");
    net_close(&n);
}

/* ---- other formats ------------------------------------------------------------------------------------------- */

enum { CONVERTED = 5 * 256 + 130 };
static const fopt_format moment_formats[] = {FOPT_F32, FOPT_BF16, FOPT_Q8, FOPT_Q8_64};

typedef struct one {
    float params[CONVERTED], grads[CONVERTED];
    fopt_group group;
    fopt_tensor tensor;
    fopt_run run;
} one;

/* Makes an optimizer of one tensor, with AMSGrad. */
static void open_one(one *o, fopt_format moments)
{
    *o = (one){.tensor = {.size = sizeof o->tensor, .name = "w"}};
    OK(fopt_group_init(&o->group, sizeof o->group, FOPT_ADAM));
    o->group.flags = FOPT_AMSGRAD;
    for (int kind = 0; kind < FOPT_MOMENTUM_BUFFER; kind++)
        o->group.state_format[kind] = moments;
    for (size_t i = 0; i < CONVERTED; i++)
        o->grads[i] = i % 7 == 0 ? 0 : (float)((int)(i * 37 % 101) - 50) * (i % 64 == 3 ? 1e-4F : 0.1F);
    o->tensor.param = o->params;
    o->tensor.grad = o->grads;
    o->tensor.count = CONVERTED;
    o->run = (fopt_run){sizeof o->run, NULL, NULL, &o->group, 1, &o->tensor, 1};
    OK(fopt_create(NULL, &o->group, 1, &o->tensor, 1, &o->run.optimizer));
}

/* Returns a view of a moment. */
static fopt_array moment(const one *o, fopt_state_kind kind)
{
    fopt_array view = {.size = sizeof view};
    OK(fopt_state(o->run.optimizer, 0, kind, &view));
    return view;
}

static double value_at(const fopt_array *view, fopt_state_kind kind, size_t i)
{
    return is_quantized(view->format) ? quantized_get(view, kind, i)
                                      : numbers_value(view->format, numbers_get(view->format, view->data, i));
}

/* Returns the least distance of a value from what a block's codes stand for. */
static double least_distance(const fopt_array *view, fopt_state_kind kind, size_t i, double value)
{
    double least = HUGE_VAL;
    const double absmax = (double)view->absmax[i / quantized_block(view->format)];
    for (unsigned code = 0; code < 256; code++) {
        const double distance = fabs(quantized_value(view->format, moment_has_sign(kind), code) * absmax - value);
        if (distance < least && !(code == 0 && !moment_has_sign(kind) && value > 0))
            least = distance;
    }
    return least;
}

static void expect_converted(const one *from, const one *to, fopt_state_kind kind)
{
    const fopt_array source = moment(from, kind), target = moment(to, kind);
    for (size_t i = 0; i < CONVERTED; i++) {
        const double value = value_at(&source, kind, i), got = value_at(&target, kind, i);
        const double error = fabs(got - value);
        double bound = is_quantized(source.format) ? fabs(value) * 0x1p-23 : 0; /* a product in float */
        if (target.format == FOPT_BF16)
            bound += numbers_spacing(FOPT_BF16, value) / 2;
        else if (target.format != FOPT_F32 && target.format != source.format)
            bound += least_distance(&target, kind, i, value) * 1.0001 + fabs(value) * 2e-7;
        cr_assert_leq(error, bound, "kind %d, format %d to %d, element %zu: %g became %g", (int)kind,
                      (int)source.format, (int)target.format, i, value, got);
    }
}

Test(checkpoint, conversions)
{
    static one from, to;
    const size_t count = sizeof moment_formats / sizeof *moment_formats;
    for (size_t pair = 0; pair < count * count; pair++) {
        const fopt_format source = moment_formats[pair / count], target = moment_formats[pair % count];
        open_one(&from, source);
        for (int i = 0; i < 3; i++)
            OK(fopt_step(from.run.optimizer, NULL, NULL));
        OK(fopt_checkpoint_save(&from.run, paths[0], NULL, NULL));
        open_one(&to, target);
        char refusal[300], line[200];
        snprintf(line, sizeof line, "tensor 'w.exp_avg' is %s, but %s in the optimizer", fopt_format_name(source),
                 fopt_format_name(target));
        snprintf(refusal, sizeof refusal, "fopt_checkpoint_load: *0.safetensors: %s", line);
        fopt_checkpoint_options options = allowing(FOPT_CHECKPOINT_CONVERT);
        cr_expect_eq(fopt_checkpoint_load(&to.run, all_paths, 1, NULL, NULL),
                     source == target ? FOPT_OK : FOPT_ERR_FILE);
        cr_expect(source == target || net_mentions(fopt_last_error(), refusal), "%s", fopt_last_error());
        OK(fopt_checkpoint_load(&to.run, all_paths, 1, &options, NULL));
        cr_expect(source == target ? !*told : net_mentions(told, line), "%s", told);
        for (int kind = 0; kind < FOPT_MOMENTUM_BUFFER; kind++)
            expect_converted(&from, &to, (fopt_state_kind)kind);
        fopt_destroy(from.run.optimizer);
        fopt_destroy(to.run.optimizer);
    }
}

/* Parameters of another format become the nearest. */
Test(checkpoint, converted_parameters)
{
    static const fopt_format formats[] = {FOPT_F32, FOPT_BF16, FOPT_F16};
    static one from, to;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (size_t t = 0; t < sizeof formats / sizeof *formats; t++) {
            open_one(&from, FOPT_F32);
            open_one(&to, FOPT_F32);
            from.tensor.param_format = formats[f];
            to.tensor.param_format = formats[t];
            for (size_t i = 0; i < CONVERTED; i++)
                numbers_set(formats[f], from.params, i,
                            numbers_nearest(formats[f], i == 5 ? 1e-40 : ((double)i - 700) / 3));
            OK(fopt_checkpoint_save(&from.run, paths[0], &with_params, NULL));
            const fopt_checkpoint_options options = allowing(FOPT_CHECKPOINT_PARAMS | FOPT_CHECKPOINT_CONVERT);
            cr_expect_eq(fopt_checkpoint_load(&to.run, all_paths, 1, &with_params, NULL),
                         f == t ? FOPT_OK : FOPT_ERR_FILE);
            OK(fopt_checkpoint_load(&to.run, all_paths, 1, &options, NULL));
            for (size_t i = 0; i < CONVERTED; i++)
                cr_assert_eq(
                    numbers_get(formats[t], to.params, i),
                    numbers_nearest(formats[t], numbers_value(formats[f], numbers_get(formats[f], from.params, i))));
            fopt_destroy(from.run.optimizer);
            fopt_destroy(to.run.optimizer);
        }
}

/* ---- the example --------------------------------------------------------------------------------------------- */

int example_main(void);
#define main  example_main
#define path  example_path
#define train example_train
#include "../../examples/checkpoint.c" /* NOLINT(bugprone-suspicious-include) */
#undef main

Test(checkpoint, the_example_runs)
{
    cr_redirect_stdout();
    cr_assert_eq(chdir(folder), 0);
    cr_expect_eq(example_main(), 0);
    fflush(stdout);
    cr_expect_stdout_eq_str("resumed: the same bits\n"
                            "fopt_checkpoint_load: checkpoint.safetensors: tensor 'w.exp_avg' is f32, but bf16 in the "
                            "optimizer\n");
    cr_expect_eq(unlink("checkpoint.safetensors"), 0);
}
