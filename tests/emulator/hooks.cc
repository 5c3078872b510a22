/*
 * What the compilers' ThreadSanitizer pass calls for each load and store. A kernel file that is compiled with
 * -fsanitize=thread and linked with this file, without a sanitizer's library, tells the emulator of every access that
 * it makes. -fsanitize=alignment has the same done here for misaligned pointers.
 *
 * The link needs --wrap for memcpy, memmove and memset: clang copies structures by calling them.
 */
#include "machine.h"

extern "C" {

extern const bool emu_hooks_are_linked;
const bool emu_hooks_are_linked = true;

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *)
{
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

/* Alignment above 8 is not promised by the names with a number; the other check sees to it. */
#define HOOKS(bytes)                                                                                                   \
    void __tsan_read##bytes(void *p);                                                                                  \
    void __tsan_read##bytes(void *p)                                                                                   \
    {                                                                                                                  \
        emu_access(p, bytes, bytes > 8 ? 8 : bytes, EMU_READ);                                                         \
    }                                                                                                                  \
    void __tsan_write##bytes(void *p);                                                                                 \
    void __tsan_write##bytes(void *p)                                                                                  \
    {                                                                                                                  \
        emu_access(p, bytes, bytes > 8 ? 8 : bytes, EMU_WRITE);                                                        \
    }                                                                                                                  \
    void __tsan_unaligned_read##bytes(void *p);                                                                        \
    void __tsan_unaligned_read##bytes(void *p)                                                                         \
    {                                                                                                                  \
        emu_access(p, bytes, 1, EMU_READ);                                                                             \
    }                                                                                                                  \
    void __tsan_unaligned_write##bytes(void *p);                                                                       \
    void __tsan_unaligned_write##bytes(void *p)                                                                        \
    {                                                                                                                  \
        emu_access(p, bytes, 1, EMU_WRITE);                                                                            \
    }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#undef HOOKS

void __tsan_read_range(void *p, size_t bytes);
void __tsan_read_range(void *p, size_t bytes)
{
    emu_access(p, bytes, 1, EMU_READ);
}

void __tsan_write_range(void *p, size_t bytes);
void __tsan_write_range(void *p, size_t bytes)
{
    emu_access(p, bytes, 1, EMU_WRITE);
}

/* ---- copies as calls ----------------------------------------------------------------------------------------- */

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
    if (!emu_run.meeting) {
        emu_access(from, bytes, 1, EMU_READ);
        emu_access(to, bytes, 1, EMU_WRITE);
    }
    return __real_memcpy(to, from, bytes);
}

void *__real_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes)
{
    if (!emu_run.meeting) {
        emu_access(from, bytes, 1, EMU_READ);
        emu_access(to, bytes, 1, EMU_WRITE);
    }
    return __real_memmove(to, from, bytes);
}

void *__real_memset(void *to, int value, size_t bytes);
void *__wrap_memset(void *to, int value, size_t bytes);
void *__wrap_memset(void *to, int value, size_t bytes)
{
    if (!emu_run.meeting)
        emu_access(to, bytes, 1, EMU_WRITE);
    return __real_memset(to, value, bytes);
}

/* ---- misaligned pointers ------------------------------------------------------------------------------------- */

/* As compilers lay them out; see compiler-rt, ubsan_handlers.h. */
struct ubsan_type {
    unsigned short kind, info;
    char name[1];
};
struct ubsan_mismatch {
    const char *file;
    unsigned line, column;
    const ubsan_type *type;
    unsigned char log_alignment, kind;
};

[[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(ubsan_mismatch *data, uintptr_t address);
[[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(ubsan_mismatch *data, uintptr_t address)
{
    char text[400];
    if (emu_run.kernel)
        emu_describe_device(address, text, sizeof text);
    else
        emu_describe(address, text, sizeof text);
    emu_report("misaligned access: %s must be aligned to %u, at %s (%s:%u:%u)", data->type->name,
               1u << data->log_alignment, text, data->file, data->line, data->column);
}
}
