#include "train/run_cka.h"
#include "base/files.h"
#include "base/memory.h"
#include "train/cka.h"
#include <math.h>

/* The teacher layer of a student layer, or the number of teacher layers if it has none. */
static size_t mapped_layer(const slad_train_options *train, size_t i, size_t teacher_layers, size_t student_layers)
{
    if (train->share_map == SLAD_MAP_LIST) {
        const bool listed = i < train->share_list_count && train->share_list[i] >= 0;
        return listed ? (size_t)train->share_list[i] : teacher_layers;
    }
    return slad_share_map_layer(train->share_map, i, teacher_layers, student_layers);
}

static slad_status list_layers(slad_context *context, slad_cka_result *result, const slad_run_model *model,
                               const slad_encoder *teacher_encoder)
{
    slad_status status = SLAD_OK;
    const size_t student = slad_encoder_get_info(model->student)->layers;
    const size_t teacher = slad_encoder_get_info(teacher_encoder)->layers;
    SLAD_TRY(slad_allocate(context, &result->student_layers, student, sizeof(size_t), "the layers of CKA"));
    SLAD_TRY(slad_allocate(context, &result->teacher_layers, student, sizeof(size_t), "the layers of CKA"));
    for (size_t i = 0; i < student; i++) {
        const size_t layer = mapped_layer(&model->config.train, i, teacher, student);
        if (layer >= teacher) continue;
        result->student_layers[result->layers] = i;
        result->teacher_layers[result->layers++] = layer;
    }
    SLAD_TRY(slad_allocate(context, &result->adapted.layers, student, sizeof(double), "CKA"));
    SLAD_TRY(slad_allocate(context, &result->pretrained.layers, student, sizeof(double), "CKA"));
cleanup:
    return status;
}

slad_status slad_run_cka_prepare(slad_context *context, slad_cka_result *result, const slad_run_model *model,
                                 const slad_data_pass *pass, const slad_eval_options *options)
{
    slad_status status = SLAD_OK;
    const bool wanted = options->cka == SLAD_CKA_ON;
    slad_network_source teacher = {0};
    *result = (slad_cka_result){.delta = NAN, .batch = slad_similarity_batch(pass->images)};
    if (options->cka == SLAD_CKA_OFF) return SLAD_OK;
    if (slad_run_model_has_teacher(model)) SLAD_TRY(slad_run_model_teacher(context, &teacher, model));
    SLAD_FAIL_IF(!teacher.encoder && wanted, SLAD_ERROR_USAGE,
                 "%s has no teacher to compare a student with; leave --cka out", options->model);
    SLAD_FAIL_IF(result->batch < 4 && wanted, SLAD_ERROR_USAGE,
                 "CKA needs at least four images, and %s has %zu; leave --cka out", options->data, pass->images);
    if (!teacher.encoder || result->batch < 4) return SLAD_OK;
    SLAD_TRY(list_layers(context, result, model, teacher.encoder));
    result->present = true;
cleanup:
    return status;
}

/* The two encoders before adaptation; of a frozen teacher, what its own files hold without adapters beside them. */
typedef struct slad_pretrained {
    slad_inference teacher, student;
    slad_similarity similarity;
} slad_pretrained;

static slad_status compare_batch(void *user, const slad_batch *batch, size_t first)
{
    slad_pretrained *pair = user;
    slad_status status = SLAD_OK;
    (void)first;
    SLAD_TRY(slad_inference_run(&pair->teacher, batch->pixel_values));
    SLAD_TRY(slad_inference_run(&pair->student, batch->pixel_values));
    SLAD_TRY(slad_similarity_add(&pair->similarity, &pair->teacher, &pair->student, batch));
cleanup:
    return status;
}

