/* What the functions of fusedopt.h do when all goes well, besides the arithmetic. */
#include "model.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static model m;

/* ---- words --------------------------------------------------------------------------------------------------- */

Test(api, version)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", FOPT_VERSION_MAJOR, FOPT_VERSION_MINOR, FOPT_VERSION_PATCH);
    cr_expect_eq(fopt_version(), FOPT_VERSION);
    cr_expect_str_eq(fopt_version_string(), text);
}

Test(api, status_strings)
{
    for (int i = FOPT_OK; i <= FOPT_ERR_FILE + 1; i++) {
        const char *text = fopt_status_string((fopt_status)i); /* the last is unknown */
        cr_assert_not_null(text);
        cr_expect_gt(strlen(text), 0);
        for (int j = FOPT_OK; j < i; j++)
            cr_expect_str_neq(text, fopt_status_string((fopt_status)j));
    }
    cr_expect_not_null(fopt_status_string((fopt_status)-1));
}

Test(api, a_companion_sets_the_last_error)
{
    char longest[1000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    fopt_set_last_error("a file: \033[2J");
    cr_expect_str_eq(fopt_last_error(), "a file: ?[2J");
    fopt_set_last_error(fopt_last_error() + 2);
    cr_expect_str_eq(fopt_last_error(), "file: ?[2J");
    fopt_set_last_error(longest);
    cr_expect_eq(strlen(fopt_last_error()), 511);
    fopt_set_last_error(NULL);
    cr_expect_str_eq(fopt_last_error(), "");
}

Test(api, names)
{
    cr_expect_str_eq(fopt_rule_name(FOPT_SGD), "sgd");
    cr_expect_str_eq(fopt_rule_name(FOPT_RMSPROP), "rmsprop");
    cr_expect_str_eq(fopt_rule_name(FOPT_ADAM), "adam");
    cr_expect_str_eq(fopt_rule_name(FOPT_ADAMW), "adamw");
    cr_expect_str_eq(fopt_format_name(FOPT_F32), "f32");
    cr_expect_str_eq(fopt_format_name(FOPT_BF16), "bf16");
    cr_expect_str_eq(fopt_format_name(FOPT_F16), "f16");
    cr_expect_str_eq(fopt_isa_name(FOPT_ISA_AUTO), "auto");
    cr_expect_str_eq(fopt_isa_name(FOPT_ISA_BASELINE), "baseline");
    cr_expect_str_eq(fopt_isa_name(FOPT_ISA_AVX2), "avx2");
    cr_expect_str_eq(fopt_isa_name(FOPT_ISA_AVX512), "avx512");
    cr_expect_str_eq(fopt_isa_name(FOPT_ISA_AVX512_VBMI), "avx512vbmi");
    for (int unknown = 99; unknown >= -1; unknown -= 100) {
        cr_expect_null(fopt_rule_name((fopt_rule)unknown));
        cr_expect_null(fopt_format_name((fopt_format)unknown));
        cr_expect_null(fopt_isa_name((fopt_isa)unknown));
        cr_expect_null(fopt_state_kind_name((fopt_rule)unknown, FOPT_SECOND_MOMENT));
        cr_expect_null(fopt_state_kind_name(FOPT_ADAM, (fopt_state_kind)unknown));
    }
}

/* PyTorch's names; NULL for what a rule never keeps. */
Test(api, state_names)
{
    static const char *const names[][FOPT_STATE_KINDS] = {
        [FOPT_SGD] = {NULL, NULL, NULL, "momentum_buffer"},
        [FOPT_RMSPROP] = {"grad_avg", "square_avg", NULL, "momentum_buffer"},
        [FOPT_ADAM] = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", NULL},
        [FOPT_ADAMW] = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", NULL},
    };
    for (int rule = FOPT_SGD; rule <= FOPT_ADAMW; rule++)
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            const char *got = fopt_state_kind_name((fopt_rule)rule, (fopt_state_kind)kind), *want = names[rule][kind];
            cr_expect(want ? got && strcmp(got, want) == 0 : !got, "rule %d, kind %d: got %s", rule, kind, got);
        }
}

static void *fail_in_thread(void *unused)
{
    (void)unused;
    cr_expect_str_eq(fopt_last_error(), "");
    cr_expect_eq(fopt_set_lr(NULL, 0, 0, NULL), FOPT_ERR_ARGUMENT);
    cr_expect_str_eq(fopt_last_error(), "fopt_set_lr: optimizer is NULL");
    return NULL;
}

