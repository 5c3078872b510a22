/* Statuses, the text of the last failure, the version. */
#include "internal.h"
#include <stdarg.h>
#include <stdio.h>

/* The public call that this thread is in, or was last, and the text of the last failure. */
static _Thread_local struct {
    const char *call;
    char text[512];
} last_error;

void fopt_i_begin(const char *call)
{
    last_error.call = call;
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
