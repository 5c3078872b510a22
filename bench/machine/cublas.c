#include "machine/cublas.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

#define TEXT(x)     #x
#define NAME(major) "libcublas.so." TEXT(major)

const cublas *cublas_load(void)
{
    static cublas functions;
    static bool tried, found;
    if (tried)
        return found ? &functions : NULL;
    tried = true;
    void *library = dlopen(NAME(CUBLAS_VER_MAJOR), RTLD_NOW);
    const struct {
        void *function; /* a pointer to one of the pointers */
        const char *name;
    } all[] = {
        {&functions.create, "cublasCreate_v2"},
        {&functions.destroy, "cublasDestroy_v2"},
        {&functions.set_stream, "cublasSetStream_v2"},
        {&functions.saxpy, "cublasSaxpy_v2"},
        {&functions.sscal, "cublasSscal_v2"},
        {&functions.sgemm, "cublasSgemm_v2"},
        {&functions.status_name, "cublasGetStatusName"},
        {&functions.status_string, "cublasGetStatusString"},
    };
    found = library != NULL;
    for (size_t i = 0; found && i < sizeof all / sizeof *all; i++)
        found = (*(void **)all[i].function = dlsym(library, all[i].name)) != NULL;
    return found ? &functions : NULL;
}
