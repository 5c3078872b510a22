/* The commit of the sources that were built; commit.cmake writes it into the build folder. */
#ifndef COMMIT_H
#define COMMIT_H

extern const char build_commit[]; /* "unknown" unless it is known for certain */

#endif
