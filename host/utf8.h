/* Characters of text that a caller gave. */
#ifndef FOPT_I_UTF8_H
#define FOPT_I_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Returns the bytes of the character of valid UTF-8 that begins here, or 0; *code is its number. */
static inline size_t fopt_i_read_character(const unsigned char *at, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* by length: what is less has a shorter form */
    const size_t length = at[0] < 0x80   ? 1
                          : at[0] < 0xc0 ? 0
                          : at[0] < 0xe0 ? 2
                          : at[0] < 0xf0 ? 3
                          : at[0] < 0xf8 ? 4
                                         : 0;
    *code = length > 1 ? at[0] & (0x7fu >> length) : at[0];
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) /* the terminating zero too */
            return 0;
        *code = *code << 6 | (at[i] & 0x3fu);
    }
    return length > 0 && *code >= least[length] && *code <= 0x10ffff && *code >> 11 != 0xd800 >> 11 ? length : 0;
}

#endif
