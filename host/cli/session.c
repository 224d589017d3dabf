#include "cli/session.h"
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_WIDTH = 24, BAR_LEAST = 6, LINE_SIZE = 320 };
typedef char cli_line[LINE_SIZE];

/* The second Ctrl-C ends the program at once. */
static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int number)
{
    (void)number;
    if (interrupted) _exit(SLAD_ERROR_INTERRUPTED);
    interrupted = 1;
}

static bool on_cancelled(void *user)
{
    (void)user;
    return interrupted != 0;
}

static void clear_bar(cli_session *session)
{
    if (session->bar_shown) fputs("\r\033[K", stderr);
    session->bar_shown = false;
}

void cli_print_text(FILE *output, const char *text, bool lines)
{
    for (; *text; text++) {
        const bool control = (unsigned char)*text < 0x20 || *text == 0x7f;
        putc(control && !(lines && *text == '\n') ? '?' : *text, output);
    }
}

static void on_log(void *user, slad_log_level level, const char *message)
{
    static const char *const marks[] = {"error: ", "warning: ", "", "debug: "};
    clear_bar(user);
    fputs(marks[level], stderr);
    cli_print_text(stderr, message, true);
    putc('\n', stderr);
}

/* "1:02:03" or "2:03" */
static void format_time(char *text, size_t size, double seconds)
{
    const unsigned long whole = (unsigned long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, size, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, size, "%lu:%02lu", whole / 60, whole % 60);
}

/* Columns of the terminal that standard error is, less the last, where a cursor may wrap. */
static size_t terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
}

/* Puts formatted text behind what the line holds; what has no room is cut. */
static void append(cli_line line, const char *format, ...)
{
    const size_t used = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line + used, sizeof(cli_line) - used, format, arguments);
    va_end(arguments);
}

/* All that is known. */
static void append_measures(cli_line line, const slad_progress *progress)
{
    char left[32];
    append(line, " %llu/%llu", (unsigned long long)progress->done, (unsigned long long)progress->total);
    if (progress->epoch >= 0) append(line, " epoch %d", (int)progress->epoch);
    if (isfinite(progress->loss) && progress->loss >= 0) append(line, " loss %.4g", progress->loss);
    if (progress->accuracy >= 0) append(line, " accuracy %.1f %%", 100 * progress->accuracy);
    if (progress->rate > 0) append(line, " %.4g images/s", progress->rate);
    if (progress->seconds_left < 0) return;
    format_time(left, sizeof left, progress->seconds_left);
    append(line, " %s left", left);
}

/* One line that never wraps: the bar takes what the measures leave, and is left out where that is too little. */
static void on_progress(void *user, const slad_progress *progress)
{
    cli_session *session = user;
    cli_line measures = "", line = "";
    if (!session->terminal || progress->total == 0) return;
    append_measures(measures, progress);
    append(line, "%s", progress->activity);
    const size_t columns = terminal_columns(), used = strlen(line) + strlen(measures) + strlen(" []");
    const size_t room = columns > used ? columns - used : 0, width = room < BAR_WIDTH ? room : BAR_WIDTH;
    const size_t full = (size_t)(progress->done * width / progress->total);
    if (width >= BAR_LEAST) {
        append(line, " [");
        for (size_t i = 0; i < width; i++) append(line, "%c", i < full ? '#' : '.');
        append(line, "]");
    }
    append(line, "%s", measures);
    session->bar_shown = progress->done < progress->total;
    fprintf(stderr, "\r\033[K%.*s%s", (int)columns, line, session->bar_shown ? "" : "\r\033[K");
    fflush(stderr);
}

/* A closed terminal interrupts like Ctrl-C, unless nohup has the program ignore it. A pipe without a reader and a file
 * that may not grow become errors of writing. */
static void arm_signals(void)
{
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

int cli_session_open(cli_session *session, cli_arguments *arguments)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    const char *level_name = cli_value(arguments, "log-level");
    int level = SLAD_LOG_INFO;
    *session = (cli_session){0};
    if (level_name) {
        for (level = 0; level < 4 && strcmp(levels[level], level_name) != 0;) level++;
        if (level == 4) return cli_usage(NULL, "--log-level takes error, warning, info or debug");
    }
    const char *seed = cli_value(arguments, "seed");
    if (seed && (!*seed || seed[strspn(seed, "0123456789")] != '\0' || strlen(seed) > 19))
        return cli_usage(NULL, "--seed takes a whole number below 10^19");
    session->json = cli_value(arguments, "json") != NULL;
    session->terminal = isatty(STDERR_FILENO) != 0 && level >= SLAD_LOG_INFO;
    session->device_options = (slad_device_options){
        .spec = cli_value(arguments, "device"),
        .cache_directory = cli_value(arguments, "cache-dir"),
        .kernels_directory = cli_value(arguments, "kernels"),
    };
    const slad_callbacks callbacks = {session, on_log, on_progress, on_cancelled};
    const slad_status status = slad_context_create(&session->context, &callbacks, (slad_log_level)level);
    if (status == SLAD_OK) arm_signals();
    return (int)status;
}

int cli_session_open_device(cli_session *session)
{
    return (int)slad_device_open(session->context, &session->device, &session->device_options);
}

void cli_session_close(cli_session *session)
{
    clear_bar(session);
    slad_device_free(session->device);
    slad_context_free(session->context);
}

int cli_usage(const char *command, const char *message)
{
    fprintf(stderr, "error: %s\nsee: slad %s%s--help\n", message, command ? command : "", command ? " " : "");
    return SLAD_ERROR_USAGE;
}

int cli_run(const cli_manual *manual, int argc, char **argv, const cli_option *options, size_t count,
            int (*run)(cli_arguments *arguments))
{
    cli_arguments arguments;
    int code = SLAD_OK;
    if (!cli_parse(&arguments, argc, argv, options, count, NULL)) {
        code = cli_usage(manual->name, arguments.message);
    } else if (arguments.help) {
        fputs(manual->help, stdout);
        cli_print_options(options, count);
        cli_print_common_options();
    } else {
        code = run(&arguments);
    }
    cli_arguments_free(&arguments);
    return code;
}

int cli_print_json(cJSON *json)
{
    char *text = cJSON_Print(json);
    cJSON_Delete(json);
    if (!text) return SLAD_ERROR_OUT_OF_MEMORY;
    const bool written = puts(text) >= 0 && fflush(stdout) == 0;
    free(text);
    return written ? SLAD_OK : SLAD_ERROR_WRITE;
}

int cli_read_data_options(const cli_session *session, cli_data_options *data, cli_arguments *arguments,
                          const char *command)
{
    slad_train_options position = slad_train_options_default();
    const char *mode = cli_value(arguments, "pos-embed");
    *data = (cli_data_options){.strict_data = cli_value(arguments, "strict-data") != NULL};
    if (!cli_whole(arguments, &data->batch, "batch", 1, 65536) ||
        !cli_whole(arguments, &data->workers, "workers", 1, 256) ||
        !cli_whole(arguments, &data->image_size, "image-size", 1, 16384))
        return cli_usage(command, arguments->message);
    const int code = mode ? (int)slad_train_options_set(session->context, &position, "pos-embed", mode) : SLAD_OK;
    data->position_mode = position.position_mode;
    return code;
}
