/* slad features */
#include "cli/session.h"
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"data", "PATH", "images, as for slad train; labels are not used"},
    {"out", "FILE", "safetensors that receives last_hidden_state, cls and mean"},
    {"model", "student|teacher", "of a run: whose features (default: student)"},
    {"split", "val|train", "which part of the data (default: val if there is one)"},
    CLI_DATA_OPTIONS,
};
static const size_t option_count = sizeof options / sizeof *options;

/* Sets *first if text is NULL or first_name, clears it if it is second_name; false for anything else. */
static bool choose(bool *first, const char *text, const char *first_name, const char *second_name)
{
    *first = !text || strcmp(text, first_name) == 0;
    return *first || strcmp(text, second_name) == 0;
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    cli_data_options data = {0};
    bool student, validation;
    if (arguments->positional_count != 1 || !cli_value(arguments, "data") || !cli_value(arguments, "out"))
        return cli_usage("features", "slad features needs one MODEL, --data PATH and --out FILE");
    if (!choose(&student, cli_value(arguments, "model"), "student", "teacher"))
        return cli_usage("features", "--model takes student or teacher");
    if (!choose(&validation, cli_value(arguments, "split"), "val", "train"))
        return cli_usage("features", "--split takes val or train");
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = cli_read_data_options(&session, &data, arguments, "features");
    if (code == SLAD_OK) code = cli_session_open_device(&session);
    const slad_features_options features = {
        .model = arguments->positional[0],
        .data = cli_value(arguments, "data"),
        .out = cli_value(arguments, "out"),
        .teacher = !student,
        .batch = data.batch,
        .workers = data.workers,
        .image_size = data.image_size,
        .position_mode = data.position_mode,
        .split = validation ? SLAD_SPLIT_VALIDATION : SLAD_SPLIT_TRAIN,
        .strict_data = data.strict_data,
    };
    if (code == SLAD_OK) code = (int)slad_run_features(session.context, session.device, &features);
    if (code == SLAD_OK && session.json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "features", features.out);
        code = cli_print_json(json);
    }
    cli_session_close(&session);
    return code;
}

int cli_features(int argc, char **argv)
{
    static const cli_manual manual = {
        "features",
        "usage: slad features MODEL --data PATH --out FILE [options]\n"
        "\n"
        "MODEL is a run, a model folder, or a file of hub or timm. The file receives last_hidden_state [N,T,d] after\n"
        "the final LayerNorm, cls [N,d], and mean [N,d] of the patches.\n"
        "\n",
    };
    return cli_run(&manual, argc, argv, options, option_count, run);
}
