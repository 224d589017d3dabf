#include "cli/arguments.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_option common[] = {
    {"device", "SPEC", "device: P:D by index, or part of a platform's or device's name (default: best GPU, else CPU)"},
    {"cache-dir", "DIR", "where compiled kernels are kept (default: the user's cache folder)"},
    {"kernels", "DIR", "kernel sources that replace the built-in ones"},
    {"seed", "N", "of all random numbers (default: 0); only training draws any"},
    {"log-level", "LEVEL", "error, warning, info or debug (default: info)"},
    {"json", NULL, "print one JSON object on standard output and nothing else there"},
    {"help", NULL, "this text"},
};

static bool find(const cli_option *options, size_t count, const char *name, bool *takes_value)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(options[i].name, name) == 0) {
            *takes_value = options[i].values != NULL;
            return true;
        }
    return false;
}

static bool fail(cli_arguments *arguments, const char *format, const char *name)
{
    snprintf(arguments->message, sizeof arguments->message, format, name);
    return false;
}

/* Parses the option at argv[*index] and its value. */
static bool parse_option(cli_arguments *arguments, int argc, char **argv, int *index, const cli_option *options,
                         size_t option_count, cli_lookup extra)
{
    char name[64];
    const char *text = argv[*index] + 2, *equals = strchr(text, '=');
    const size_t length = equals ? (size_t)(equals - text) : strlen(text);
    bool takes_value = false;
    if (length == 0 || length >= sizeof name) return fail(arguments, "There is no option %s", argv[*index]);
    memcpy(name, text, length);
    name[length] = '\0';
    if (!find(options, option_count, name, &takes_value) &&
        !find(common, sizeof common / sizeof *common, name, &takes_value) && !(extra && extra(name, &takes_value)))
        return fail(arguments, "There is no option --%s here; --help lists them", name);
    if (arguments->count == CLI_MAX_VALUES) return fail(arguments, "Too many options, at --%s", name);
    if (equals && !takes_value) return fail(arguments, "Option --%s takes no value", name);
    const char *value = equals ? equals + 1 : NULL;
    if (takes_value && !value) {
        if (*index + 1 >= argc) return fail(arguments, "Option --%s needs a value", name);
        value = argv[++*index];
    }
    if (strcmp(name, "help") == 0) arguments->help = true;
    arguments->names[arguments->count] = text;
    arguments->values[arguments->count++] = value;
    return true;
}

bool cli_parse(cli_arguments *arguments, int argc, char **argv, const cli_option *options, size_t option_count,
               cli_lookup extra)
{
    bool options_end = false;
    *arguments = (cli_arguments){0};
    arguments->positional = calloc((size_t)argc + 1, sizeof *arguments->positional);
    if (!arguments->positional) return fail(arguments, "No memory for the command line%s", "");
    for (int i = 0; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0)
            options_end = true;
        else if (!options_end && strncmp(argv[i], "--", 2) == 0) {
            if (!parse_option(arguments, argc, argv, &i, options, option_count, extra)) return false;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1] != '\0')
            return fail(arguments, "There is no option %s; options begin with two dashes", argv[i]);
        else
            arguments->positional[arguments->positional_count++] = argv[i];
    }
    return true;
}

void cli_arguments_free(cli_arguments *arguments)
{
    free(arguments->positional);
    arguments->positional = NULL;
}

/* Names point into argv and may end with '=' and the value. */
static bool same_name(const char *given, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(given, name, length) == 0 && (given[length] == '\0' || given[length] == '=');
}

const char *cli_value(const cli_arguments *arguments, const char *name)
{
    for (size_t i = arguments->count; i-- > 0;)
        if (same_name(arguments->names[i], name)) return arguments->values[i] ? arguments->values[i] : "";
    return NULL;
}

bool cli_whole(cli_arguments *arguments, unsigned *out, const char *name, unsigned low, unsigned high)
{
    const char *text = cli_value(arguments, name);
    char *rest;
    if (!text) return true;
    const unsigned long long value = strtoull(text, &rest, 10);
    if (*text < '0' || *text > '9' || *rest != '\0' || value < low || value > high) {
        snprintf(arguments->message, sizeof arguments->message,
                 "--%s is \"%s\", but must be a whole number in %u to %u", name, text, low, high);
        return false;
    }
    *out = (unsigned)value;
    return true;
}

void cli_print_option(const char *name, const char *values, const char *help)
{
    char head[96];
    snprintf(head, sizeof head, "--%s%s%s", name, values && *values ? " " : "", values ? values : "");
    if (strlen(head) > 26)
        printf("  %s\n  %-26s  %s\n", head, "", help);
    else
        printf("  %-26s  %s\n", head, help);
}

void cli_print_options(const cli_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) cli_print_option(options[i].name, options[i].values, options[i].help);
}

void cli_print_common_options(void)
{
    printf("\nFor every command:\n");
    cli_print_options(common, sizeof common / sizeof *common);
}
