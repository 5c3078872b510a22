/*
 * Sizes around those of vectors, tiles and chunks of work, in memory where one byte beyond the end, or before the
 * beginning, is inaccessible, and at any alignment that the contract allows. The result must be that of the same data
 * in roomy, aligned arrays on the baseline; and that of many tensors together that of each alone.
 */
#include "../api/books.h"
#include "../reference/cases.h"
#include "../reference/oracle.h"
#include "buffers.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 2
#define SEED  5

/* ---- one tensor ---------------------------------------------------------------------------------------------- */

/* A tensor's arrays, each in memory of its own. */
typedef struct set {
    case_formats formats;
    size_t count;
    guarded param, grad, state[FOPT_STATE_KINDS];
} set;

/* Makes an array; `offset` is as for guarded_new(), but in elements of each array. */
static guarded new_array(fopt_format format, size_t count, size_t offset)
{
    return guarded_new(count * numbers_bytes(format), offset == GUARD_END ? offset : offset * numbers_bytes(format));
}

static set new_set(case_formats formats, size_t count, size_t offset)
{
    set s = {.formats = formats, .count = count};
    s.param = new_array(formats.param, count, offset);
    s.grad = new_array(formats.grad, count, offset);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        s.state[kind] = guarded_new(moment_bytes(formats.state, count),
                                    offset == GUARD_END ? offset : offset * numbers_bytes(formats.state));
    return s;
}

static void free_set(set s)
{
    guarded_free(s.param);
    guarded_free(s.grad);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        guarded_free(s.state[kind]);
}

static void fill_set(set s, uint64_t seed)
{
    fill_random(s.formats.param, s.param.data, s.count, seed, 16);
    fill_random(s.formats.grad, s.grad.data, s.count, seed + 1, 16);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        memset(s.state[kind].data, 0, s.state[kind].bytes);
}

static void copy_set(set to, set from)
{
    memcpy(to.param.data, from.param.data, from.param.bytes);
    memcpy(to.grad.data, from.grad.data, from.grad.bytes);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        memcpy(to.state[kind].data, from.state[kind].data, from.state[kind].bytes);
}

/* Copies parameters and gradients, as many as `to` has; its moments are zero. */
static void copy_beginning(set to, set from)
{
    memcpy(to.param.data, from.param.data, to.param.bytes);
    memcpy(to.grad.data, from.grad.data, to.grad.bytes);
    for (size_t kind = 0; kind < FOPT_STATE_KINDS; kind++)
        memset(to.state[kind].data, 0, to.state[kind].bytes);
}

static fopt_tensor describe(set s)
{
    return (fopt_tensor){.size = sizeof(fopt_tensor),
                         .param = s.param.data,
                         .grad = s.grad.data,
                         .count = s.count,
                         .param_format = s.formats.param,
                         .grad_format = s.formats.grad};
}

static fopt_array moments(const fopt_group *group, set s, fopt_state_kind kind)
{
    return moment_array(group->state_format[kind], s.state[kind].data, s.count);
}

/* Makes steps by fopt_update(). */
static void run_updates(set s, const fopt_group *group, fopt_isa isa, int threads, uint64_t id, int64_t steps)
{
    const fopt_config config = {.size = sizeof config, .isa = isa, .threads = threads, .seed = SEED};
    fopt_array states[FOPT_STATE_KINDS];
    fopt_tensor tensor = describe(s);
    tensor.global_id = id;
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        states[kind] = kept_moment(group, kind, s.state[kind].data, s.count);
    for (int64_t step = 1; step <= steps; step++)
        expect_ok(fopt_update(&config, group, &tensor, states, step, NULL, NULL));
}

static void compare_sets(const fopt_group *group, set got, set want)
{
    expect_same("param", got.formats.param, got.param.data, want.param.data, got.count);
    expect_same("grad", got.formats.grad, got.grad.data, want.grad.data, got.count);
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++)
        if (oracle_keeps(group, kind))
            expect_same_moments(fopt_state_kind_name(group->rule, kind), moments(group, got, kind),
                                moments(group, want, kind));
}