Test(api, last_error)
{
    pthread_t thread;
    int count;
    cr_expect_str_eq(fopt_last_error(), "");
    cr_expect_eq(fopt_device_count(FOPT_CPU, NULL), FOPT_ERR_ARGUMENT);
    cr_expect_str_eq(fopt_last_error(), "fopt_device_count: count is NULL");
    ASSERT_OK(fopt_device_count(FOPT_CPU, &count));
    cr_expect_str_eq(fopt_last_error(), "fopt_device_count: count is NULL", "a success changed it");
    cr_assert_eq(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    pthread_join(thread, NULL);
    cr_expect_str_eq(fopt_last_error(), "fopt_device_count: count is NULL", "another thread changed it");
}

/* ---- devices and defaults ------------------------------------------------------------------------------------ */

/* "A call that succeeds leaves it alone." */
Test(api, a_count_leaves_the_last_error)
{
    int count = -1;
    cr_expect_eq(fopt_device_count(FOPT_CPU, NULL), FOPT_ERR_ARGUMENT);
    ASSERT_OK(fopt_device_count(FOPT_CUDA, &count));
    cr_expect_str_eq(fopt_last_error(), "fopt_device_count: count is NULL");
}

Test(api, devices)
{
    fopt_device_info info = {.size = sizeof info};
    int count;
    ASSERT_OK(fopt_device_count(FOPT_CPU, &count));
    cr_expect_eq(count, 1);
    ASSERT_OK(fopt_device_count(FOPT_CUDA, &count));
    cr_expect_geq(count, 0);
    ASSERT_OK(fopt_device_query((fopt_device){FOPT_CPU, 0}, &info));
    cr_expect_gt(strlen(info.name), 0);
    cr_expect(info.isas & 1u << FOPT_ISA_BASELINE);
    cr_expect_neq(info.isa, FOPT_ISA_AUTO);
    cr_expect_geq(info.threads, 1);
}

Test(api, group_defaults)
{
    static const fopt_group defaults[] = {
        [FOPT_SGD] = {.lr = 1e-3},
        [FOPT_RMSPROP] = {.lr = 1e-2, .alpha = 0.99, .eps = 1e-8},
        [FOPT_ADAM] = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        [FOPT_ADAMW] = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-2},
    };
    for (int rule = FOPT_SGD; rule <= FOPT_ADAMW; rule++) {
        fopt_group want = defaults[rule], got;
        want.size = sizeof want;
        want.rule = (fopt_rule)rule;
        want.flags = rule == FOPT_ADAMW ? FOPT_DECOUPLED_DECAY : 0;
        memset(&got, 0xff, sizeof got);
        ASSERT_OK(fopt_group_init(&got, sizeof got, (fopt_rule)rule));
        cr_expect_eq(memcmp(&got, &want, sizeof got), 0, "%s", fopt_rule_name((fopt_rule)rule));
    }
}

/* No configuration is the same as one of zeros. */
Test(api, default_config)
{
    static model other;
    static model_snapshot got, want;
    model_describe(&m);
    model_describe(&other);
    m.config = (fopt_config){.size = sizeof m.config};
    model_create(&m);
    ASSERT_OK(fopt_create(NULL, other.groups, MODEL_TENSORS, other.tensors, MODEL_TENSORS, &other.optimizer));
    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    ASSERT_OK(fopt_step(other.optimizer, NULL, NULL));
    model_read(&m, &want);
    model_read(&other, &got);
    cr_expect_eq(memcmp(&got, &want, sizeof got), 0);
    fopt_destroy(m.optimizer);
    fopt_destroy(other.optimizer);
    fopt_destroy(NULL);
}

/* ---- descriptions -------------------------------------------------------------------------------------------- */

/* As a caller lays its own data around ours, and as one does that was compiled against a later header. */
typedef struct larger_group {
    fopt_group group;
    double zero[3];
} larger_group;

typedef struct larger_tensor {
    fopt_tensor tensor;
    void *zero[5];
} larger_tensor;

Test(api, larger_structs)
{
    static larger_group groups[MODEL_TENSORS];
    static larger_tensor tensors[MODEL_TENSORS];
    model_describe(&m);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        groups[i].group = m.groups[i];
        groups[i].group.size = sizeof groups[i];
        tensors[i].tensor = m.tensors[i];
        tensors[i].tensor.size = sizeof tensors[i];
    }
    ASSERT_OK(fopt_create(&m.config, &groups->group, MODEL_TENSORS, &tensors->tensor, MODEL_TENSORS, &m.optimizer));
    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    model_expect_as_fresh(&m);
}

