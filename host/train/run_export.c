/* Exporting what a run holds, from its files. */
#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "train/export.h"
#include "train/run_config.h"
#include <string.h>

typedef struct slad_export {
    slad_context *context;
    const slad_run_export_options *options;
    unsigned parts;
    slad_run_config config;
    slad_safetensors *state;
    slad_encoder *teacher, *student;
} slad_export;

static slad_status read_stored(slad_context *context, float *destination, const char *name, size_t rank,
                               const uint64_t *shape, const void *user)
{
    slad_status status = SLAD_OK;
    const slad_safetensors *file = user;
    const slad_safetensor *stored = slad_safetensors_find(file, name);
    char wanted[96], found[96];
    SLAD_FAIL_IF(!stored, SLAD_ERROR_DATA, "%s has no tensor %s, as the run's config.json says it should",
                 slad_safetensors_path(file), name);
    slad_safetensors_shape_text(wanted, sizeof wanted, shape, rank);
    slad_safetensors_shape_text(found, sizeof found, stored->shape, stored->rank);
    SLAD_FAIL_IF(stored->rank != rank || memcmp(stored->shape, shape, rank * sizeof *shape) != 0, SLAD_ERROR_DATA,
                 "%s: tensor %s is %s, but the run's config.json and the models that it names ask for %s",
                 slad_safetensors_path(file), name, found, wanted);
    SLAD_TRY(slad_safetensors_read_float(context, destination, file, stored, 0, stored->elements));
cleanup:
    return status;
}

/* Nothing may be replaced. */
static slad_status check_places(slad_export *export)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    char *path = NULL;
    for (unsigned i = 0; i < SLAD_EXPORT_PARTS; i++) {
        if (!(export->parts & 1u << i)) continue;
        SLAD_TRY(slad_path_join(context, &path, export->options->out, slad_export_part_name(i)));
        SLAD_FAIL_IF(slad_path_look(path) != SLAD_PATH_MISSING, SLAD_ERROR_USAGE,
                     "%s exists already; choose another --out, or remove it", path);
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    return status;
}

/* The parts that are wanted must be there, and their places free. */
static slad_status check_parts(slad_export *export)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    const slad_run_export_options *options = export->options;
    const unsigned there = slad_export_parts_of(&export->config.train);
    export->parts = options->parts ? options->parts : there;
    for (unsigned i = 0; i < SLAD_EXPORT_PARTS; i++)
        SLAD_FAIL_IF(export->parts & ~(there | SLAD_EXPORT_ONNX) & 1u << i, SLAD_ERROR_USAGE,
                     "Run %s was trained by a method that makes no %s", options->run, slad_export_part_name(i));
    SLAD_TRY(check_places(export));
cleanup:
    return status;
}

static slad_status prepare_folder(slad_context *context, const char *out)
{
    slad_status status = SLAD_OK;
    const slad_path_kind kind = slad_path_look(out);
    SLAD_FAIL_IF(kind != SLAD_PATH_MISSING && kind != SLAD_PATH_DIRECTORY, SLAD_ERROR_USAGE,
                 "--out %s is no folder; choose another", out);
    SLAD_TRY(slad_directory_create(context, out));
    SLAD_TRY(slad_directory_test_writing(context, out));
cleanup:
    return status;
}

static slad_status open_model(slad_export *export, slad_encoder **encoder, const char *role, const char *folder)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(!folder, SLAD_ERROR_DATA, "%s/config.json names no %s, though its method trains one",
                 export->options->run, role);
    SLAD_FAIL_IF(slad_path_look(folder) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "The %s of run %s was made from %s, which is not there; put it back", role, export->options->run,
                 folder);
    SLAD_TRY(slad_encoder_open(context, encoder, folder));
cleanup:
    return status;
}

static slad_status open_files(slad_export *export)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, export->options->run, "state.safetensors"));
    SLAD_TRY(slad_safetensors_open(context, &export->state, path));
    if (slad_export_needs_teacher(&export->config.train, export->parts))
        SLAD_TRY(open_model(export, &export->teacher, "teacher", export->config.teacher));
    SLAD_TRY(open_model(export, &export->student, "student", export->config.student));