static slad_status walk_pretrained(slad_cka_result *result, slad_device *device, const slad_run_model *model,
                                   slad_data_pass *pass, slad_position_mode mode)
{
    slad_context *context = pass->context;
    slad_status status = SLAD_OK;
    slad_encoder *student = NULL;
    slad_pretrained pair = {0};
    slad_network_source teacher;
    SLAD_TRY(slad_run_model_teacher(context, &teacher, model));
    SLAD_TRY(slad_encoder_open(context, &student, model->config.student));
    const slad_network_source sources[2] = {{.encoder = teacher.encoder}, {.encoder = student}};
    SLAD_FAIL_IF(slad_encoder_get_info(student)->layers != slad_encoder_get_info(model->student)->layers,
                 SLAD_ERROR_DATA, "%s is not the student that the run started from: it has %zu layers, not %zu",
                 model->config.student, slad_encoder_get_info(student)->layers,
                 slad_encoder_get_info(model->student)->layers);
    SLAD_TRY(slad_inference_create(context, &pair.teacher, device, &sources[0], pass->batch, pass->image_size, mode,
                                   SLAD_WANT_FEATURES));
    SLAD_TRY(slad_inference_create(context, &pair.student, device, &sources[1], pass->batch, pass->image_size, mode,
                                   SLAD_WANT_FEATURES));
    SLAD_TRY(slad_similarity_start(context, &pair.similarity, &pair.teacher, &pair.student, result));
    SLAD_TRY(slad_data_pass_walk(pass, "comparing features before adaptation", compare_batch, &pair));
    slad_similarity_scores(&pair.similarity, &result->pretrained);
    result->delta = slad_cka_delta(result->pretrained.cls, result->adapted.cls);
    result->has_pretrained = true;
cleanup:
    slad_similarity_free(&pair.similarity);
    if (pair.teacher.store) slad_inference_free(&pair.teacher);
    if (pair.student.store) slad_inference_free(&pair.student);
    slad_encoder_free(student);
    return status;
}

slad_status slad_run_cka_pretrained(slad_cka_result *result, slad_device *device, const slad_run_model *model,
                                    slad_data_pass *pass, const slad_eval_options *options)
{
    slad_context *context = pass->context;
    slad_status status = SLAD_OK;
    const char *folder = model->config.student;
    const bool there = slad_path_look(folder) != SLAD_PATH_MISSING;
    SLAD_FAIL_IF(!there && options->cka == SLAD_CKA_ON, SLAD_ERROR_DATA,
                 "The student of %s was made from %s, which is not there: CKA before the adaptation cannot be measured",
                 options->model, folder);
    if (there)
        SLAD_TRY(walk_pretrained(result, device, model, pass, slad_run_model_position(model, options->position_mode)));
    else
        slad_log(context, SLAD_LOG_WARNING,
                 "The student was made from %s, which is not there: CKA is told of the adapted models only", folder);
cleanup:
    return status;
}

void slad_cka_result_free(slad_cka_result *result)
{
    slad_release(result->student_layers);
    slad_release(result->teacher_layers);
    slad_release(result->adapted.layers);
    slad_release(result->pretrained.layers);
    *result = (slad_cka_result){0};
}

/* cJSON writes NaN as null. */
static void add_scores(cJSON *json, const slad_cka_result *result, const slad_cka_scores *scores)
{
    cJSON *output = cJSON_AddObjectToObject(json, "output"), *layers = cJSON_AddArrayToObject(json, "layers");
    cJSON_AddNumberToObject(output, "cls", scores->cls);
    cJSON_AddNumberToObject(output, "mean", scores->mean);
    for (size_t i = 0; i < result->layers; i++) {
        cJSON *layer = cJSON_CreateObject();
        cJSON_AddNumberToObject(layer, "student", (double)result->student_layers[i]);
        cJSON_AddNumberToObject(layer, "teacher", (double)result->teacher_layers[i]);
        cJSON_AddNumberToObject(layer, "cka", scores->layers[i]);
        cJSON_AddItemToArray(layers, layer);
    }
}

cJSON *slad_cka_json(const slad_cka_result *result)
{
    cJSON *json = cJSON_CreateObject();
    if (!json) return NULL;
    cJSON_AddNumberToObject(json, "images", (double)(result->batch * result->batches));
    cJSON_AddNumberToObject(json, "batch", (double)result->batch);
    add_scores(json, result, &result->adapted);
    if (!result->has_pretrained) return json;
    add_scores(cJSON_AddObjectToObject(json, "pretrained"), result, &result->pretrained);
    cJSON_AddNumberToObject(json, "delta", result->delta);
    return json;
}