/* All descriptions are copied: the caller may overwrite them. */
Test(api, descriptions_are_copied)
{
    static char names[MODEL_TENSORS][16];
    static fopt_group groups[MODEL_TENSORS];
    static fopt_tensor tensors[MODEL_TENSORS];
    model_describe(&m);
    memcpy(groups, m.groups, sizeof groups);
    memcpy(tensors, m.tensors, sizeof tensors);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        snprintf(names[i], sizeof names[i], "%s", model_names[i]);
        tensors[i].name = names[i];
    }
    fopt_config config = m.config;
    ASSERT_OK(fopt_create(&config, groups, MODEL_TENSORS, tensors, MODEL_TENSORS, &m.optimizer));
    memset(names, 'x', sizeof names);
    memset(groups, 0xff, sizeof groups);
    memset(tensors, 0xff, sizeof tensors);
    memset(&config, 0xff, sizeof config);

    void *grads[MODEL_TENSORS] = {NULL, NULL, NULL, m.memory.params[0], NULL};
    cr_expect_eq(fopt_set_grads(m.optimizer, grads, NULL), FOPT_ERR_ARGUMENT);
    cr_expect(mentions(fopt_last_error(), "tensor 3 'adam'*tensor 0 'sgd'"), "%s", fopt_last_error());
    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    model_expect_as_fresh(&m);
}

Test(api, long_and_odd_names)
{
    static char name[5000];
    static const char *const odd[] = {"%s%n%d", "", "\xc3\xa9\xe2\x82\xac"};
    memset(name, 'n', sizeof name - 1);
    model_describe(&m);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        m.tensors[i].name = odd[i];
    m.tensors[ADAM].name = name;
    m.tensors[ADAMW].name = NULL;
    model_create(&m);
    for (size_t i = 0; i < MODEL_TENSORS; i++) {
        char words[64];
        void *grads[MODEL_TENSORS] = {NULL};
        grads[i] = m.memory.params[i];
        cr_expect_eq(fopt_set_grads(m.optimizer, grads, NULL), FOPT_ERR_ARGUMENT);
        if (m.tensors[i].name)
            snprintf(words, sizeof words, "tensor %zu '%.32s*: grad", i, m.tensors[i].name);
        else
            snprintf(words, sizeof words, "tensor %zu: grad", i);
        cr_expect(mentions(fopt_last_error(), words), "got '%s' want '%s'", fopt_last_error(), words);
    }
    fopt_destroy(m.optimizer);
}

