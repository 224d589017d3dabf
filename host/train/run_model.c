#include "train/run_model.h"
#include "base/files.h"
#include "base/memory.h"

/* Runs that learned from runs that learned from runs: more than anybody trains, and so a circle. */
enum { MOST_TEACHERS = 16 };

static slad_status open_model(slad_context *context, slad_run_model *model, const char *path, bool want_teacher,
                              unsigned depth);

static slad_status open_run(slad_context *context, slad_run_model *model, const char *path, bool want_teacher,
                            unsigned depth)
{
    slad_status status = SLAD_OK;
    char *state = NULL, *student_config = NULL; /* without it no student is whole */
    SLAD_TRY(slad_run_config_read(context, &model->config, path));
    SLAD_TRY(slad_path_join(context, &model->student_folder, path, "student"));
    SLAD_TRY(slad_path_join(context, &student_config, model->student_folder, "config.json"));
    SLAD_FAIL_IF(slad_path_look(student_config) != SLAD_PATH_FILE, SLAD_ERROR_DATA,
                 "Run %s has no merged student: it was stopped before its end. Go on with it by slad train --resume "
                 "--out %s; or, if its last stage had begun, make it from the last checkpoint with slad export %s "
                 "--out %s --what student",
                 path, path, path, path);
    if (want_teacher && model->config.train.teacher_adapt == SLAD_ADAPT_FROZEN) {
        SLAD_FAIL_IF(!model->config.teacher, SLAD_ERROR_DATA, "%s/config.json names no teacher", path);
        SLAD_FAIL_IF(depth == MOST_TEACHERS, SLAD_ERROR_DATA,
                     "%s/config.json: the teacher %s leads on to more than %d teachers, or in a circle", path,
                     model->config.teacher, MOST_TEACHERS);
        SLAD_TRY(slad_allocate(context, &model->frozen, 1, sizeof *model->frozen, "a frozen teacher"));
        SLAD_TRY(open_model(context, model->frozen, model->config.teacher, true, depth + 1));
    } else if (want_teacher && model->config.teacher) {
        SLAD_FAIL_IF(slad_path_look(model->config.teacher) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                     "The teacher of run %s was made from %s, which is not there; put it back, or use %s alone", path,
                     model->config.teacher, model->student_folder);
        SLAD_TRY(slad_path_join(context, &state, path, "state.safetensors"));
        SLAD_TRY(slad_safetensors_open(context, &model->state, state));
        SLAD_TRY(slad_encoder_open(context, &model->teacher, model->config.teacher));
    }
cleanup:
    slad_release(student_config);
    slad_release(state);
    return status;
}

static slad_status open_model(slad_context *context, slad_run_model *model, const char *path, bool want_teacher,
                              unsigned depth)
{
    slad_status status = SLAD_OK;
    *model = (slad_run_model){0};
    SLAD_FAIL_IF(slad_path_look(path) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "%s is no folder and no file; give a run of slad train, a model's folder, or its single file", path);
    model->is_run = slad_path_is_run(context, path);
    if (model->is_run) SLAD_TRY(open_run(context, model, path, want_teacher, depth));
    SLAD_TRY(slad_encoder_open(context, &model->student, model->is_run ? model->student_folder : path));
    if (!model->is_run) SLAD_TRY(slad_duplicate(context, &model->student_folder, slad_encoder_path(model->student)));
cleanup:
    if (status != SLAD_OK) slad_run_model_close(model);
    return status;
}

slad_status slad_run_model_open(slad_context *context, slad_run_model *model, const char *path, bool want_teacher)
{
    return open_model(context, model, path, want_teacher, 0);
}

void slad_run_model_close(slad_run_model *model)
{
    slad_run_config_free(&model->config);
    slad_encoder_free(model->student);
    slad_encoder_free(model->teacher);
    slad_safetensors_close(model->state);
    slad_release(model->student_folder);
    if (model->frozen) slad_run_model_close(model->frozen);
    slad_release(model->frozen);
    *model = (slad_run_model){0};
}

slad_status slad_run_model_student(slad_context *context, slad_network_source *source, const slad_run_model *model,
                                   bool want_head)
{
    slad_status status = SLAD_OK;
    const slad_encoder_info *info = slad_encoder_get_info(model->student);
    *source = (slad_network_source){.encoder = model->student, .prefix = "student.", .classes = info->classes};
    source->head = slad_head_kind_of(model->student);
    SLAD_FAIL_IF(want_head && info->classes < 2, SLAD_ERROR_DATA,
                 "%s has no classifier; give a run, or a folder of Dinov2ForImageClassification or its like",
                 model->student_folder);
cleanup:
    return status;
}

bool slad_run_model_has_teacher(const slad_run_model *model)
{
    return model->teacher || model->frozen;
}

slad_status slad_run_model_teacher(slad_context *context, slad_network_source *source, const slad_run_model *model)
{
    const slad_train_options *train = &model->config.train;
    if (model->frozen) return slad_run_model_frozen(context, source, model->frozen);
    *source = (slad_network_source){
        .encoder = model->teacher,
        .state = model->state,
        .prefix = "teacher.",
        .adapt = train->teacher_adapt,
        .options = train,
        .student = slad_encoder_get_info(model->student),
        .head = train->head,
        .classes = model->config.classes,
    };
    return SLAD_OK;
}

slad_status slad_run_model_frozen(slad_context *context, slad_network_source *source, const slad_run_model *model)
{
    if (slad_run_model_has_teacher(model)) return slad_run_model_teacher(context, source, model);
    return slad_run_model_student(context, source, model, true);
}

slad_position_mode slad_run_model_position(const slad_run_model *model, slad_position_mode asked)
{
    return model->is_run ? model->config.train.position_mode : asked;
}

const char *slad_run_model_class_name(const slad_run_model *model, size_t class_index)
{
    if (model->is_run) return model->config.class_names[class_index];
    return slad_hf_class_name(model->student->files, (uint32_t)class_index);
}