cleanup:
    slad_release(path);
    return status;
}

static slad_status write_part(slad_export *export, const slad_export_source *source, unsigned index)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, export->options->out, slad_export_part_name(index)));
    SLAD_TRY(slad_export_write(context, path, (slad_export_part)(1u << index), source,
                               (const char *const *)export->config.class_names));
cleanup:
    slad_release(path);
    return status;
}

/* Removes what there is of all parts after an error, since none of them was there before. Quietly: the error that is
 * reported is the first. */
static void remove_parts(slad_export *export)
{
    slad_report_quietly(export->context, true);
    for (unsigned i = 0; i < SLAD_EXPORT_PARTS; i++) {
        char *path = NULL;
        if (!(export->parts & 1u << i)) continue;
        if (slad_path_join(export->context, &path, export->options->out, slad_export_part_name(i)) == SLAD_OK)
            (void)slad_path_remove(export->context, path);
        slad_release(path);
    }
    slad_report_quietly(export->context, false);
}

static slad_status write_parts(slad_export *export)
{
    slad_status status = SLAD_OK;
    const slad_export_source source = {
        .teacher = export->teacher,
        .student = export->student,
        .options = &export->config.train,
        .classes = export->config.classes,
        .image_size = export->config.image_size,
        .interruptible = true,
        .read = read_stored,
        .user = export->state,
    };
    for (unsigned i = 0; status == SLAD_OK && i < SLAD_EXPORT_PARTS; i++)
        if (export->parts & 1u << i) status = write_part(export, &source, i);
    if (status != SLAD_OK) remove_parts(export);
    return status;
}

static void close_export(slad_export *export)
{
    slad_encoder_free(export->student);
    slad_encoder_free(export->teacher);
    slad_safetensors_close(export->state);
    slad_run_config_free(&export->config);
}

static slad_status export_run(slad_export *export)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_run_config_read(context, &export->config, export->options->run));
    SLAD_TRY(check_parts(export));
    SLAD_TRY(prepare_folder(context, export->options->out));
    SLAD_TRY(open_files(export));
    SLAD_TRY(write_parts(export));
cleanup:
    return status;
}

/* A model that no run made. */
static slad_status export_model(slad_export *export)
{
    slad_context *context = export->context;
    slad_status status = SLAD_OK;
    char *path = NULL;
    export->parts = export->options->parts;
    SLAD_TRY(check_places(export));
    SLAD_TRY(prepare_folder(context, export->options->out));
    SLAD_TRY(slad_encoder_open(context, &export->student, export->options->run));
    for (unsigned i = 0; status == SLAD_OK && i < SLAD_EXPORT_PARTS; i++) {
        if (!(export->parts & 1u << i)) continue;
        slad_release(path);
        path = NULL;
        SLAD_TRY(slad_path_join(context, &path, export->options->out, slad_export_part_name(i)));
        status = slad_export_model_write(context, path, (slad_export_part)(1u << i), export->student);
    }
    if (status != SLAD_OK) remove_parts(export);
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_run_export(slad_context *context, unsigned *written, const slad_run_export_options *options)
{
    slad_status status = SLAD_OK;
    slad_export export = {.context = context, .options = options};
    const bool is_run = slad_path_is_run(context, options->run);
    enum { of_models = SLAD_EXPORT_STUDENT | SLAD_EXPORT_ONNX };
    SLAD_FAIL_IF(options->out[0] == '\0', SLAD_ERROR_USAGE, "--out is empty; name a folder");
    SLAD_FAIL_IF(!is_run && (!options->parts || options->parts & ~(unsigned)of_models), SLAD_ERROR_DATA,
                 "%s is no run of slad train: it has no config.json with state.safetensors. Of a model there are "
                 "--what student and --what onnx",
                 options->run);
    SLAD_TRY(is_run ? export_run(&export) : export_model(&export));
    if (written) *written = export.parts;
    slad_log(context, SLAD_LOG_INFO, "Done: %s of %s is in %s", is_run ? "what was trained" : "what was asked for",
             options->run, options->out);
cleanup:
    close_export(&export);
    return status;
}
