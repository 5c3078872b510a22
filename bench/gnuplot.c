#include "gnuplot.h"

#include "options.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

bool gnuplot_there(const char *command)
{
    if (system("gnuplot --version >/dev/null 2>&1") == 0)
        return true;
    complain(command, "--plot needs the program gnuplot, which cannot be run");
    return false;
}

/* Okabe and Ito's, which those who see few colours can tell apart, with grey for their yellow. Neighbours differ most.
 */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#000000", "#56b4e9", "#e69f00", "#888888"};

FILE *gnuplot_open(const char *command, const char *path, int width, int height)
{
    /* A path in the environment needs no quoting for the shell. If gnuplot dies, pclose() tells; SIGPIPE would end us.
     */
    signal(SIGPIPE, SIG_IGN);
    setenv("FUSEDOPT_PLOT", path, 1);
    FILE *gnuplot = popen("gnuplot >\"$FUSEDOPT_PLOT\"", "w");
    if (!gnuplot) {
        complain(command, "cannot start gnuplot: %s", strerror(errno));
        return NULL;
    }
    fprintf(gnuplot, "set terminal svg size %d,%d background 'white'\n", width, height);
    for (size_t i = 0; i < sizeof colours / sizeof *colours; ++i)
        fprintf(gnuplot, "set linetype %zu linecolor rgb '%s'\n", i + 1, colours[i]);
    return gnuplot;
}

bool gnuplot_close(const char *command, FILE *gnuplot, const char *path)
{
    if (pclose(gnuplot) == 0)
        return true;
    complain(command, "gnuplot could not write %s", path);
    return false;
}
