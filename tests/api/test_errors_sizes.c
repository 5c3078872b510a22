/*
 * The `size` with which every struct begins: one that cannot be right is refused; a smaller one, of a caller compiled
 * against an earlier header, is completed by zeros; a larger one, of a caller compiled against a later header, is
 * accepted as long as the fields that the library does not know are zero.
 */
#include "model.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST 4096 /* that the library accepts */
#define ROOM    (LARGEST + 64)

static model m;
static model_snapshot before;
static fopt_array states[FOPT_STATE_KINDS];

/* ---- a call for each struct, which is given everywhere else what is valid ------------------------------------ */

static fopt_status config_to_query(void *config)
{
    fopt_sizes sizes = {.size = sizeof sizes};
    return fopt_query_sizes(config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &sizes);
}

static fopt_status config_to_create(void *config)
{
    fopt_optimizer *out = m.optimizer;
    fopt_status status = fopt_create(config, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, &out);
    cr_expect(status == FOPT_OK || !out);
    fopt_destroy(out);
    return status;
}

static fopt_status config_to_update(void *config)
{
    return fopt_update(config, &m.groups[ADAM], &m.tensors[ADAM], states, 1, NULL, NULL);
}

static fopt_status groups_to_query(void *groups)
{
    fopt_sizes sizes = {.size = sizeof sizes};
    return fopt_query_sizes(NULL, groups, 2, NULL, 0, &sizes);
}

static fopt_status group_to_update(void *group)
{
    return fopt_update(NULL, group, &m.tensors[ADAM], states, 1, NULL, NULL);
}

static fopt_status group_to_set(void *group)
{
    return fopt_set_group(m.optimizer, ADAM, group, NULL);
}

static fopt_status tensors_to_query(void *tensors)
{
    fopt_sizes sizes = {.size = sizeof sizes};
    return fopt_query_sizes(NULL, m.groups, MODEL_TENSORS, tensors, 2, &sizes);
}

static fopt_status tensor_to_update(void *tensor)
{
    return fopt_update(NULL, &m.groups[ADAM], tensor, states, 1, NULL, NULL);
}

static fopt_status states_to_update(void *given)
{
    return fopt_update(NULL, &m.groups[ADAM], &m.tensors[ADAM], given, 1, NULL, NULL);
}

static fopt_status options_to_step(void *options)
{
    return fopt_step(m.optimizer, options, NULL);
}

static fopt_status sizes_from_query(void *sizes)
{
    return fopt_query_sizes(NULL, m.groups, MODEL_TENSORS, m.tensors, MODEL_TENSORS, sizes);
}

static fopt_status info_from_query(void *info)
{
    return fopt_device_query(m.config.device, info);
}

static fopt_status view_from_state(void *view)
{
    return fopt_state(m.optimizer, ADAM, FOPT_SECOND_MOMENT, view);
}

/* ---- what each is given -------------------------------------------------------------------------------------- */

static const fopt_step_options no_options = {.size = sizeof no_options};
static const fopt_sizes no_sizes = {.size = sizeof no_sizes};
static const fopt_device_info no_info = {.size = sizeof no_info};
static const fopt_array no_view = {.size = sizeof no_view};

typedef struct sized_argument {
    fopt_status (*call)(void *argument);
    const char *name;  /* in messages, of the first one */
    const void *valid; /* `count` of them, one after the other */
    size_t known_size, least, count;
    bool output;
} sized_argument;

