/* Parsing of the command line: tables of options, and what was given. */
#ifndef SLAD_CLI_ARGUMENTS_H
#define SLAD_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

/* One option of a command. */
typedef struct cli_option {
    const char *name;   /* without the dashes */
    const char *values; /* "DIR", "N", ..; NULL: a switch without a value */
    const char *help;   /* a line; the default stands in it */
} cli_option;

#define CLI_MAX_VALUES 256

/* What was given, in order. Texts point into argv. */
typedef struct cli_arguments {
    const char *names[CLI_MAX_VALUES], *values[CLI_MAX_VALUES]; /* value NULL for switches */
    size_t count;
    const char **positional;
    size_t positional_count;
    bool help;
    char message[256]; /* of a failed parse */
} cli_arguments;

/* Tells whether a command has an option that is not in its own table (train's stand in the library), and whether it
 * takes a value. */
typedef bool (*cli_lookup)(const char *name, bool *takes_value);

/* Parses argv[0 .. argc-1]: --name VALUE, --name=VALUE, switches, and positional arguments; "--" ends options. False
 * with a message for an unknown option or a missing value. extra may be NULL. Options common to all commands are known.
 */
bool cli_parse(cli_arguments *arguments, int argc, char **argv, const cli_option *options, size_t option_count,
               cli_lookup extra);
void cli_arguments_free(cli_arguments *arguments);

/* The last value given for an option, or NULL; for a switch, "" if it was given. */
const char *cli_value(const cli_arguments *arguments, const char *name);
/* A whole number in low .. high; *out keeps its value when the option was not given. False with a message. */
bool cli_whole(cli_arguments *arguments, unsigned *out, const char *name, unsigned low, unsigned high);

/* Prints a table of options, and the common ones, to standard output. */
void cli_print_options(const cli_option *options, size_t count);
void cli_print_common_options(void);
/* One aligned line of help. */
void cli_print_option(const char *name, const char *values, const char *help);

#endif
