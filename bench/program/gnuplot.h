/* Plots, through the program gnuplot. After a failure these complain, as `command` (options.h). */
#ifndef GNUPLOT_H
#define GNUPLOT_H

#include "fusedopt.h"
#include <stdbool.h>
#include <stdio.h>

/* Says, before the work rather than after, whether JSON and a plot can be expected to come into these files: gnuplot
 * can be run, and they are two files, whole_file_writable(). NULL: none is wanted. */
bool outputs_ready(const char *command, const char *json_path, const char *plot_path);

/* The linetypes, 1 and up, that are of different colours. */
enum { GNUPLOT_COLOURS = 15 };

/* Begins a script for gnuplot that draws an SVG of this width and height. NULL after a failure. */
FILE *gnuplot_open(const char *command, int width, int height);

/* Writes a text as the script must have it: whatever it holds, it is drawn as it is. */
void gnuplot_quote(FILE *script, const char *text);

/* Writes a text, quoted: the device and the commit that the program was built from. */
void gnuplot_quote_machine(FILE *script, fopt_device device);

/* Returns the dash pattern for what is of a format. */
int gnuplot_dash(fopt_format format);

/* Ends the script and draws it: writes the file whole, or not at all (whole_file.h). Returns whether it did. */
bool gnuplot_close(const char *command, FILE *script, const char *path);

#endif
