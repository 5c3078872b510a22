/* Writes files whole or not at all: into a new file, which takes the name at the end. */
#include "program/whole_file.h"
#include "program/options.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file that a path leads to. */
typedef struct target {
    char *path; /* behind symbolic links */
    mode_t mode;
    bool exists, in_place;
} target;

/* Follows a path. After a failure errno says why. */
static bool find_target(const char *path, target *found)
{
    struct stat status;
    *found = (target){.exists = stat(path, &status) == 0};
    if (found->exists && S_ISDIR(status.st_mode)) {
        errno = EISDIR;
        return false;
    }
    /* A name that cannot be, or a link to nothing, in whose place the file would be put. */
    if (!found->exists && (errno != ENOENT || lstat(path, &status) == 0))
        return false;
    if (found->exists) {
        found->mode = status.st_mode & 07777;
        found->in_place = !S_ISREG(status.st_mode);
    }
    found->path = found->exists && !found->in_place ? realpath(path, NULL) : strdup(path);
    return found->path;
}

/* Returns whether a file may be made in the folder of this one. */
static bool may_replace(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strdup(path) : strdup(".");
    if (!folder)
        return false;
    if (slash)
        folder[slash == path ? 1 : slash - path] = '\0';
    const bool good = access(folder, W_OK | X_OK) == 0;
    free(folder);
    return good;
}

/* Complains, with the reason that errno gives, unless all went well. Returns whether it did. */
static bool done(const char *command, const char *path, bool good)
{
    if (!good)
        complain(command, "cannot write %s: %s", path, strerror(errno));
    return good;
}

bool whole_file_writable(const char *command, const char *path)
{
    if (!path)
        return true;
    target to;
    const bool good = done(command, path,
                           find_target(path, &to) && (to.in_place ? access(to.path, W_OK) == 0 : may_replace(to.path)));
    free(to.path);
    return good;
}

/* Splits a path into what is behind the last slash, which is returned, and the folder. */
static const char *look_at_folder(const char *path, struct stat *folder)
{
    const char *slash = strrchr(path, '/');
    char *name = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    if (!name || stat(name, folder) != 0)
        *folder = (struct stat){0};
    free(name);
    return slash ? slash + 1 : path;
}

bool whole_file_same(const char *path, const char *other)
{
    struct stat a, b;
    if (stat(path, &a) != 0 || stat(other, &b) != 0)
        if (strcmp(look_at_folder(path, &a), look_at_folder(other, &b)) != 0)
            return false;
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* ---- the new file -------------------------------------------------------------------------------------------- */

/* Its name, while there is one, for the handler of signals. */
static char *volatile temporary;

/* Removes the new file. By the time it is called the signal's default action is back, which then ends the program. */
static void clean_up(int signal_number)
{
    unlink(temporary);
    raise(signal_number);
}

/* Signals that end a program, by its user's wish. */
enum { SIGNALS = 4 };
static const int signals[SIGNALS] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

static void catch_signals(struct sigaction before[SIGNALS])
{
    for (size_t i = 0; i < SIGNALS; i++) {
        struct sigaction action = {.sa_flags = (int)SA_RESETHAND | SA_NODEFER};
        action.sa_handler = clean_up;
        sigemptyset(&action.sa_mask);
        sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
    }
}

static void restore_signals(const struct sigaction before[SIGNALS])
{
    for (size_t i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

static bool write_all(int file, const char *text, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t written = write(file, text, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text += written;
        bytes -= (size_t)written;
    }
    return true;
}

static bool write_in_place(const char *path, const char *text, size_t bytes)
{
    const int file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (file < 0)
        return false;
    const bool good = write_all(file, text, bytes);
    const int error = errno;
    if (close(file) != 0)
        return false;
    errno = error;
    return good;
}

/* Writes the new file, whose name is `temporary`, and gives it the target's. */
static bool write_and_rename(const target *to, const char *text, size_t bytes)
{
    const int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0)
        return false;
    bool good = (!to->exists || fchmod(file, to->mode) == 0) && write_all(file, text, bytes) && fsync(file) == 0;
    int error = errno;
    if (close(file) != 0 && good) {
        good = false;
        error = errno;
    }
    if (good && rename(temporary, to->path) == 0)
        return true;
    error = good ? errno : error;
    unlink(temporary);
    errno = error;
    return false;
}

static bool replace(const target *to, const char *text, size_t bytes)
{
    struct sigaction before[SIGNALS];
    const char *slash = strrchr(to->path, '/');
    const int folder = slash ? (int)(slash + 1 - to->path) : 0;
    const size_t size = (size_t)folder + 64;
    char *name = malloc(size);
    if (!name)
        return false;
    snprintf(name, size, "%.*s.fusedopt-%ld.tmp", folder, to->path, (long)getpid());
    temporary = name;
    catch_signals(before);
    const bool good = write_and_rename(to, text, bytes);
    const int error = errno;
    restore_signals(before);
    temporary = NULL;
    free(name);
    errno = error;
    return good;
}

bool whole_file_write(const char *command, const char *path, const char *text, size_t bytes)
{
    if (!path)
        return true;
    target to;
    const bool good = done(command, path,
                           find_target(path, &to) &&
                               (to.in_place ? write_in_place(to.path, text, bytes) : replace(&to, text, bytes)));
    free(to.path);
    return good;
}
