/* Statuses, the text of the last failure, the version. */
#include "internal.h"
#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_error[512];

fopt_status fopt_i_fail(fopt_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}

const char *fopt_last_error(void)
{
    return last_error;
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
