/* preprocessor_config.json, the file that Hugging Face's image processors keep beside a model. */
#include "data/preprocess.h"

#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE_LIMIT = 16384, FILTER_LAST = SLAD_FILTER_HAMMING };

/* What transformers takes for keys that the file lacks. */
static slad_preprocess class_defaults(bool vit)
{
    slad_preprocess p = slad_preprocess_default();
    p.shortest_edge = vit ? 0 : 224;
    p.resize_height = p.resize_width = vit ? 224 : 0;
    p.filter = vit ? SLAD_FILTER_BILINEAR : SLAD_FILTER_BICUBIC;
    p.do_center_crop = !vit;
    const float clip_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
    const float clip_deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    for (int i = 0; i < 3; i++) {
        p.mean[i] = vit ? 0.5f : clip_mean[i];
        p.deviation[i] = vit ? 0.5f : clip_deviation[i];
    }
    return p;
}

/* Whether config.json, which lies beside a model's preprocessor_config.json, says that this is transformers' vit. */
static slad_status find_vit(slad_context *context, bool *vit, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    cJSON *json = NULL;
    const char *type = "";
    *vit = false;
    SLAD_TRY(slad_path_join(context, &path, folder, "config.json"));
    if (slad_path_look(path) == SLAD_PATH_FILE) {
        SLAD_TRY(slad_json_read(context, &json, path));
        SLAD_TRY(slad_json_get_string(context, &type, json, "model_type", false, path));
        *vit = strcmp(type, "vit") == 0;
    }
cleanup:
    cJSON_Delete(json);
    slad_release(path);
    return status;
}

/* Without a file of its own a model is taken to be what most of its kind are: DINOv2, or transformers' vit. */
static slad_status take_usual(slad_context *context, slad_preprocess *preprocess, const char *folder, const char *path)
{
    slad_status status = SLAD_OK;
    bool vit = false;
    const bool single = slad_path_look(folder) == SLAD_PATH_FILE;
    SLAD_TRY(find_vit(context, &vit, folder));
    *preprocess = vit ? class_defaults(true) : slad_preprocess_default();
    if (vit) {
        preprocess->crop_height = preprocess->resize_height;
        preprocess->crop_width = preprocess->resize_width;
    }
    slad_log(context, SLAD_LOG_INFO, "%s: %s; images are resized to %zu, cropped to %zu and normalised as %s expects",
             single ? folder : path, single ? "a single file has no preprocessor_config.json" : "no such file",
             vit ? preprocess->resize_height : preprocess->shortest_edge, preprocess->crop_height,
             vit ? "a ViT" : "DINOv2");
cleanup:
    return status;
}

/* A key with the value null means the same as no key. */
static void drop_nulls(cJSON *object)
{
    for (cJSON *child = object->child, *next = NULL; child; child = next) {
        next = child->next;
        if (cJSON_IsNull(child)) cJSON_Delete(cJSON_DetachItemViaPointer(object, child));
    }
}

/* cJSON_HasObjectItem would take "Height" for "height". */
static bool has(const cJSON *object, const char *field)
{
    return cJSON_GetObjectItemCaseSensitive(object, field) != NULL;
}

static slad_status read_side(slad_context *context, size_t *side, const cJSON *object, const char *field, bool required,
                             const char *origin)
{
    slad_status status = SLAD_OK;
    int64_t value = (int64_t)*side;
    SLAD_TRY(slad_json_get_integer(context, &value, object, field, required, 1, SIDE_LIMIT, origin));
    *side = (size_t)value;
cleanup:
    return status;
}

/* "size" or "crop_size": a number, {height, width} or, where `edge` is not NULL, {shortest_edge}. What the field does
 * not set becomes 0. A bare number is the shortest edge if `edge` is not NULL and `square` is false. */
