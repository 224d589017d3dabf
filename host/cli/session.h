/* What every command of the program shares: the context with its terminal callbacks, the device, messages, exit codes.
 */
#ifndef SLAD_CLI_SESSION_H
#define SLAD_CLI_SESSION_H

#include "cli/arguments.h"
#include "slad/slad.h"
#include <cjson/cJSON.h>
#include <stdio.h>

typedef struct cli_session {
    slad_context *context;
    slad_device *device;
    slad_device_options device_options;
    bool json;
    bool terminal;  /* standard error is one, so that there is a progress bar */
    bool bar_shown; /* a bar stands on the last line */
} cli_session;

/* Creates the context from the common options and arms Ctrl-C. Returns an exit code, 0 to go on. */
int cli_session_open(cli_session *session, cli_arguments *arguments);
/* Opens the device that the arguments name. Returns an exit code, 0 to go on. */
int cli_session_open_device(cli_session *session);
void cli_session_close(cli_session *session);

/* Prints text that may come from a file, whose control characters would be commands to a terminal: each becomes a '?'.
 * Newlines stay if lines is true. */
void cli_print_text(FILE *output, const char *text, bool lines);
/* Prints a usage error and where help is; returns the exit code 2. */
int cli_usage(const char *command, const char *message);
/* What a command says of itself. */
typedef struct cli_manual {
    const char *name; /* "eval" */
    const char *help; /* what --help prints before the options */
} cli_manual;
/* Parses the arguments of a command with these options [count]; then answers --help, or calls run, whose exit code it
 * returns. A mistake in the arguments is told, with exit code 2. */
int cli_run(const cli_manual *manual, int argc, char **argv, const cli_option *options, size_t count,
            int (*run)(cli_arguments *arguments));
/* Prints a JSON object on standard output and deletes it; returns 0, or 8 if standard output cannot be written. */
int cli_print_json(cJSON *json);

/* The options that eval and features share. */
typedef struct cli_data_options {
    unsigned batch, workers, image_size; /* 0: not given */
    bool strict_data;
    slad_position_mode position_mode;
} cli_data_options;
#define CLI_DATA_OPTIONS                                                                                               \
    {"batch", "N", "images at once (default: 32)"}, {"workers", "N", "loader threads (default: one a processor)"},     \
        {"image-size", "N", "pixels a side (default: what the model says)"},                                           \
        {"pos-embed", "MODE", "how the position table is resized, as for slad train (default: auto; a run's own)"},    \
    {                                                                                                                  \
        "strict-data", NULL, "stop at a broken image instead of skipping it"                                           \
    }
/* Reads them; returns an exit code, 0 to go on. */
int cli_read_data_options(const cli_session *session, cli_data_options *data, cli_arguments *arguments,
                          const char *command);

/* The commands: argv holds what follows the command's name. Each returns the program's exit code. */
int cli_devices(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_train(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_features(int argc, char **argv);
int cli_predict(int argc, char **argv);
int cli_export(int argc, char **argv);
int cli_compare(int argc, char **argv);

#endif
