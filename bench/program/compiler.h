/* The compiler of the program, by its own macros. */
#ifndef COMPILER_H
#define COMPILER_H

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

#endif