static slad_status read_size(slad_context *context, size_t *edge, size_t *height, size_t *width, cJSON *json,
                             const char *field, bool square, const char *origin)
{
    slad_status status = SLAD_OK;
    cJSON *size = cJSON_GetObjectItemCaseSensitive(json, field);
    if (!size) return SLAD_OK;
    *height = *width = 0;
    if (edge) *edge = 0;
    if (cJSON_IsNumber(size)) {
        const bool is_edge = edge && !square;
        SLAD_TRY(read_side(context, is_edge ? edge : height, json, field, true, origin));
        *width = *height;
        return SLAD_OK;
    }
    SLAD_FAIL_IF(!cJSON_IsObject(size), SLAD_ERROR_DATA, "%s: \"%s\" must be a number or an object", origin, field);
    drop_nulls(size);
    SLAD_FAIL_IF(has(size, "longest_edge"), SLAD_ERROR_DATA,
                 "%s: \"%s\" with \"longest_edge\" is not supported; give \"shortest_edge\" alone, or \"height\" and "
                 "\"width\"",
                 origin, field);
    if (edge && has(size, "shortest_edge")) {
        SLAD_TRY(read_side(context, edge, size, "shortest_edge", true, origin));
        return SLAD_OK;
    }
    SLAD_FAIL_IF(!has(size, "height") || !has(size, "width"), SLAD_ERROR_DATA,
                 "%s: \"%s\" needs %s\"height\" and \"width\"", origin, field, edge ? "\"shortest_edge\", or " : "");
    SLAD_TRY(read_side(context, height, size, "height", true, origin));
    SLAD_TRY(read_side(context, width, size, "width", true, origin));
cleanup:
    return status;
}

/* "image_mean" or "image_std": one number or three, each of at least `low`. */
static slad_status read_channels(slad_context *context, float values[3], const cJSON *json, const char *field,
                                 double low, const char *origin)
{
    slad_status status = SLAD_OK;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field);
    if (!item) return SLAD_OK;
    SLAD_FAIL_IF(!cJSON_IsNumber(item) && !(cJSON_IsArray(item) && cJSON_GetArraySize(item) == 3), SLAD_ERROR_DATA,
                 "%s: \"%s\" must be one number or a list of three", origin, field);
    for (int i = 0; i < 3; i++) {
        const cJSON *value = cJSON_IsArray(item) ? cJSON_GetArrayItem(item, i) : item;
        SLAD_FAIL_IF(!cJSON_IsNumber(value) || !(value->valuedouble >= low && value->valuedouble <= 1e6),
                     SLAD_ERROR_DATA, "%s: \"%s\" must hold numbers from %g to 1e6", origin, field, low);
        values[i] = (float)value->valuedouble;
    }
cleanup:
    return status;
}

static slad_status read_arithmetic(slad_context *context, slad_preprocess *p, const cJSON *json, const char *origin)
{
    slad_status status = SLAD_OK;
    bool do_rescale = true, do_normalize = true;
    SLAD_TRY(slad_json_get_boolean(context, &do_rescale, json, "do_rescale", false, origin));
    SLAD_TRY(slad_json_get_boolean(context, &do_normalize, json, "do_normalize", false, origin));
    SLAD_TRY(slad_json_get_number(context, &p->rescale_factor, json, "rescale_factor", false, 1e-9, 1e9, origin));
    SLAD_TRY(read_channels(context, p->mean, json, "image_mean", -1e6, origin));
    SLAD_TRY(read_channels(context, p->deviation, json, "image_std", 1e-6, origin));
    if (!do_rescale) p->rescale_factor = 1.0;
    for (int i = 0; i < 3 && !do_normalize; i++) {
        p->mean[i] = 0.0f;
        p->deviation[i] = 1.0f;
    }
cleanup:
    return status;
}

static slad_status read_geometry(slad_context *context, slad_preprocess *p, cJSON *json, bool vit, const char *origin)
{
    slad_status status = SLAD_OK;
    int64_t filter = p->filter;
    SLAD_TRY(slad_json_get_boolean(context, &p->do_resize, json, "do_resize", false, origin));
    SLAD_TRY(slad_json_get_boolean(context, &p->do_center_crop, json, "do_center_crop", false, origin));
    SLAD_TRY(slad_json_get_integer(context, &filter, json, "resample", false, 0, FILTER_LAST, origin));
    p->filter = (slad_filter)filter;
    SLAD_TRY(read_size(context, &p->shortest_edge, &p->resize_height, &p->resize_width, json, "size", vit, origin));
    if (p->do_center_crop) {
        SLAD_TRY(read_size(context, NULL, &p->crop_height, &p->crop_width, json, "crop_size", true, origin));
        return SLAD_OK;
    }
    SLAD_FAIL_IF(!p->do_resize || p->shortest_edge > 0, SLAD_ERROR_DATA,
                 "%s: \"do_center_crop\" is false and \"size\" has no \"height\" and \"width\", so images would keep "
                 "unlike sizes; set \"do_center_crop\" to true with a \"crop_size\"",
                 origin);
    p->crop_height = p->resize_height;
    p->crop_width = p->resize_width;
cleanup:
    return status;
}

