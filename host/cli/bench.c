/* slad bench */
#include "slad/bench.h"
#include "cli/session.h"
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"teacher", "DIR", "with --student: measure training of this pair too"},
    {"student", "DIR",
     "measure training and inference of this encoder too (default: the kernels of ViT-B/14 and ViT-S/14)"},
    {"batch", "N", "images at once (default: 8)"},
    {"image-size", "N", "pixels a side (default: 224)"},
    {"repetitions", "N", "of each measurement, after a warm-up; at least 5 (default: 5)"},
    {"max-time", "SECONDS", "leave out what has not begun by then, and say how much (default: no limit)"},
    {"cpu-time", NULL, "rates of processor time instead of the clock's, for CPU devices on busy machines"},
};
static const size_t option_count = sizeof options / sizeof *options;

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_bench_result result = {0};
    unsigned batch = 0, image_size = 0, repetitions = 0, max_time = 0;
    if (arguments->positional_count && strcmp(arguments->positional[0], "report") == 0)
        return cli_usage("bench",
                         "slad bench report is not available in this version of slad; --json keeps what it will read");
    if (arguments->positional_count) return cli_usage("bench", "slad bench takes options only");
    if (!cli_whole(arguments, &batch, "batch", 1, 65536) ||
        !cli_whole(arguments, &image_size, "image-size", 14, 16384) ||
        !cli_whole(arguments, &repetitions, "repetitions", 5, 1000) ||
        !cli_whole(arguments, &max_time, "max-time", 1, 1000000))
        return cli_usage("bench", arguments->message);
    const slad_bench_options bench = {
        .teacher = cli_value(arguments, "teacher"),
        .student = cli_value(arguments, "student"),
        .batch = batch,
        .image_size = image_size,
        .repetitions = repetitions,
        .max_seconds = max_time,
        .processor_time = cli_value(arguments, "cpu-time") != NULL,
    };
    if (bench.teacher && !bench.student) return cli_usage("bench", "--teacher needs a --student beside it");
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = cli_session_open_device(&session);
    if (code == SLAD_OK) code = (int)slad_bench(session.context, session.device, &result, &bench);
    if (code == SLAD_OK && puts(session.json ? result.json : result.markdown) < 0) code = SLAD_ERROR_WRITE;
    slad_bench_result_free(&result);
    cli_session_close(&session);
    return code;
}

int cli_bench(int argc, char **argv)
{
    static const cli_manual manual = {
        "bench",
        "usage: slad bench [options]\n"
        "\n"
        "Measures kernels of one device as shares of its peaks, which are measured too, and with --student whole "
        "models.\n"
        "Times are medians with the least and the greatest.\n"
        "\n",
    };
    return cli_run(&manual, argc, argv, options, option_count, run);
}