/* ---- sizes and alignments ------------------------------------------------------------------------------------ */

/* Offsets in elements: aligned to a page, then barely, then ending at one. */
static const size_t offsets[] = {0, 1, 3, GUARD_END};

static void compare_placements(size_t case_stride, case_formats formats, size_t count, int threads)
{
    set start = new_set(formats, count, 0), want = new_set(formats, count, 0), got[LENGTH(offsets)];
    fill_set(start, count + 1);
    for (size_t i = 0; i < LENGTH(offsets); i++)
        got[i] = new_set(formats, count, offsets[i]);
    for (size_t index = 0; index < case_count(); index += case_stride) {
        char name[CASE_NAME_SIZE];
        fopt_group group = case_group(index);
        case_set_state(&group, formats.state);
        if (group.state_format[0] != formats.state)
            continue;
        case_name(&group, name);
        copy_set(want, start);
        run_updates(want, &group, FOPT_ISA_BASELINE, 1, 1, STEPS);
        for (size_t n = 0; n < isa_count(); n++)
            for (size_t i = 0; i < LENGTH(offsets); i++) {
                const fopt_isa isa = isa_at(n);
                now_running("%s %s/%s/%s %s count=%zu offset=%td", name, fopt_format_name(formats.param),
                            fopt_format_name(formats.grad), fopt_format_name(formats.state), fopt_isa_name(isa), count,
                            (ptrdiff_t)offsets[i]);
                copy_set(got[i], start);
                run_updates(got[i], &group, isa, threads, 1, STEPS);
                compare_sets(&group, got[i], want);
            }
    }
    free_set(start);
    free_set(want);
    for (size_t i = 0; i < LENGTH(offsets); i++)
        free_set(got[i]);
}

/* 7 is prime to what the cases repeat in, so that all kinds of them take part. */
Test(sizes, small)
{
    static const size_t counts[] = {0, 1, 3, 15, 16, 17, 31, 32, 33, 255, 256, 257, 511, 512, 513};
    for (size_t i = 0; i < LENGTH(counts); i++)
        for (size_t f = 0; f < case_formats_count(); f++)
            compare_placements(7, case_formats_at(f), counts[i], 1);
}

Test(sizes, around_65536)
{
    for (size_t count = 65535; count <= 65537; count++)
        for (size_t f = 0; f < case_formats_count(); f += 5)
            compare_placements(45, case_formats_at(f), count, 2);
}

Test(sizes, a_million)
{
    for (size_t f = 0; f < case_formats_count(); f += 7)
        compare_placements(70, case_formats_at(f), 1000000, 3);
}

/* Compares `cut` with `whole`, which has one more element of the same data: the others become the same. */
static void compare_part(const fopt_group *group, set whole, set cut, uint64_t seed)
{
    fill_set(whole, seed);
    copy_beginning(cut, whole);
    run_updates(whole, group, FOPT_ISA_AUTO, 1, 1, STEPS);
    run_updates(cut, group, FOPT_ISA_AUTO, 1, 1, STEPS);
    whole.count = cut.count;
    compare_sets(group, cut, whole);
}

/* A partial tile's elements become what they become in a whole one, which may take another way (FOPT_Q8 aside: there
 * they share their scale with those that are missing). */
Test(sizes, a_part_of_a_tile_is_as_the_whole)
{
    for (size_t f = 0; f < case_plain_formats_count(); f++) {
        const case_formats formats = case_formats_at(f);
        const set whole = new_set(formats, 512, 0), cut = new_set(formats, 511, 0);
        for (size_t index = 0; index < case_count(); index++) {
            char name[CASE_NAME_SIZE];
            fopt_group group = case_group(index);
            case_set_state(&group, formats.state);
            case_name(&group, name);
            now_running("%s %s/%s/%s", name, fopt_format_name(formats.param), fopt_format_name(formats.grad),
                        fopt_format_name(formats.state));
            compare_part(&group, whole, cut, index);
        }
        free_set(whole);
        free_set(cut);
    }
}

