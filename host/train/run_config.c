#include "train/run_config.h"
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/threads.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text)
        cJSON_AddStringToObject(object, name, text);
    else
        cJSON_AddNullToObject(object, name);
}

/* A number stays a number, unless it has more digits than a double holds; all else is text. */
static void add_option(cJSON *object, const slad_train_options *options, const char *name)
{
    char text[SLAD_OPTION_TEXT];
    double number;
    int used = 0;
    if (!slad_train_options_get(options, name, text)) return;
    if (sscanf(text, "%lf%n", &number, &used) == 1 && text[used] == '\0' && used < 16)
        cJSON_AddNumberToObject(object, name, number);
    else
        cJSON_AddStringToObject(object, name, text);
}

static cJSON *describe_device(const slad_trainer *trainer)
{
    const slad_device_info *info = &trainer->device->info;
    cJSON *device = cJSON_CreateObject();
    cJSON_AddStringToObject(device, "platform", info->platform);
    cJSON_AddStringToObject(device, "name", info->name);
    cJSON_AddStringToObject(device, "vendor", info->vendor);
    cJSON_AddStringToObject(device, "driver", info->driver);
    cJSON_AddStringToObject(device, "version", info->version);
    cJSON_AddStringToObject(device, "gemm", slad_executor_description(trainer->executor));
    return device;
}

static cJSON *describe_data(const slad_dataset *dataset, const char *path)
{
    char fingerprint[24];
    cJSON *data = cJSON_CreateObject();
    cJSON *names = cJSON_CreateArray();
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)slad_dataset_fingerprint(dataset));
    cJSON_AddStringToObject(data, "path", path);
    cJSON_AddStringToObject(data, "fingerprint", fingerprint);
    cJSON_AddNumberToObject(data, "train_images", (double)slad_dataset_count(dataset, SLAD_SPLIT_TRAIN));
    cJSON_AddNumberToObject(data, "validation_images", (double)slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION));
    for (size_t i = 0; i < slad_dataset_class_count(dataset); i++)
        cJSON_AddItemToArray(names, cJSON_CreateString(slad_dataset_class_name(dataset, i)));
    cJSON_AddItemToObject(data, "classes", names);
    return data;
}

static cJSON *describe_plan(const slad_memory_plan *plan)
{
    cJSON *memory = cJSON_CreateObject();
    cJSON_AddNumberToObject(memory, "weights_bytes", (double)(plan->frozen + plan->packed));
    cJSON_AddNumberToObject(memory, "trained_bytes", (double)(plan->trained + plan->gradients + plan->moments));
    cJSON_AddNumberToObject(memory, "activation_bytes", (double)plan->arena);
    cJSON_AddNumberToObject(memory, "total_bytes", (double)plan->device_total);
    return memory;
}

slad_status slad_run_config_write(slad_context *context, const char *folder, const slad_run_options *options,
                                  const slad_trainer *trainer, const slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    char *path = NULL, *teacher = NULL, *student = NULL, *data = NULL, when[32];
    cJSON *json = cJSON_CreateObject();
    cJSON *resolved = cJSON_CreateObject();
    slad_time_text(when);
    SLAD_TRY(slad_path_join(context, &path, folder, "config.json"));
    if (options->teacher) SLAD_TRY(slad_path_absolute(context, &teacher, options->teacher));
    SLAD_TRY(slad_path_absolute(context, &student, options->student));
    SLAD_TRY(slad_path_absolute(context, &data, options->data));
    cJSON_AddStringToObject(json, "slad_version", SLAD_VERSION);
    cJSON_AddStringToObject(json, "started", when);
    add_text(json, "teacher", teacher);
    add_text(json, "student", student);
    add_text(json, "init", options->init); /* may be a part of the run that this one replaces */
    cJSON_AddBoolToObject(json, "strict_data", options->strict_data);
    for (size_t i = 0; i < slad_train_option_count(); i++)
        add_option(resolved, &options->train, slad_train_option_at(i)->name);
    cJSON_AddItemToObject(json, "options", resolved);
    resolved = NULL;
    cJSON_AddNumberToObject(json, "image_size", (double)trainer->image_size);
    cJSON_AddNumberToObject(json, "micro_batch", trainer->micro_batch);
    cJSON_AddNumberToObject(json, "total_steps", (double)trainer->total_steps);
    cJSON_AddNumberToObject(json, "trained_parameters", (double)slad_trainer_parameter_count(trainer));
    cJSON_AddItemToObject(json, "data", describe_data(dataset, data));
    cJSON_AddItemToObject(json, "device", describe_device(trainer));
    cJSON_AddItemToObject(json, "memory_plan", describe_plan(&trainer->plan));
    SLAD_TRY(slad_json_write(context, path, json));
cleanup:
    cJSON_Delete(json);
    cJSON_Delete(resolved);
    slad_release(path);
    slad_release(teacher);
    slad_release(student);
    slad_release(data);
    return status;
}

