/*
 * What becomes of a checkpoint when the disk, the memory or the process fails: the old file or the new one is there,
 * and an optimizer gets all of a file, or is told that it has not. The system's calls are wrapped by the linker;
 * jansson has a place for its own.
 */
#include "net.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OK(call) cr_assert_eq(call, FOPT_OK, "%s: %s", #call, fopt_last_error())

/* ---- calls that fail ----------------------------------------------------------------------------------------- */

typedef enum call { WRITE, FSYNC, RENAME, TRUNCATE, READ, OPEN, LOCK, ALLOCATE, CALLS } call;
static const char *const call_names[CALLS] = {"write", "fsync", "rename", "ftruncate",
                                              "pread", "open",  "lock",   "malloc"};

/* What is to happen at the nth wrapped call from now: one of a kind, or of any if `any`. */
static struct {
    bool armed, any;
    call kind;
    size_t left;
    int error;         /* the call fails with it; 0: it does not */
    void (*act)(void); /* done before the call, or NULL */
} fault;

/* The calls so far, a letter each. */
static char call_log[200];

/* Tells whether this call is the one, and fails. */
static bool fails(call kind)
{
    const size_t logged = strlen(call_log);
    if (kind != ALLOCATE && logged + 1 < sizeof call_log)
        call_log[logged] = call_names[kind][0];
    if (!fault.armed || (fault.any ? kind == ALLOCATE : kind != fault.kind) || --fault.left > 0)
        return false;
    fault.armed = false;
    if (fault.act)
        fault.act();
    errno = fault.error ? fault.error : errno;
    return fault.error != 0;
}

static void arm(call kind, size_t nth, int error)
{
    fault.armed = true;
    fault.any = false;
    fault.kind = kind;
    fault.left = nth;
    fault.error = error;
    fault.act = NULL;
}

static bool short_writes;

/* NOLINTBEGIN(bugprone-reserved-identifier): the names are the linker's. */

/* Those with 64 are what the library's calls are, which asks for files of any length. */
ssize_t __real_write(int file, const void *from, size_t bytes);
ssize_t __wrap_write(int file, const void *from, size_t bytes);
ssize_t __wrap_write(int file, const void *from, size_t bytes)
{
    return fails(WRITE) ? -1 : __real_write(file, from, short_writes && bytes > 1 ? bytes / 2 : bytes);
}

int __real_fsync(int file);
int __wrap_fsync(int file);
int __wrap_fsync(int file)
{
    return fails(FSYNC) ? -1 : __real_fsync(file);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return fails(RENAME) ? -1 : __real_rename(from, to);
}

int __real_ftruncate64(int file, off_t bytes);
int __wrap_ftruncate64(int file, off_t bytes);
int __wrap_ftruncate64(int file, off_t bytes)
{
    return fails(TRUNCATE) ? -1 : __real_ftruncate64(file, bytes);
}

ssize_t __real_pread64(int file, void *to, size_t bytes, off_t from);
ssize_t __wrap_pread64(int file, void *to, size_t bytes, off_t from);
ssize_t __wrap_pread64(int file, void *to, size_t bytes, off_t from)
{
    return fails(READ) ? -1 : __real_pread64(file, to, short_writes && bytes > 1 ? bytes / 2 : bytes, from);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, unsigned mode);
int __wrap_open64(const char *path, int flags, unsigned mode)
{
    return fails(OPEN) ? -1 : __real_open64(path, flags, mode);
}

int __real_flock(int file, int operation);
int __wrap_flock(int file, int operation);
int __wrap_flock(int file, int operation)
{
    return fails(LOCK) ? -1 : __real_flock(file, operation);
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return fails(ALLOCATE) ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails(ALLOCATE) ? NULL : __real_calloc(count, bytes);
}

void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes)
{
    return fails(ALLOCATE) ? NULL : __real_realloc(block, bytes);
}

/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- two states ---------------------------------------------------------------------------------------------- */

enum { COUNT = 300000 };