/* The same of parameters and gradients in bf16 with any of the moments in f32, the others in bf16: what is bf16
 * throughout has a loop of its own, and only that. */
Test(sizes, a_part_of_a_tile_of_mixed_moments)
{
    const case_formats largest = {FOPT_BF16, FOPT_BF16, FOPT_F32};
    const set whole = new_set(largest, 512, 0), cut = new_set(largest, 511, 0);
    for (size_t index = 0; index < case_count(); index++)
        for (unsigned mixture = 0; mixture < 1u << FOPT_STATE_KINDS; mixture++) {
            char name[CASE_NAME_SIZE];
            fopt_group group = case_group(index);
            bool is_new = true;
            for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
                group.state_format[kind] = mixture & 1u << kind ? FOPT_F32 : FOPT_BF16;
                is_new = is_new && (oracle_keeps(&group, kind) || !(mixture & 1u << kind));
            }
            if (!is_new)
                continue;
            case_name(&group, name);
            now_running("%s bf16/bf16, moments %u in f32", name, mixture);
            compare_part(&group, whole, cut, index);
        }
    free_set(whole);
    free_set(cut);
}

Test(sizes, empty_without_pointers)
{
    for (size_t i = 0; i < case_count(); i++) {
        const fopt_group group = case_group(i);
        const fopt_tensor tensor = {.size = sizeof tensor};
        fopt_optimizer *optimizer;
        now_running("case %zu", i);
        expect_ok(fopt_update(NULL, &group, &tensor, NULL, 1, NULL, NULL));
        expect_ok(fopt_create(NULL, &group, 1, &tensor, 1, &optimizer));
        expect_ok(fopt_step(optimizer, NULL, NULL));
        fopt_destroy(optimizer);
    }
}

/* ---- an optimizer -------------------------------------------------------------------------------------------- */

/* An allocator whose blocks end at inaccessible pages. */
typedef struct pool {
    books books;
    guarded blocks[2];
    size_t count;
} pool;

static void *give(books *b, size_t bytes, size_t alignment)
{
    pool *p = (pool *)b;
    if (p->count == LENGTH(p->blocks))
        return NULL;
    /* What the rounding adds, to the block of tables alone, is not watched. */
    guarded *block = &p->blocks[p->count++];
    *block = guarded_new((bytes + alignment - 1) / alignment * alignment, GUARD_END);
    return block->data;
}

static void take(books *b, void *block)
{
    const pool *p = (pool *)b;
    for (size_t i = 0; i < p->count; i++)
        if (p->blocks[i].data == block)
            guarded_free(p->blocks[i]);
}

static void compare_states(const fopt_optimizer *optimizer, size_t tensor, const fopt_group *group, set want)
{
    for (fopt_state_kind kind = 0; kind < FOPT_STATE_KINDS; kind++) {
        fopt_array view = {.size = sizeof view};
        expect_ok(fopt_state(optimizer, tensor, kind, &view));
        const bool keeps = oracle_keeps(group, kind) && want.count > 0;
        cr_assert_eq(view.data != NULL, keeps, "%s", what_runs());
        cr_assert_eq(view.count, keeps ? want.count : 0, "%s", what_runs());
        if (keeps)
            expect_same_moments(fopt_state_kind_name(group->rule, kind), view, moments(group, want, kind));
    }
}

/* Ten thousand tensors of 0 to 40 elements, some larger than a tile, of all cases and all formats, in one optimizer,
 * against fopt_update() of each alone. They lie close together, so that what is written beyond the end of one changes
 * another. */
#define TENSORS 10000

/* Returns the bytes to the next tensor, which begins at a multiple of 4 bytes. */
static size_t packed_bytes(fopt_format format, size_t count)
{
    return (count * numbers_bytes(format) + 3) / 4 * 4;
}

