/* Plots, through the program gnuplot. After a failure these complain, as `command` (options.h). */
#ifndef GNUPLOT_H
#define GNUPLOT_H

#include <stdbool.h>
#include <stdio.h>

/* Whether gnuplot can be run. */
bool gnuplot_there(const char *command);

/* A pipe to a gnuplot, with eight colours to tell lines apart by, that writes an SVG of the width and height to `path`,
 * or NULL. */
FILE *gnuplot_open(const char *command, const char *path, int width, int height);

/* Returns whether the plot was drawn. */
bool gnuplot_close(const char *command, FILE *gnuplot, const char *path);

#endif