static const sized_argument sized_arguments[] = {
    {config_to_query, "config", &m.config, sizeof m.config, offsetof(fopt_config, isa), 1, false},
    {config_to_create, "config", &m.config, sizeof m.config, offsetof(fopt_config, isa), 1, false},
    {config_to_update, "config", &m.config, sizeof m.config, offsetof(fopt_config, isa), 1, false},
    {groups_to_query, "group*0*", m.groups, sizeof *m.groups, offsetof(fopt_group, state_format), 2, false},
    {group_to_update, "group", &m.groups[ADAM], sizeof *m.groups, offsetof(fopt_group, state_format), 1, false},
    {group_to_set, "group 3", &m.groups[ADAM], sizeof *m.groups, offsetof(fopt_group, state_format), 1, false},
    {tensors_to_query, "tensor*0*", m.tensors, sizeof *m.tensors, offsetof(fopt_tensor, global_id), 2, false},
    {tensor_to_update, "tensor", &m.tensors[ADAM], sizeof *m.tensors, offsetof(fopt_tensor, global_id), 1, false},
    {states_to_update, "states[0]", states, sizeof *states, offsetof(fopt_array, absmax), FOPT_STATE_KINDS, false},
    {options_to_step, "options", &no_options, sizeof no_options, sizeof(size_t), 1, false},
    {sizes_from_query, "sizes", &no_sizes, sizeof no_sizes, offsetof(fopt_sizes, table_bytes), 1, true},
    {info_from_query, "info", &no_info, sizeof no_info, offsetof(fopt_device_info, memory_bytes), 1, true},
    {view_from_state, "view", &no_view, sizeof no_view, offsetof(fopt_array, absmax), 1, true},
};
#define SIZED_ARGUMENTS (sizeof sized_arguments / sizeof *sized_arguments)

static void open_model(void)
{
    model_open(&m);
    model_states(&m, ADAM, states);
    model_read(&m, &before);
}

TestSuite(errors_sizes, .init = open_model);

/* Copies a valid argument to zeroed memory, each struct with this size, `stride` bytes apart. */
static void lay_out(unsigned char memory[FOPT_STATE_KINDS * ROOM], const sized_argument *s, size_t size, size_t stride)
{
    memset(memory, 0, (size_t)FOPT_STATE_KINDS * ROOM);
    for (size_t i = 0; i < s->count; i++) {
        memcpy(memory + i * stride, (const char *)s->valid + i * s->known_size, s->known_size);
        memcpy(memory + i * stride, &size, sizeof size);
    }
}

static void expect_refused(const sized_argument *s, unsigned char *memory, fopt_status want, const char *words)
{
    static unsigned char copy[FOPT_STATE_KINDS * ROOM];
    static model_snapshot after;
    memcpy(copy, memory, sizeof copy);
    const fopt_status got = s->call(memory);
    cr_expect_eq(got, want, "'%s': status %d, want %d", words, (int)got, (int)want);
    cr_expect(mentions(fopt_last_error(), words), "got '%s' want '%s'", fopt_last_error(), words);
    cr_expect_eq(memcmp(memory, copy, sizeof copy), 0, "'%s': the argument was written", words);
    model_read(&m, &after);
    cr_expect_eq(memcmp(&after, &before, sizeof after), 0, "'%s': the model changed", words);
}

Test(errors_sizes, impossible)
{
    static _Alignas(64) unsigned char memory[FOPT_STATE_KINDS * ROOM];
    for (const sized_argument *s = sized_arguments; s < sized_arguments + SIZED_ARGUMENTS; s++) {
        const size_t known = s->known_size;
        const size_t bad[] = {0,         1,         s->least - 8, s->least - 1, s->least + 1, known - 1,
                              known + 1, known + 4, LARGEST + 8,  SIZE_MAX - 7, SIZE_MAX};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            char words[128];
            snprintf(words, sizeof words, "%s.size is %zu, must be the sizeof of its type, at least %zu", s->name,
                     bad[i], s->least);
            lay_out(memory, s, bad[i], known);
            expect_refused(s, memory, FOPT_ERR_ARGUMENT, words);
        }
    }
}

Test(errors_sizes, unknown_fields)
{
    static _Alignas(64) unsigned char memory[FOPT_STATE_KINDS * ROOM];
    for (const sized_argument *s = sized_arguments; s < sized_arguments + SIZED_ARGUMENTS; s++) {
        const size_t size = s->known_size + 16;
        for (size_t byte = s->known_size; byte < size && !s->output; byte++) {
            char words[64];
            snprintf(words, sizeof words, "size is %zu and byte %zu is not zero", size, byte);
            lay_out(memory, s, size, size);
            memory[(s->count - 1) * size + byte] = 1; /* of the last struct */
            expect_refused(s, memory, FOPT_ERR_UNSUPPORTED, words);
        }
    }
}

