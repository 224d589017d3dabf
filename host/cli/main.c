/* The program slad: a thin client of libslad. */
#include "cli/session.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv); /* NULL: named by the design, not in this version */
    const char *help;
} cli_command;

static const cli_command commands[] = {
    {"devices", cli_devices, "every platform and device, what it can do, and why one cannot be used"},
    {"train", cli_train, "adapt a student, alone or together with a teacher that shares its adapters"},
    {"eval", cli_eval, "measure a run or a model on labelled images"},
    {"predict", cli_predict, "classes of images, with probabilities"},
    {"features", cli_features, "features of an encoder as a safetensors file"},
    {"export", cli_export, "merged student and adapters of a run, for transformers and PEFT"},
    {"tune", NULL, "measure kernel variants on this device"},
    {"bench", cli_bench, "kernels and training against the device's peak"},
    {"compile", NULL, "all kernels as an offline bundle"},
    {"compare", cli_compare, "one table over several runs and seeds"},
};
static const size_t command_count = sizeof commands / sizeof *commands;

static void print_help(void)
{
    printf("slad %s: vision-model adaptation on any OpenCL device\n\nusage: slad COMMAND [options]\n\n", SLAD_VERSION);
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].run) printf("  %-10s %s\n", commands[i].name, commands[i].help);
    printf("\n`slad COMMAND --help` tells all of a command.\n");
}

/* Where the caller closed a standard stream, the next file to be opened would take its number, and what is meant for
 * the stream would end up in that file. Opened for reading, so that writing to it still fails. */
static void fill_standard_streams(void)
{
    FILE *stream = fopen("/dev/null", "r");
    while (stream && fileno(stream) <= STDERR_FILENO) stream = fopen("/dev/null", "r");
    if (stream) (void)fclose(stream);
}

static int run_command(int argc, char **argv)
{
    char message[128];
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return argc > 1 ? SLAD_OK : SLAD_ERROR_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("slad %s\n", SLAD_VERSION);
        return SLAD_OK;
    }
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        if (commands[i].run) return commands[i].run(argc - 2, argv + 2);
        snprintf(message, sizeof message, "Command %s is not available in this version of slad", name);
        return cli_usage(NULL, message);
    }
    snprintf(message, sizeof message, "There is no command \"%.60s\"", name);
    return cli_usage(NULL, message);
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    const int code = run_command(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fputs("error: standard output cannot be written\n", stderr);
    return code == SLAD_OK ? (int)SLAD_ERROR_WRITE : code;
}