/* A log or a terminal prints what a message quotes: nothing in it may act there, and every character is whole. */
Test(api, names_are_printed_safely)
{
    static const struct {
        const char *name, *printed;
    } rows[] = {
        {"layer\n2", "layer?2"},
        {"\x1b[31mred\r\t\x7f", "?[31mred???"},
        {"\xc2\x9b"
         "31m",
         "?31m"},                                                  /* U+009B, ESC [ in one */
        {"\xff\xfe\xc3", "???"},                                   /* no UTF-8 */
        {"\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80", "?? ??? ????"}, /* too long, a surrogate, too large */
        /* NOLINTNEXTLINE(misc-misleading-bidirectional): that is what it is about */
        {"\xe2\x80\xae"
         "evil\xe2\x80\xa8",
         "?evil?"}, /* right to left, a line's end */
        {"W\xc3\xa4rme \xf0\x9f\x94\xa5", "W\xc3\xa4rme \xf0\x9f\x94\xa5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char words[80];
        void *grads[MODEL_TENSORS] = {m.memory.params[0]};
        model_describe(&m);
        m.tensors[0].name = rows[i].name;
        model_create(&m);
        cr_expect_eq(fopt_set_grads(m.optimizer, grads, NULL), FOPT_ERR_ARGUMENT);
        snprintf(words, sizeof words, "fopt_set_grads: tensor 0 '%s': grad is", rows[i].printed);
        cr_expect(strncmp(fopt_last_error(), words, strlen(words)) == 0, "row %zu: got '%s' want '%s'", i,
                  fopt_last_error(), words);
        fopt_destroy(m.optimizer);
    }
}

/* A name that is cut is cut between characters. */
Test(api, long_names_are_cut_between_characters)
{
    for (size_t shift = 0; shift < 4; shift++) {
        char name[201] = "";
        void *grads[MODEL_TENSORS] = {m.memory.params[0]};
        memset(name, 'x', shift);
        for (size_t i = 0; i < 40; i++)
            memcpy(name + shift + 4 * i, "\xf0\x9f\x94\xa5", 4);
        model_describe(&m);
        m.tensors[0].name = name;
        model_create(&m);
        cr_expect_eq(fopt_set_grads(m.optimizer, grads, NULL), FOPT_ERR_ARGUMENT);
        const char *quote = strchr(fopt_last_error(), '\''), *end = quote ? strchr(quote + 1, '\'') : NULL;
        cr_assert(quote && end, "%s", fopt_last_error());
        const size_t length = (size_t)(end - quote - 1);
        cr_expect_eq((length - shift) % 4, 0, "cut after %zu bytes", length);
        cr_expect(length > 60 && memcmp(quote + 1, name, length) == 0);
        fopt_destroy(m.optimizer);
    }
}

/* ---- nothing to do ------------------------------------------------------------------------------------------- */

Test(api, empty_optimizers)
{
    fopt_optimizer *optimizer;
    model_describe(&m);
    for (size_t groups = 0; groups <= MODEL_TENSORS; groups += MODEL_TENSORS) {
        ASSERT_OK(fopt_create(NULL, groups > 0 ? m.groups : NULL, groups, NULL, 0, &optimizer));
        ASSERT_OK(fopt_step(optimizer, NULL, NULL));
        ASSERT_OK(fopt_set_grads(optimizer, NULL, NULL));
        ASSERT_OK(fopt_zero_grads(optimizer, NULL));
        fopt_destroy(optimizer);
    }
}

/* Their pointers are never followed, whether NULL or not. */
Test(api, empty_tensors)
{
    model_describe(&m);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        m.tensors[i].count = i == MOMENTUM ? MODEL_ELEMENTS : 0;
    m.tensors[SGD].param = m.tensors[SGD].grad = NULL;
    m.tensors[ADAM].param = m.tensors[ADAM].grad = (void *)1;
    model_create(&m);
    ASSERT_OK(fopt_step(m.optimizer, NULL, NULL));
    ASSERT_OK(fopt_zero_grads(m.optimizer, NULL));
    fopt_array view = {.size = sizeof view, .data = &view, .count = 1, .bytes = 1};
    ASSERT_OK(fopt_state(m.optimizer, ADAM, FOPT_FIRST_MOMENT, &view));
    cr_expect(!view.data && view.count == 0 && view.bytes == 0);
    fopt_destroy(m.optimizer);

    for (size_t i = 0; i < MODEL_TENSORS; i++)
        if (i != MOMENTUM)
            ASSERT_OK(fopt_update(NULL, &m.groups[i], &m.tensors[i], NULL, 1, NULL, NULL));
}

/* Views of what a rule does not keep are empty; the others are whole. */
Test(api, state_views)
{
    static const unsigned kept[MODEL_TENSORS] = {
        [MOMENTUM] = 1u << FOPT_MOMENTUM_BUFFER,
        [RMSPROP] = 1u << FOPT_FIRST_MOMENT | 1u << FOPT_SECOND_MOMENT | 1u << FOPT_MOMENTUM_BUFFER,
        [ADAM] = 1u << FOPT_FIRST_MOMENT | 1u << FOPT_SECOND_MOMENT | 1u << FOPT_MAX_SECOND_MOMENT,
        [ADAMW] = 1u << FOPT_FIRST_MOMENT | 1u << FOPT_SECOND_MOMENT,
    };
    model_open(&m);
    for (size_t i = 0; i < MODEL_TENSORS; i++)
        for (int kind = 0; kind < FOPT_STATE_KINDS; kind++) {
            const bool keeps = (kept[i] & 1u << kind) != 0;
            const size_t count = keeps ? MODEL_ELEMENTS : 0, element = i == ADAMW ? 2 : 4;
            fopt_array view = {.size = sizeof view, .data = &view, .count = 1, .bytes = 1};
            ASSERT_OK(fopt_state(m.optimizer, i, (fopt_state_kind)kind, &view));
            cr_expect_eq(view.data != NULL, keeps, "%s, kind %d", model_names[i], kind);
            cr_expect_eq(view.count, count);
            cr_expect_eq(view.bytes, count * element);
            cr_expect(!keeps || view.format == (i == ADAMW ? FOPT_BF16 : FOPT_F32));
        }
    fopt_destroy(m.optimizer);
}
