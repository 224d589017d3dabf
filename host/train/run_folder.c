/* The folder of a run: what lies in it, and making room for a new one. */
#include "base/files.h"
#include "base/memory.h"
#include "train/run_training.h"
#include <string.h>

static const char *const run_files[] = {
    "config.json",       "metrics.jsonl",       "state.safetensors", "optimizer.safetensors", "best.safetensors",
    "probe.safetensors", "teacher.safetensors", "student",           "student-adapter",       "teacher-adapter",
    "report.html",       SLAD_PREDICTED_FILE,   "summary.json"};

/* Whether path is folder, or lies below it; both absolute. */
static bool lies_in(const char *path, const char *folder)
{
    const size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Whether later stages read --init again; a run of one stage has read it before it replaces anything. */
static bool starts_again(const slad_run_options *options)
{
    slad_stage stages[SLAD_MOST_STAGES];
    return slad_stages_of(stages, &options->train) > 1;
}

/* Refuses to replace a file or folder of an old run that this run reads until its end: below `old`, or, of models and
 * adapters, beside it. */
static slad_status check_replacing(slad_context *context, const char *old, const slad_run_options *options)
{
    slad_status status = SLAD_OK;
    enum { FOLDERS = 4 };
    const char *const inputs[] = {options->teacher,
                                  options->student,
                                  options->teacher_adapter,
                                  options->student_adapter,
                                  options->data,
                                  options->unlabelled,
                                  starts_again(options) ? options->init : NULL};
    char *out = NULL, *folder = NULL, *input = NULL;
    SLAD_TRY(slad_path_absolute(context, &out, options->out));
    SLAD_TRY(slad_path_absolute(context, &folder, old));
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        if (!inputs[i] || slad_path_look(inputs[i]) == SLAD_PATH_MISSING) continue;
        SLAD_TRY(slad_path_absolute(context, &input, inputs[i]));
        SLAD_FAIL_IF(lies_in(input, folder) || (i < FOLDERS && strcmp(input, out) == 0), SLAD_ERROR_USAGE,
                     "%s belongs to what --overwrite would replace; choose another --out", inputs[i]);
        slad_release(input);
        input = NULL;
    }
cleanup:
    slad_release(out);
    slad_release(folder);
    slad_release(input);
    return status;
}

/* Removes what writers that were killed left in the folders of a run. */
static slad_status clear_leftovers(slad_context *context, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_directory_clear_leftovers(context, folder, 0));
    for (size_t i = 0; i < sizeof run_files / sizeof *run_files; i++) {
        SLAD_TRY(slad_path_join(context, &path, folder, run_files[i]));
        SLAD_TRY(slad_directory_clear_leftovers(context, path, 0));
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_run_folder_prepare(slad_context *context, const slad_run_options *options)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    const slad_path_kind kind = slad_path_look(options->out);
    SLAD_FAIL_IF(options->out[0] == '\0', SLAD_ERROR_USAGE, "--out is empty; name a folder");
    SLAD_FAIL_IF(kind != SLAD_PATH_MISSING && kind != SLAD_PATH_DIRECTORY, SLAD_ERROR_USAGE,
                 "--out %s is no folder; choose another", options->out);
    SLAD_FAIL_IF(options->resume && options->overwrite, SLAD_ERROR_USAGE,
                 "--resume goes on with the run in --out, --overwrite replaces it: give one of them");
    SLAD_FAIL_IF(options->resume && !slad_path_is_run(context, options->out), SLAD_ERROR_USAGE,
                 "%s holds no run with a checkpoint to resume; leave --resume out", options->out);
    SLAD_TRY(slad_directory_create(context, options->out));
    for (size_t i = 0; i < sizeof run_files / sizeof *run_files; i++) {
        SLAD_TRY(slad_path_join(context, &path, options->out, run_files[i]));
        const bool exists = slad_path_look(path) != SLAD_PATH_MISSING;
        SLAD_FAIL_IF(
            exists && !options->overwrite && !options->resume, SLAD_ERROR_USAGE,
            "%s already holds a run (%s); choose another --out, or give --overwrite, or --resume to go on with it",
            options->out, run_files[i]);
        if (exists && options->overwrite) SLAD_TRY(check_replacing(context, path, options));
        slad_release(path);
        path = NULL;
    }
    if (options->resume || options->overwrite) SLAD_TRY(clear_leftovers(context, options->out));
    SLAD_TRY(slad_directory_test_writing(context, options->out));
cleanup:
    slad_release(path);
    return status;
}

/* Leaves nothing of another run in the folder. */
slad_status slad_run_folder_clear(slad_context *context, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    for (size_t i = 0; i < sizeof run_files / sizeof *run_files; i++) {
        SLAD_TRY(slad_path_join(context, &path, folder, run_files[i]));
        SLAD_TRY(slad_path_remove(context, path));
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    return status;
}