/* Sets every option that the file has; one of a later version is an error. */
static slad_status read_options(slad_context *context, slad_train_options *train, const cJSON *options,
                                const char *path)
{
    slad_status status = SLAD_OK;
    const cJSON *option;
    char text[SLAD_OPTION_TEXT];
    SLAD_FAIL_IF(!cJSON_IsObject(options), SLAD_ERROR_DATA, "%s has no object \"options\": it is no run of slad", path);
    *train = slad_train_options_default();
    cJSON_ArrayForEach(option, options)
    {
        if (cJSON_IsNumber(option) && option->valuedouble == floor(option->valuedouble))
            snprintf(text, sizeof text, "%.0f", option->valuedouble);
        else if (cJSON_IsNumber(option))
            snprintf(text, sizeof text, "%.9g", option->valuedouble);
        else
            snprintf(text, sizeof text, "%s", cJSON_IsString(option) ? option->valuestring : "");
        SLAD_FAIL_IF(slad_train_options_set(context, train, option->string, text) != SLAD_OK, SLAD_ERROR_DATA,
                     "%s has an option \"%s\" that this version of slad cannot read", path, option->string);
    }
    SLAD_FAIL_IF(slad_train_options_check(context, train) != SLAD_OK, SLAD_ERROR_DATA,
                 "%s has options that contradict each other or are out of range: it is no run of slad", path);
cleanup:
    return status;
}

static slad_status copy_text(slad_context *context, char **copy, const cJSON *json, const char *field, bool required,
                             const char *path)
{
    const char *text = NULL;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field);
    if (!required && (!item || cJSON_IsNull(item))) return SLAD_OK;
    const slad_status status = slad_json_get_string(context, &text, json, field, required, path);
    return status == SLAD_OK ? slad_duplicate(context, copy, text) : status;
}

static slad_status read_classes(slad_context *context, slad_run_config *config, const cJSON *classes, const char *path)
{
    slad_status status = SLAD_OK;
    const cJSON *name;
    size_t index = 0;
    SLAD_FAIL_IF(!cJSON_IsArray(classes) || cJSON_GetArraySize(classes) < 2, SLAD_ERROR_DATA,
                 "%s names no classes in data.classes", path);
    config->classes = (size_t)cJSON_GetArraySize(classes);
    SLAD_TRY(slad_allocate(context, &config->class_names, config->classes, sizeof *config->class_names, "class names"));
    cJSON_ArrayForEach(name, classes)
    {
        SLAD_FAIL_IF(!cJSON_IsString(name), SLAD_ERROR_DATA, "%s: data.classes must hold names only", path);
        SLAD_TRY(slad_duplicate(context, &config->class_names[index++], name->valuestring));
    }
cleanup:
    return status;
}

slad_status slad_run_config_read(slad_context *context, slad_run_config *config, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    cJSON *json = NULL;
    int64_t image_size = 0;
    *config = (slad_run_config){0};
    SLAD_TRY(slad_path_join(context, &path, folder, "config.json"));
    SLAD_TRY(slad_json_read(context, &json, path));
    SLAD_TRY(read_options(context, &config->train, cJSON_GetObjectItemCaseSensitive(json, "options"), path));
    SLAD_TRY(copy_text(context, &config->teacher, json, "teacher", false, path));
    SLAD_TRY(copy_text(context, &config->student, json, "student", true, path));
    SLAD_TRY(slad_json_get_integer(context, &image_size, json, "image_size", true, 1, 16384, path));
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(json, "data");
    SLAD_TRY(read_classes(context, config, cJSON_GetObjectItemCaseSensitive(data, "classes"), path));
    SLAD_TRY(copy_text(context, &config->data, data, "path", true, path));
    config->image_size = (size_t)image_size;
cleanup:
    if (status != SLAD_OK) slad_run_config_free(config);
    cJSON_Delete(json);
    slad_release(path);
    return status;
}

void slad_run_config_free(slad_run_config *config)
{
    slad_release(config->teacher);
    slad_release(config->student);
    slad_release(config->data);
    for (size_t i = 0; config->class_names && i < config->classes; i++) slad_release(config->class_names[i]);
    slad_release((void *)config->class_names);
    *config = (slad_run_config){0};
}

bool slad_path_is_run(slad_context *context, const char *folder)
{
    static const char *const names[2] = {"config.json", "state.safetensors"};
    bool found = true;
    for (int i = 0; i < 2 && found; i++) {
        char *path = NULL;
        found = slad_path_join(context, &path, folder, names[i]) == SLAD_OK && slad_path_look(path) == SLAD_PATH_FILE;
        slad_release(path);
    }
    return found;
}