/* An optimizer whose state is longer than the buffers, after as many steps as its number. */
typedef struct one {
    float *params, *grads;
    fopt_group group;
    fopt_config config;
    fopt_tensor tensor;
    fopt_run run;
} one;

static char folder[64], path[96], unfinished[112];
static const char *const paths[] = {path};
static one states[2];

static void open_one(one *o, int steps)
{
    *o = (one){.params = calloc(COUNT, sizeof(float)), .grads = calloc(COUNT, sizeof(float))};
    cr_assert(o->params && o->grads);
    for (size_t i = 0; i < COUNT; i++)
        o->grads[i] = (float)(i % 1001) * (float)(steps + 1);
    OK(fopt_group_init(&o->group, sizeof o->group, FOPT_ADAM));
    o->group.state_format[FOPT_SECOND_MOMENT] = FOPT_Q8;
    o->config = (fopt_config){.size = sizeof o->config, .threads = 1};
    o->tensor = (fopt_tensor){.size = sizeof o->tensor, .name = "w", .param = o->params, .grad = o->grads};
    o->tensor.count = COUNT;
    o->run = (fopt_run){sizeof o->run, NULL, &o->config, &o->group, 1, &o->tensor, 1};
    OK(fopt_create(&o->config, &o->group, 1, &o->tensor, 1, &o->run.optimizer));
    for (int i = 0; i < steps; i++)
        OK(fopt_step(o->run.optimizer, NULL, NULL));
}

static void close_one(one *o)
{
    fopt_destroy(o->run.optimizer);
    free(o->params);
    free(o->grads);
}

static fopt_status save(int state)
{
    return fopt_checkpoint_save(&states[state].run, path, NULL, NULL);
}

/* Tells whether an optimizer has this state. */
static bool has_state(const one *o, const one *state)
{
    bool same = true;
    int64_t steps, want;
    OK(fopt_get_step(o->run.optimizer, 0, &steps, NULL));
    OK(fopt_get_step(state->run.optimizer, 0, &want, NULL));
    for (int kind = 0; kind < 2; kind++) {
        fopt_array a = {.size = sizeof a}, b = a;
        OK(fopt_state(o->run.optimizer, 0, (fopt_state_kind)kind, &a));
        OK(fopt_state(state->run.optimizer, 0, (fopt_state_kind)kind, &b));
        same = same && memcmp(a.data, b.data, a.bytes) == 0 &&
               (!a.absmax || memcmp(a.absmax, b.absmax, (COUNT + 255) / 256 * sizeof(float)) == 0);
    }
    return same && steps == want;
}

/* Returns the number of the state that the file has, -1 if it does not load. */
static int saved_state(void)
{
    static one o;
    open_one(&o, 0);
    int found = -1;
    if (fopt_checkpoint_load(&o.run, paths, 1, NULL, NULL) == FOPT_OK)
        found = has_state(&o, &states[0]) ? 0 : has_state(&o, &states[1]) ? 1 : -2;
    close_one(&o);
    return found;
}

