/* A file that takes the place of another when it is whole, and on the disk: whatever happens, one of the two is
 * there. */
#include "parts.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that are written at once. (A MiB took Linux on ext4 four times as long.) */
enum { BUFFER = 1 << 18 };

static const char suffix[] = ".unfinished";

static fopt_status fail(const fopt_i_session *s, const fopt_i_new_file *file, const char *what)
{
    return fopt_i_refuse(s, FOPT_ERR_FILE, "%s: %s: %s", fopt_i_end_of(file->path), what, strerror(errno));
}

/* Looks at what is to be replaced: behind symbolic links, and only if it is a regular file. */
static fopt_status find_target(const fopt_i_session *s, fopt_i_new_file *file, mode_t *mode)
{
    struct stat found;
    const bool exists = stat(file->path, &found) == 0;
    if (!exists && errno != ENOENT)
        return fail(s, file, "cannot be written");
    if (exists && !S_ISREG(found.st_mode))
        return fopt_i_refuse(s, FOPT_ERR_FILE, "%s is not a regular file", fopt_i_end_of(file->path));
    *mode = exists ? found.st_mode & 07777 : 0;
    file->target = exists ? realpath(file->path, NULL) : strdup(file->path);
    const size_t length = file->target ? strlen(file->target) : 0;
    file->unfinished = malloc(length + sizeof suffix);
    file->buffer = malloc(BUFFER);
    if (!file->target || !file->unfinished || !file->buffer)
        return fopt_i_refuse(s, FOPT_ERR_MEMORY, "no memory for writing %s", fopt_i_end_of(file->path));
    memcpy(file->unfinished, file->target, length);
    memcpy(file->unfinished + length, suffix, sizeof suffix);
    return FOPT_OK;
}

/* Takes the new file for this save alone, until it is closed: by a lock, where the file system has any. Whoever had the
 * lock before may have given the file its name since, or removed it: then that is not touched. */
static bool lock(const fopt_i_new_file *file)
{
    struct stat opened, named;
    if (flock(file->descriptor, LOCK_EX | LOCK_NB) != 0 && errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK)
        return false;
    const bool same = fstat(file->descriptor, &opened) == 0 && lstat(file->unfinished, &named) == 0 &&
                      S_ISREG(named.st_mode) && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
    errno = same ? 0 : EWOULDBLOCK;
    return same;
}

fopt_status fopt_i_begin_file(const fopt_i_session *s, const char *path, fopt_i_new_file *file)
{
    mode_t mode = 0;
    *file = (fopt_i_new_file){.path = path, .descriptor = -1};
    fopt_status status = find_target(s, file, &mode);
    if (status)
        return status;
    const int descriptor = open(file->unfinished, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (descriptor < 0)
        return fail(s, file, "the new file cannot be opened");
    file->descriptor = descriptor;
    if (!lock(file)) {
        status = errno == EWOULDBLOCK ? fopt_i_refuse(s, FOPT_ERR_FILE, "%s: another save of that file is under way",
                                                      fopt_i_end_of(path))
                                      : fail(s, file, "the new file cannot be locked");
        file->descriptor = -1; /* it is another's, and stays */
        close(descriptor);
        return status;
    }
    if (ftruncate(descriptor, 0) != 0 || (mode && fchmod(descriptor, mode) != 0))
        return fail(s, file, "the new file cannot be prepared");
    return FOPT_OK;
}

static fopt_status flush(const fopt_i_session *s, fopt_i_new_file *file)
{
    for (size_t written = 0; written < file->used;) {
        const ssize_t more = write(file->descriptor, file->buffer + written, file->used - written);
        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0)
            return fail(s, file, "the new file cannot be written");
        written += (size_t)more;
    }
    file->used = 0;
    return FOPT_OK;
}

fopt_status fopt_i_add(const fopt_i_session *s, fopt_i_new_file *file, const void *from, size_t bytes)
{
    const unsigned char *next = from;
    fopt_status status = FOPT_OK;
    while (bytes > 0 && !status) {
        const size_t room = BUFFER - file->used, part = bytes < room ? bytes : room;
        status = fopt_i_pass(s, fopt_copy(s->run.optimizer, file->buffer + file->used, next, part, s->stream));
        if (status)
            break;
        file->used += part;
        next += part;
        bytes -= part;
        if (file->used == BUFFER)
            status = flush(s, file);
    }
    return status;
}

/* Has the folder's new entry written to the disk. Some file systems have no such call, and need none. */
static bool sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strdup(path) : strdup(".");
    if (!folder)
        return false;
    if (slash)
        folder[slash == path ? 1 : slash - path] = '\0';
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (descriptor < 0)
        return false;
    const bool good = fsync(descriptor) == 0 || errno == EINVAL;
    const int error = errno;
    close(descriptor);
    errno = error;
    return good;
}

fopt_status fopt_i_finish_file(const fopt_i_session *s, fopt_i_new_file *file)
{
    fopt_status status = flush(s, file);
    if (status)
        return status;
    if (fsync(file->descriptor) != 0)
        return fail(s, file, "the new file cannot be brought to the disk");
    if (rename(file->unfinished, file->target) != 0)
        return fail(s, file, "the new file cannot take the old one's place");
    close(file->descriptor); /* what could fail has been synced */
    file->descriptor = -1;
    return sync_folder(file->target) ? FOPT_OK : fail(s, file, "is new and whole, but its folder cannot be synced");
}

void fopt_i_drop_file(fopt_i_new_file *file)
{
    if (file->descriptor >= 0) {
        unlink(file->unfinished);
        close(file->descriptor);
    }
    free(file->target);
    free(file->unfinished);
    free(file->buffer);
}
