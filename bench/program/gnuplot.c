/* Runs gnuplot: gives it a script, and keeps the drawing if it is whole. */
#include "program/gnuplot.h"
#include "program/commit.h"
#include "program/options.h"
#include "program/whole_file.h"
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool outputs_ready(const char *command, const char *json_path, const char *plot_path)
{
    if (plot_path && system("gnuplot --version >/dev/null 2>&1") != 0) {
        complain(command, "--plot needs the program gnuplot, which cannot be run");
        return false;
    }
    if (json_path && plot_path && whole_file_same(json_path, plot_path)) {
        complain(command, "--json and --plot name the same file, %s", plot_path);
        return false;
    }
    return whole_file_writable(command, json_path) && whole_file_writable(command, plot_path);
}

/* ---- the script ---------------------------------------------------------------------------------------------- */

/* Okabe and Ito's, which those who see few colours can tell apart, with grey for their yellow, then some of Tol's.
 * Neighbours differ most. */
static const char *const colours[GNUPLOT_COLOURS] = {
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00", "#888888",
    "#332288", "#aa4499", "#44aa99", "#661100", "#999933", "#882255", "#117733",
};

FILE *gnuplot_open(const char *command, int width, int height)
{
    FILE *script = tmpfile();
    if (!script) {
        complain(command, "cannot make a temporary file: %s", strerror(errno));
        return NULL;
    }
    fprintf(script, "set terminal svg size %d,%d dynamic font 'sans,13' background 'white'\n", width, height);
    for (size_t i = 0; i < GNUPLOT_COLOURS; i++)
        fprintf(script, "set linetype %zu linecolor rgb '%s'\n", i + 1, colours[i]);
    fprintf(script, "set linetype cycle %d\n", GNUPLOT_COLOURS);
    return script;
}

void gnuplot_quote(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text; text++)
        if (*text == '\'')
            fputs("''", script);
        else
            fputc((unsigned char)*text < ' ' ? ' ' : *text, script);
    fputc('\'', script);
}

void gnuplot_quote_machine(FILE *script, fopt_device device)
{
    char text[256];
    fopt_device_info info = {.size = sizeof info};
    if (fopt_device_query(device, &info) != FOPT_OK)
        snprintf(text, sizeof text, "commit %s", build_commit);
    else if (device.kind == FOPT_CPU)
        snprintf(text, sizeof text, "%s, %d threads, %s; commit %s", info.name, info.threads, fopt_isa_name(info.isa),
                 build_commit);
    else
        snprintf(text, sizeof text, "%s; commit %s", info.name, build_commit);
    gnuplot_quote(script, text);
}

int gnuplot_dash(fopt_format format)
{
    return 1 + (int)format;
}

/* ---- drawing ------------------------------------------------------------------------------------------------- */

/* Runs gnuplot on the script, what it writes going to another file. Returns whether it ended well. */
static bool run(const char *command, FILE *script, FILE *drawing)
{
    static char name[] = "gnuplot";
    char *arguments[] = {name, NULL};
    posix_spawn_file_actions_t files;
    pid_t child;
    int error = posix_spawn_file_actions_init(&files), status = 0;
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(&files, fileno(script), STDIN_FILENO);
        if (error == 0)
            error = posix_spawn_file_actions_adddup2(&files, fileno(drawing), STDOUT_FILENO);
        if (error == 0)
            error = posix_spawnp(&child, name, &files, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&files);
    }
    if (error != 0) {
        complain(command, "cannot start gnuplot: %s", strerror(error));
        return false;
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Reads a whole file, with a '\0' behind it. NULL after a failure. */
static char *read_all(FILE *file, size_t *bytes)
{
    if (fseek(file, 0, SEEK_END) != 0)
        return NULL;
    const long size = ftell(file);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    rewind(file);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size) {
        free(text);
        return NULL;
    }
    text[size] = '\0';
    *bytes = (size_t)size;
    return text;
}

/* Returns whether a text is an SVG with nothing cut off. */
static bool is_whole(const char *text, size_t bytes)
{
    static const char end[] = "</svg>";
    while (bytes > 0 && strchr("\r\n \t", text[bytes - 1]))
        bytes--;
    return bytes > strlen(end) && strncmp(text + bytes - strlen(end), end, strlen(end)) == 0 && strstr(text, "<svg");
}

static bool draw(const char *command, FILE *script, FILE *drawing, const char *path)
{
    size_t bytes = 0;
    char *text = run(command, script, drawing) ? read_all(drawing, &bytes) : NULL;
    const bool whole = text && is_whole(text, bytes);
    if (!whole)
        complain(command, "gnuplot could not draw %s", path);
    const bool good = whole && whole_file_write(command, path, text, bytes);
    free(text);
    return good;
}

bool gnuplot_close(const char *command, FILE *script, const char *path)
{
    FILE *drawing = tmpfile();
    bool good = drawing && fflush(script) == 0 && !ferror(script) && fseek(script, 0, SEEK_SET) == 0;
    if (!good)
        complain(command, "cannot write a temporary file: %s", strerror(errno));
    good = good && draw(command, script, drawing, path);
    if (drawing)
        fclose(drawing);
    fclose(script);
    return good;
}
