/* slad compare */
#include "slad/compare.h"
#include "cli/session.h"
#include <stdio.h>

static const cli_option options[] = {
    {"data", "PATH", "evaluate every run on this data now (default: each run's last evaluation counts)"},
    {"out", "FILE.html", "page that receives the comparison"},
    {"batch", "N", "with --data: images at once (default: 32)"},
    {"workers", "N", "with --data: loader threads (default: one a processor)"},
};
static const size_t option_count = sizeof options / sizeof *options;

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_comparison comparison = {0};
    unsigned batch = 0, workers = 0;
    if (arguments->positional_count == 0) return cli_usage("compare", "slad compare needs at least one RUN");
    if (!cli_whole(arguments, &batch, "batch", 1, 65536) || !cli_whole(arguments, &workers, "workers", 1, 256))
        return cli_usage("compare", arguments->message);
    const slad_compare_options compare = {
        .runs = arguments->positional,
        .run_count = arguments->positional_count,
        .data = cli_value(arguments, "data"),
        .batch = batch,
        .workers = workers,
        .page = cli_value(arguments, "out"),
    };
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK && compare.data) code = cli_session_open_device(&session);
    if (code == SLAD_OK) code = (int)slad_compare(session.context, session.device, &comparison, &compare);
    if (code == SLAD_OK && puts(session.json ? comparison.json : comparison.markdown) < 0) code = SLAD_ERROR_WRITE;
    slad_comparison_free(&comparison);
    cli_session_close(&session);
    return code;
}

int cli_compare(int argc, char **argv)
{
    static const cli_manual manual = {
        "compare",
        "usage: slad compare RUN... [options]\n"
        "\n"
        "One table of several runs, in Markdown. Runs that differ in nothing but their seed are a group, of which mean "
        "and\n"
        "standard deviation are told. Students of equal seed are compared by McNemar's test, which needs that they "
        "were\n"
        "evaluated on the same images.\n"
        "\n",
    };
    return cli_run(&manual, argc, argv, options, option_count, run);
}
