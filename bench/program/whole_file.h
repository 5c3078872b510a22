/* Writes files whole or not at all. */
#ifndef WHOLE_FILE_H
#define WHOLE_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Says, before the work rather than after, whether whole_file_write() can be expected to succeed: the folder is there
 * and may be written, or what is no regular file may be. NULL: none is wanted. Creates nothing. Complains, as `command`
 * (options.h), if not. */
bool whole_file_writable(const char *command, const char *path);

/* Tells whether two paths lead to the same file, or will when there is one. */
bool whole_file_same(const char *path, const char *other);

/* Replaces a file, or makes it: the text goes into a new file in the same folder, which takes the name when all of it
 * is on the disk. After a failure, or a signal that ends the program, the old file is as it was and the new one is
 * gone. A symbolic link stays one, and a file keeps its mode. What is no regular file, such as a device, is written in
 * place. Complains, as `command`, and returns false after a failure. */
bool whole_file_write(const char *command, const char *path, const char *text, size_t bytes);

#endif
