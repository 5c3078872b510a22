/* Statuses, the text of the last failure, the version. */
#include "internal.h"
#include "utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The public call that this thread is in, or was last, and the text of the last failure. */
static _Thread_local struct {
    const char *call;
    char text[512];
} last_error;

void fopt_i_begin(const char *call)
{
    last_error.call = call;
}

/* Tells whether a character is neither a control character nor one that separates lines or sets the direction of
 * text. */
static bool is_printable(uint32_t code)
{
    return code >= 0x20 && !(code >= 0x7f && code < 0xa0) && !(code >= 0x2028 && code <= 0x202e) &&
           !(code >= 0x2066 && code <= 0x2069) && code != 0x200e && code != 0x200f && code != 0x61c && code != 0xfeff;
}

void fopt_i_copy_printable(char *to, size_t size, const char *from)
{
    const unsigned char *at = (const unsigned char *)from;
    size_t used = 0;
    while (*at) {
        uint32_t code;
        const size_t length = fopt_i_read_character(at, &code);
        const bool good = length > 0 && is_printable(code);
        const size_t taken = length > 0 ? length : 1, given = good ? length : 1;
        if (used + given >= size)
            break;
        memcpy(to + used, good ? (const char *)at : "?", given);
        used += given;
        at += taken;
    }
    to[used] = '\0';
}

fopt_i_label fopt_i_label_of(fopt_i_subject subject)
{
    fopt_i_label label;
    char number[24] = "", name[80 + 1] = "";
    if (subject.index != FOPT_I_NO_INDEX)
        snprintf(number, sizeof number, " %zu", subject.index);
    if (subject.name)
        fopt_i_copy_printable(name, sizeof name, subject.name);
    const char *const before = subject.name ? " '" : "", *const after = subject.name ? "'" : "";
    const char *const colon = subject.part && subject.part[0] != '[' ? ": " : "";
    snprintf(label.text, sizeof label.text, "%s%s%s%s%s%s%s", subject.what, number, before, name, after, colon,
             subject.part ? subject.part : "");
    return label;
}

const char *fopt_i_call(void)
{
    return last_error.call;
}

fopt_status fopt_i_fail(fopt_status status, const char *format, ...)
{
    va_list arguments;
    int length = snprintf(last_error.text, sizeof last_error.text, "%s: ", last_error.call);
    va_start(arguments, format);
    vsnprintf(last_error.text + length, sizeof last_error.text - (size_t)length, format, arguments);
    va_end(arguments);
    return status;
}

void fopt_set_last_error(const char *text)
{
    char printable[sizeof last_error.text]; /* the text may be the last one, or a part of it */
    fopt_i_copy_printable(printable, sizeof printable, text ? text : "");
    memcpy(last_error.text, printable, sizeof printable);
}

const char *fopt_last_error(void)
{
    return last_error.text;
}

const char *fopt_status_string(fopt_status status)
{
    switch (status) {
    case FOPT_OK:
        return "success";
    case FOPT_ERR_ARGUMENT:
        return "invalid argument";
    case FOPT_ERR_UNSUPPORTED:
        return "unsupported combination";
    case FOPT_ERR_MEMORY:
        return "out of memory";
    case FOPT_ERR_DEVICE:
        return "device absent or failed";
    case FOPT_ERR_BROKEN:
        return "optimizer broken by an earlier failure";
    case FOPT_ERR_FILE:
        return "file failed or invalid";
    }
    return "unknown status";
}

int fopt_version(void)
{
    return FOPT_VERSION;
}

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

const char *fopt_version_string(void)
{
    return TEXT(FOPT_VERSION_MAJOR) "." TEXT(FOPT_VERSION_MINOR) "." TEXT(FOPT_VERSION_PATCH);
}