static set describe_small(size_t index, case_formats formats)
{
    return (set){.formats = formats, .count = index % 97 == 0 ? 600 : index % 41};
}

/* Tells whether a tensor has no gradient at the first step, as one in five: then tensors of one group differ in their
 * step counts. */
static bool joins_late(size_t index)
{
    return index % 5 == 0;
}

static void compare_alone(const fopt_optimizer *optimizer, size_t index, const fopt_group *group, set got)
{
    char name[CASE_NAME_SIZE];
    case_name(group, name);
    now_running("%s %s/%s/%s tensor=%zu", name, fopt_format_name(got.formats.param), fopt_format_name(got.formats.grad),
                fopt_format_name(got.formats.state), index);
    set want = new_set(got.formats, got.count, 0);
    fill_set(want, index);
    run_updates(want, group, FOPT_ISA_AUTO, 1, index + 1, joins_late(index) ? STEPS - 1 : STEPS);
    expect_same("param", got.formats.param, got.param.data, want.param.data, got.count);
    expect_same("grad", got.formats.grad, got.grad.data, want.grad.data, got.count);
    compare_states(optimizer, index, group, want);
    free_set(want);
}

Test(sizes, ten_thousand_tensors)
{
    static fopt_tensor tensors[TENSORS];
    static set got[TENSORS];
    static void *all_grads[TENSORS];
    const size_t group_count = case_states_count() * case_count();
    fopt_group *groups = calloc(group_count, sizeof *groups);
    cr_assert_not_null(groups);
    for (size_t i = 0; i < group_count; i++) {
        groups[i] = case_group(i / case_states_count());
        case_set_state(&groups[i], case_state_at(i % case_states_count()));
    }

    size_t param_bytes = 0, grad_bytes = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        case_formats formats = case_formats_at(i % case_formats_count());
        formats.state = groups[i / 31 % group_count].state_format[0];
        got[i] = describe_small(i, formats);
        param_bytes += packed_bytes(formats.param, got[i].count);
        grad_bytes += packed_bytes(formats.grad, got[i].count);
    }
    guarded params = guarded_new(param_bytes, GUARD_END), grads = guarded_new(grad_bytes, GUARD_END);
    char *param = params.data, *grad = grads.data;
    for (size_t i = 0; i < TENSORS; i++) {
        const case_formats formats = got[i].formats;
        got[i].param.data = param;
        got[i].grad.data = grad;
        fill_random(formats.param, param, got[i].count, i, 16);
        fill_random(formats.grad, grad, got[i].count, i + 1, 16);
        param += packed_bytes(formats.param, got[i].count);
        grad += packed_bytes(formats.grad, got[i].count);
        tensors[i] = describe(got[i]);
        tensors[i].group = i / 31 % group_count;
        all_grads[i] = tensors[i].grad;
        if (joins_late(i))
            tensors[i].grad = NULL;
    }

    now_running("%d tensors", TENSORS);
    pool memory = {.books = {.give = give, .take = take}};
    const fopt_config config = {.size = sizeof config,
                                .threads = 2,
                                .seed = SEED,
                                .host_allocator = books_allocator(&memory.books),
                                .device_allocator = books_allocator(&memory.books)};
    fopt_optimizer *optimizer;
    expect_ok(fopt_create(&config, groups, group_count, tensors, TENSORS, &optimizer));
    for (int step = 0; step < STEPS; step++) {
        expect_ok(fopt_step(optimizer, NULL, NULL));
        expect_ok(fopt_set_grads(optimizer, all_grads, NULL));
    }
    for (size_t i = 0; i < TENSORS; i++)
        compare_alone(optimizer, i, &groups[tensors[i].group], got[i]);
    fopt_destroy(optimizer);
    cr_expect_eq(memory.books.live_blocks, 0);
    guarded_free(params);
    guarded_free(grads);
    free(groups);
}