static void set_up(void)
{
    snprintf(folder, sizeof folder, "/tmp/fusedopt.XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    snprintf(unfinished, sizeof unfinished, "%s.unfinished", path);
    open_one(&states[0], 1);
    open_one(&states[1], 2);
    OK(save(0));
}

static size_t files_in_folder(void)
{
    size_t count = 0;
    DIR *listed = opendir(folder);
    cr_assert(listed);
    while (readdir(listed))
        count++;
    closedir(listed);
    return count - 2;
}

static void tear_down(void)
{
    close_one(&states[0]);
    close_one(&states[1]);
    unlink(path);
    cr_expect_eq(rmdir(folder), 0, "something is left in %s", folder);
}

TestSuite(checkpoint_disk, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- saves that fail ----------------------------------------------------------------------------------------- */

/* Lets each call of a kind fail in turn. */
static void fail_saves(call kind, int error)
{
    fopt_status status = FOPT_OK;
    size_t nth = 1;
    for (; nth < 1000; nth++) {
        arm(kind, nth, error);
        status = save(1);
        fault.armed = false;
        if (status == FOPT_OK)
            break;
        const bool in_place = net_mentions(fopt_last_error(), "is new and whole");
        cr_expect_eq(status, kind == ALLOCATE ? FOPT_ERR_MEMORY : FOPT_ERR_FILE, "%s", fopt_last_error());
        cr_expect(net_mentions(fopt_last_error(), kind == ALLOCATE ? "fopt_checkpoint_save: no memory"
                                                                   : "fopt_checkpoint_save: *a.safetensors"),
                  "%s", fopt_last_error());
        cr_expect(kind == ALLOCATE || net_mentions(fopt_last_error(), strerror(error)), "%s", fopt_last_error());
        cr_expect_eq(saved_state(), in_place, "%s %zu", call_names[kind], nth);
        cr_expect_eq(files_in_folder(), 1, "%s %zu", call_names[kind], nth);
        OK(save(0));
    }
    cr_expect(status == FOPT_OK && nth > 1, "%s", call_names[kind]);
    cr_expect_eq(saved_state(), 1, "%s", fopt_last_error());
    OK(save(0));
}

Test(checkpoint_disk, a_save_fails)
{
    fail_saves(WRITE, ENOSPC);
    fail_saves(WRITE, EIO);
    fail_saves(FSYNC, EIO);
    fail_saves(RENAME, EACCES);
    fail_saves(TRUNCATE, EIO);
    fail_saves(OPEN, EACCES);
}

/* The new file is on the disk before it has the name, and its folder after. */
Test(checkpoint_disk, the_order_of_calls)
{
    memset(call_log, 0, sizeof call_log);
    OK(save(1));
    cr_expect_str_eq(call_log, "olfwwwwwwfrof");
}

static void *failing_malloc(size_t bytes)
{
    return fails(ALLOCATE) ? NULL : __real_malloc(bytes);
}

Test(checkpoint_disk, no_memory)
{
    json_set_alloc_funcs(failing_malloc, free);
    fail_saves(ALLOCATE, ENOMEM);
}

Test(checkpoint_disk, interrupted_calls_and_short_ones)
{
    for (size_t nth = 1; nth < 4; nth++) {
        arm(WRITE, nth, EINTR);
        OK(save(1));
        arm(READ, nth, EINTR);
        cr_expect_eq(saved_state(), 1);
    }
    short_writes = true;
    OK(save(0));
    cr_expect_eq(saved_state(), 0);
}

/* ---- loads that fail ----------------------------------------------------------------------------------------- */

static void fail_loads(call kind, int error)
{
    fopt_status status = FOPT_OK;
    bool parts = false, wholes = false;
    for (size_t nth = 1; nth < 1000; nth++) {
        arm(kind, nth, error);
        status = fopt_checkpoint_load(&states[1].run, paths, 1, NULL, NULL);
        fault.armed = false;
        if (status == FOPT_OK)
            break;
        const bool part = net_mentions(fopt_last_error(), "the optimizer has a part of the files' state");
        parts = parts || part;
        wholes = wholes || !part;
        cr_expect_eq(status, kind == ALLOCATE ? FOPT_ERR_MEMORY : FOPT_ERR_FILE, "%s", fopt_last_error());
        if (!part) {
            one fresh;
            open_one(&fresh, 2);
            cr_expect(has_state(&states[1], &fresh), "%s %zu: something was written", call_names[kind], nth);
            close_one(&fresh);
        }
    }
    cr_expect_eq(status, FOPT_OK);
    cr_expect(has_state(&states[1], &states[0]));
    cr_expect(wholes && parts == (kind == READ), "%s", call_names[kind]);
}

Test(checkpoint_disk, a_load_cannot_read)
{
    fail_loads(READ, EIO);
}

/* But for jansson's: its parser does not always notice. */
Test(checkpoint_disk, a_load_without_memory)
{
    fail_loads(ALLOCATE, ENOMEM);
}

static void shrink(void)
{
    cr_assert_eq(truncate(path, 1000), 0);
}

static void grow(void)
{
    cr_assert_eq(truncate(path, 100000000), 0);
}

/* Has everything behind the header become minus ones. */
static void spoil(void)
{
    enum { HEADER = 4096 };
    float *ones = __real_malloc(COUNT * sizeof *ones);
    const int file = open(path, O_WRONLY);
    cr_assert(ones && file >= 0);
    for (size_t i = 0; i < COUNT; i++)
        ones[i] = -1;
    cr_assert_eq(pwrite(file, ones, COUNT * sizeof *ones, HEADER), COUNT * (ssize_t)sizeof *ones);
    close(file);
    free(ones);
}

/* A file that changes while it is read: at each call in turn. */
static void change(void (*act)(void))
{
    for (size_t nth = 1; nth < 30; nth++) {
        OK(save(0));
        arm(READ, nth, 0);
        fault.act = act;
        const fopt_status status = fopt_checkpoint_load(&states[1].run, paths, 1, NULL, NULL);
        if (status == FOPT_OK) {
            cr_expect(fault.armed || act != shrink || nth > 2, "%zu", nth);
        } else {
            cr_expect_eq(status, FOPT_ERR_FILE, "%s", fopt_last_error());
        }
        fault.armed = false;
        if (act == grow && nth > 1) /* what was there when it was opened is what is read */
            cr_expect(status == FOPT_OK && has_state(&states[1], &states[0]), "%zu: %s", nth, fopt_last_error());
    }
    OK(save(0));
    cr_expect_eq(saved_state(), 0);
}

Test(checkpoint_disk, files_that_change)
{
    change(shrink);
    change(grow);
    change(spoil);
}

/* ---- processes that die -------------------------------------------------------------------------------------- */

static void die(void)
{
    kill(getpid(), SIGKILL);
}

/* Expects one of the two states, and lets the next save find what the last has left. */
static void expect_one_of_two(const char *when, size_t number)
{
    const int state = saved_state();
    cr_expect(state == 0 || state == 1, "%s %zu: %s", when, number, fopt_last_error());
}

/* Dies before each call in turn. */
Test(checkpoint_disk, killed_at_each_call)
{
    bool died = true;
    for (size_t nth = 1; died; nth++) {
        cr_assert_lt(nth, 100);
        const pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
            fault.armed = fault.any = true;
            fault.left = nth;
            fault.error = 0;
            fault.act = die;
            _exit(save(nth % 2 == 0) == FOPT_OK ? 0 : 1);
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        died = WIFSIGNALED(status);
        cr_expect(died || WEXITSTATUS(status) == 0);
        expect_one_of_two("killed at call", nth);
    }
    OK(save(1));
    cr_expect_eq(saved_state(), 1);
    cr_expect_eq(files_in_folder(), 1);
}

/* Dies at any time: FUSEDOPT_KILLS times, a thousand in the long form. */
Test(checkpoint_disk, killed_at_any_time)
{
    const char *wanted = getenv("FUSEDOPT_KILLS");
    const size_t kills = wanted ? strtoul(wanted, NULL, 10) : 100;
    size_t seen[2] = {0, 0}, left = 0;
    unsigned random = 1;
    for (size_t i = 0; i < kills; i++) {
        const pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
            for (int state = 0;; state = !state)
                if (save(state) != FOPT_OK)
                    _exit(1);
        random = random * 1664525 + 1013904223;
        usleep(random >> 17); /* up to 33 ms */
        kill(child, SIGKILL);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFSIGNALED(status), "a save failed in process %zu", i);
        const int state = saved_state();
        cr_expect(state == 0 || state == 1, "kill %zu: %s", i, fopt_last_error());
        if (state >= 0)
            seen[state]++;
        left += files_in_folder() > 1;
    }
    cr_expect(kills < 100 || (seen[0] > 0 && seen[1] > 0 && left > 0), "%zu kills: %zu and %zu, %zu in a save", kills,
              seen[0], seen[1], left);
    OK(save(1));
    cr_expect_eq(saved_state(), 1);
    cr_expect_eq(files_in_folder(), 1);
}

/* ---- other files and saves ----------------------------------------------------------------------------------- */

Test(checkpoint_disk, another_save_is_under_way)
{
    const int other = open(unfinished, O_WRONLY | O_CREAT, 0600);
    cr_assert(other >= 0 && flock(other, LOCK_EX) == 0);
    cr_expect_eq(save(1), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "a.safetensors: another save of that file is under way"), "%s",
              fopt_last_error());
    cr_expect_eq(files_in_folder(), 2); /* which is the other's */
    cr_expect_eq(saved_state(), 0);
    close(other);
    OK(save(1));
    cr_expect_eq(saved_state(), 1);
}