slad_status slad_preprocess_read(slad_context *context, slad_preprocess *preprocess, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    cJSON *json = NULL;
    const char *type = "BitImageProcessor";
    slad_preprocess p;
    SLAD_TRY(slad_path_join(context, &path, folder, "preprocessor_config.json"));
    if (slad_path_look(path) == SLAD_PATH_MISSING) {
        SLAD_TRY(take_usual(context, preprocess, folder, path));
        goto cleanup;
    }
    SLAD_TRY(slad_json_read(context, &json, path));
    drop_nulls(json);
    SLAD_TRY(slad_json_get_string(context, &type, json, "feature_extractor_type", false, path));
    SLAD_TRY(slad_json_get_string(context, &type, json, "image_processor_type", false, path));
    const bool vit = strncmp(type, "ViT", 3) == 0;
    if (!vit && strncmp(type, "Bit", 3) != 0)
        slad_log(context, SLAD_LOG_WARNING, "%s: the class \"%s\" is not known; it is read as a BitImageProcessor",
                 path, type);
    p = class_defaults(vit);
    SLAD_TRY(read_geometry(context, &p, json, vit, path));
    SLAD_TRY(read_arithmetic(context, &p, json, path));
    *preprocess = p;
cleanup:
    cJSON_Delete(json);
    slad_release(path);
    return status;
}

/* The shortest decimal that reads as this float, so that 0.485f is written as 0.485. */
static double shortest_decimal(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return strtod(text, NULL);
}

static bool add_size(cJSON *json, const char *field, size_t height, size_t width)
{
    cJSON *size = cJSON_AddObjectToObject(json, field);
    return size && cJSON_AddNumberToObject(size, "height", (double)height) &&
           cJSON_AddNumberToObject(size, "width", (double)width);
}

static bool add_edge(cJSON *json, size_t edge)
{
    cJSON *size = cJSON_AddObjectToObject(json, "size");
    return size && cJSON_AddNumberToObject(size, "shortest_edge", (double)edge);
}

static bool add_channels(cJSON *json, const char *field, const float values[3])
{
    const double decimals[3] = {shortest_decimal(values[0]), shortest_decimal(values[1]), shortest_decimal(values[2])};
    cJSON *list = cJSON_CreateDoubleArray(decimals, 3);
    if (list && cJSON_AddItemToObject(json, field, list)) return true;
    cJSON_Delete(list);
    return false;
}

slad_status slad_preprocess_write(slad_context *context, const slad_preprocess *preprocess, const char *path)
{
    slad_status status = SLAD_OK;
    const slad_preprocess *p = preprocess;
    cJSON *json = cJSON_CreateObject();
    const bool complete =
        json && cJSON_AddStringToObject(json, "image_processor_type", "BitImageProcessor") &&
        cJSON_AddTrueToObject(json, "do_convert_rgb") && cJSON_AddBoolToObject(json, "do_resize", p->do_resize) &&
        (p->shortest_edge > 0 ? add_edge(json, p->shortest_edge)
                              : add_size(json, "size", p->resize_height, p->resize_width)) &&
        cJSON_AddNumberToObject(json, "resample", p->filter) &&
        cJSON_AddBoolToObject(json, "do_center_crop", p->do_center_crop) &&
        add_size(json, "crop_size", p->crop_height, p->crop_width) && cJSON_AddTrueToObject(json, "do_rescale") &&
        cJSON_AddNumberToObject(json, "rescale_factor", p->rescale_factor) &&
        cJSON_AddTrueToObject(json, "do_normalize") && add_channels(json, "image_mean", p->mean) &&
        add_channels(json, "image_std", p->deviation);
    SLAD_FAIL_IF(!complete, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for its JSON", path);
    SLAD_TRY(slad_json_write(context, path, json));
cleanup:
    cJSON_Delete(json);
    return status;
}