/* Sets what fopt_update() reads and writes to what it was. */
static void reset_update(void)
{
    memcpy(&m.memory, &before.memory, sizeof m.memory);
}

Test(errors_sizes, larger)
{
    static _Alignas(64) unsigned char memory[FOPT_STATE_KINDS * ROOM];
    for (const sized_argument *s = sized_arguments; s < sized_arguments + SIZED_ARGUMENTS; s++) {
        const size_t larger[] = {s->known_size + 8, s->known_size + 16, LARGEST};
        for (size_t i = 0; i < sizeof larger / sizeof *larger; i++) {
            size_t size;
            lay_out(memory, s, larger[i], larger[i]);
            if (s->output)
                memset(memory + s->known_size, 0xff, larger[i] - s->known_size);
            memory[s->count * larger[i]] = 0xa5;
            cr_expect_eq(s->call(memory), FOPT_OK, "%s.size %zu: %s", s->name, larger[i], fopt_last_error());
            memcpy(&size, memory, sizeof size);
            cr_expect_eq(size, larger[i]);
            for (size_t byte = s->known_size; byte < larger[i]; byte++)
                cr_expect_eq(memory[byte], 0, "%s.size %zu: byte %zu", s->name, size, byte);
            cr_expect_eq(memory[s->count * larger[i]], 0xa5, "%s.size %zu: written beyond it", s->name, size);
            reset_update();
        }
    }
}

/* Fields that a smaller struct lacks are zero, whatever lies behind it; nothing behind it is written. The model's own
 * structs are valid without their last fields. */
Test(errors_sizes, smaller)
{
    static _Alignas(64) unsigned char memory[FOPT_STATE_KINDS * ROOM];
    for (const sized_argument *s = sized_arguments; s < sized_arguments + SIZED_ARGUMENTS; s++)
        for (size_t smaller = s->least; smaller < s->known_size; smaller += 8) {
            memset(memory, 0xa5, sizeof memory);
            for (size_t i = 0; i < s->count; i++) {
                memcpy(memory + i * smaller, (const char *)s->valid + i * s->known_size, smaller);
                memcpy(memory + i * smaller, &smaller, sizeof smaller);
            }
            cr_expect_eq(s->call(memory), FOPT_OK, "%s.size %zu: %s", s->name, smaller, fopt_last_error());
            for (size_t byte = s->count * smaller; byte < sizeof memory; byte++)
                cr_assert_eq(memory[byte], 0xa5, "%s.size %zu: byte %zu was written", s->name, smaller, byte);
            reset_update();
        }
}

Test(errors_sizes, group_init)
{
    static _Alignas(8) unsigned char memory[ROOM], untouched[ROOM];
    const size_t known = sizeof(fopt_group), least = offsetof(fopt_group, state_format);
    const size_t bad[] = {0, least - 8, known + 4, LARGEST + 8, SIZE_MAX};
    const size_t good[] = {least, known - 8, known, known + 8, LARGEST};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char words[64];
        snprintf(words, sizeof words, "group.size is %zu*%zu", bad[i], least);
        cr_expect_eq(fopt_group_init((fopt_group *)memory, bad[i], FOPT_ADAM), FOPT_ERR_ARGUMENT);
        cr_expect(mentions(fopt_last_error(), words), "got '%s' want '%s'", fopt_last_error(), words);
        cr_expect_eq(memcmp(memory, untouched, ROOM), 0);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t size;
        memset(memory, 0xff, ROOM);
        ASSERT_OK(fopt_group_init((fopt_group *)memory, good[i], FOPT_ADAM));
        memcpy(&size, memory, sizeof size);
        cr_expect_eq(size, good[i]);
        for (size_t byte = size < known ? size : known; byte < ROOM; byte++)
            cr_expect_eq(memory[byte], byte < size ? 0 : 0xff, "size %zu: byte %zu", size, byte);
    }
}