/* And a third one begins. */
static void finish_the_other(void)
{
    cr_assert_eq(rename(unfinished, path), 0);
    close(__real_open64(unfinished, O_WRONLY | O_CREAT, 0600));
}

/* The other save ends after this one has opened its file, and before it has the lock: which is then of the file that
 * has become the checkpoint. */
Test(checkpoint_disk, another_save_ends)
{
    OK(save(1));
    cr_assert_eq(rename(path, unfinished), 0);
    arm(LOCK, 1, 0);
    fault.act = finish_the_other;
    cr_expect_eq(save(0), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "another save of that file is under way"), "%s", fopt_last_error());
    cr_expect_eq(saved_state(), 1);
    OK(save(0));
    cr_expect_eq(saved_state(), 0);
}

/* Where the file system has no locks there is none. */
Test(checkpoint_disk, no_locks)
{
    arm(LOCK, 1, ENOLCK);
    OK(save(1));
    cr_expect_eq(saved_state(), 1);
    arm(LOCK, 1, EIO);
    cr_expect_eq(save(0), FOPT_ERR_FILE);
    cr_expect(net_mentions(fopt_last_error(), "the new file cannot be locked: "), "%s", fopt_last_error());
    unlink(unfinished); /* whose it is is not known */
}

/* How many saves of each state were refused. */
static size_t refused[2];

