/* slad export */
#include "cli/session.h"
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"out", "DIR", "folder that receives a folder for each part"},
    {"what", "PART", "student, student-adapter, teacher-adapter or onnx; may be given again (default: all but onnx)"},
};
static const size_t option_count = sizeof options / sizeof *options;

/* The part of that name, 0 if there is none. */
static unsigned find_part(const char *name)
{
    for (unsigned i = 0; slad_export_part_name(i); i++)
        if (strcmp(slad_export_part_name(i), name) == 0) return 1u << i;
    return 0;
}

/* Every --what that was given, or-ed. False for one that is no part. */
static bool read_parts(unsigned *parts, const cli_arguments *arguments)
{
    *parts = 0;
    for (size_t i = 0; i < arguments->count; i++) {
        const size_t length = strcspn(arguments->names[i], "=");
        if (length != strlen("what") || strncmp(arguments->names[i], "what", length) != 0) continue;
        const unsigned part = find_part(arguments->values[i]);
        if (part == 0) return false;
        *parts |= part;
    }
    return true;
}

static int print_result(const cli_session *session, const char *out, unsigned written)
{
    if (!session->json) return SLAD_OK;
    cJSON *json = cJSON_CreateObject();
    cJSON *parts = cJSON_AddArrayToObject(json, "parts");
    cJSON_AddStringToObject(json, "out", out);
    for (unsigned i = 0; slad_export_part_name(i); i++)
        if (written & 1u << i) cJSON_AddItemToArray(parts, cJSON_CreateString(slad_export_part_name(i)));
    return cli_print_json(json);
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_run_export_options export = {.out = cli_value(arguments, "out")};
    unsigned written = 0;
    if (arguments->positional_count != 1 || !export.out)
        return cli_usage("export", "slad export needs one RUN (or, with --what, MODEL) and --out DIR");
    if (!read_parts(&export.parts, arguments))
        return cli_usage("export", "--what takes student, student-adapter, teacher-adapter or onnx");
    export.run = arguments->positional[0];
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = (int)slad_run_export(session.context, &written, &export);
    if (code == SLAD_OK) code = print_result(&session, export.out, written);
    cli_session_close(&session);
    return code;
}

int cli_export(int argc, char **argv)
{
    static const cli_manual manual = {
        "export",
        "usage: slad export RUN --out DIR [--what PART]... [options]\n"
        "       slad export MODEL --out DIR --what student|onnx\n"
        "\n"
        "Writes what a run trained: DIR/student, the merged student, for transformers; DIR/student-adapter and\n"
        "DIR/teacher-adapter, adapters with their classifier, for PEFT; where asked for, DIR/onnx, the merged\n"
        "student as model.onnx, for onnxruntime and others. From the files of the run and the models that it was\n"
        "made from; no device is used. MODEL is a Hugging Face or PEFT folder, or a model's file, with a classifier.\n"
        "\n",
    };
    return cli_run(&manual, argc, argv, options, option_count, run);
}