static void *save_often(void *state)
{
    const int number = state == &states[1];
    for (int i = 0; i < 100; i++)
        refused[number] += save(number) != FOPT_OK;
    return NULL;
}

/* Two threads save to one file: each save is whole, or refused. */
Test(checkpoint_disk, two_at_once)
{
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, save_often, &states[i]), 0);
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect(refused[0] < 100 || refused[1] < 100);
    expect_one_of_two("two at once", 0);
    cr_expect_eq(files_in_folder(), 1);
}

Test(checkpoint_disk, links_and_modes)
{
    char link[112];
    struct stat status;
    snprintf(link, sizeof link, "%s/link", folder);
    cr_assert(chmod(path, 0640) == 0 && symlink("a.safetensors", link) == 0);
    OK(fopt_checkpoint_save(&states[1].run, link, NULL, NULL));
    cr_expect(lstat(link, &status) == 0 && S_ISLNK(status.st_mode));
    cr_expect(stat(path, &status) == 0 && (status.st_mode & 07777) == 0640);
    cr_expect_eq(saved_state(), 1);
    unlink(link);
    cr_assert_eq(symlink("a.safetensors", unfinished), 0); /* it would be written through */
    cr_expect_eq(save(0), FOPT_ERR_FILE);
    cr_expect_eq(saved_state(), 1);
    unlink(unfinished);
}

Test(checkpoint_disk, paths_that_cannot_be_written)
{
    static char long_name[2000];
    static const struct {
        const char *path, *words;
    } bad[] = {{"/dev/full", "/dev/full is not a regular file"},
               {"/tmp", "/tmp is not a regular file"},
               {"/tmp/fusedopt.none/a", "/tmp/fusedopt.none/a: the new file cannot be opened: No such file"},
               {"/dev/null/a", "/dev/null/a: cannot be written: Not a directory"},
               {"", "No such file"},
               {long_name, "a: cannot be written: File name too long"}};
    memset(long_name, 'a', sizeof long_name - 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(fopt_checkpoint_save(&states[1].run, bad[i].path, NULL, NULL), FOPT_ERR_FILE);
        cr_expect(net_mentions(fopt_last_error(), bad[i].words), "%s", fopt_last_error());
    }
}
