#include "train/run_config.h"
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/number.h"
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
    const char *end;
    if (!slad_train_options_get(options, name, text)) return;
    const double number = slad_number_read(text, &end);
    if (end != text && *end == '\0' && end - text < 16)
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
    cJSON_AddNumberToObject(data, "unlabelled_images", (double)slad_dataset_unlabelled_count(dataset));
    cJSON_AddNumberToObject(data, "validation_images", (double)slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION));
    for (size_t i = 0; i < slad_dataset_class_count(dataset); i++)
        cJSON_AddItemToArray(names, cJSON_CreateString(slad_dataset_class_name(dataset, i)));
    cJSON_AddItemToObject(data, "classes", names);
    return data;
}

static cJSON *describe_plan(const slad_trainer *trainer)
{
    const slad_memory_plan *plan = &trainer->plan;
    cJSON *memory = cJSON_CreateObject();
    cJSON_AddBoolToObject(memory, "pack_on_use", trainer->choice.pack_on_use);
    cJSON_AddNumberToObject(memory, "weights_bytes", (double)(plan->frozen + plan->packed));
    cJSON_AddNumberToObject(memory, "trained_bytes", (double)(plan->trained + plan->gradients + plan->moments));
    cJSON_AddNumberToObject(memory, "activation_bytes", (double)plan->arena);
    cJSON_AddNumberToObject(memory, "total_bytes", (double)plan->device_total);
    return memory;
}

/* An absolute path, or null. */
static slad_status add_path(slad_context *context, cJSON *object, const char *name, const char *given)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    if (given) SLAD_TRY(slad_path_absolute(context, &path, given));
    add_text(object, name, path);
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_run_config_write(slad_context *context, const char *folder, const slad_run_options *options,
                                  const slad_trainer *trainer, const slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    char *path = NULL, *data = NULL, when[32];
    cJSON *json = cJSON_CreateObject();
    cJSON *resolved = cJSON_CreateObject();
    slad_time_text(when);
    SLAD_TRY(slad_path_join(context, &path, folder, "config.json"));
    SLAD_TRY(slad_path_absolute(context, &data, options->data));
    cJSON_AddStringToObject(json, "slad_version", SLAD_VERSION);
    cJSON_AddStringToObject(json, "started", when);
    SLAD_TRY(add_path(context, json, "teacher", options->teacher));
    SLAD_TRY(add_path(context, json, "student", options->student));
    SLAD_TRY(add_path(context, json, "unlabelled", options->unlabelled));
    SLAD_TRY(add_path(context, json, "teacher_adapter", options->teacher_adapter));
    SLAD_TRY(add_path(context, json, "student_adapter", options->student_adapter));
    add_text(json, "init", options->init); /* may be a part of the run that this one replaces */
    cJSON_AddBoolToObject(json, "strict_data", options->strict_data);
    for (size_t i = 0; i < slad_train_option_count(); i++)
        add_option(resolved, &options->train, slad_train_option_at(i)->name);
    cJSON_AddItemToObject(json, "options", resolved);
    resolved = NULL;
    cJSON_AddNumberToObject(json, "stage", trainer->stage);
    cJSON_AddNumberToObject(json, "image_size", (double)trainer->image_size);
    cJSON_AddNumberToObject(json, "micro_batch", trainer->choice.micro_batch);
    cJSON_AddBoolToObject(json, "recompute", trainer->choice.recompute);
    cJSON_AddNumberToObject(json, "total_steps", (double)trainer->total_steps);
    cJSON_AddNumberToObject(json, "trained_parameters", (double)slad_trainer_parameter_count(trainer));
    cJSON_AddItemToObject(json, "data", describe_data(dataset, data));
    cJSON_AddItemToObject(json, "device", describe_device(trainer));
    cJSON_AddItemToObject(json, "memory_plan", describe_plan(trainer));
    SLAD_TRY(slad_json_write(context, path, json));
cleanup:
    cJSON_Delete(json);
    cJSON_Delete(resolved);
    slad_release(path);
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
            slad_number_text(text, 9, option->valuedouble);
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
    SLAD_TRY(copy_text(context, &config->init, json, "init", false, path));
    SLAD_TRY(copy_text(context, &config->unlabelled, json, "unlabelled", false, path));
    SLAD_TRY(copy_text(context, &config->teacher_adapter, json, "teacher_adapter", false, path));
    SLAD_TRY(copy_text(context, &config->student_adapter, json, "student_adapter", false, path));
    config->strict_data = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "strict_data"));
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
    slad_release(config->init);
    slad_release(config->unlabelled);
    slad_release(config->teacher_adapter);
    slad_release(config->student_adapter);
    for (size_t i = 0; config->class_names && i < config->classes; i++) slad_release(config->class_names[i]);
    slad_release((void *)config->class_names);
    *config = (slad_run_config){0};
}

slad_status slad_run_config_agree(slad_context *context, const char *folder, const slad_trainer *trainer,
                                  const slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    cJSON *json = NULL, *device = describe_device(trainer), *data = describe_data(dataset, "");
    SLAD_TRY(slad_path_join(context, &path, folder, "config.json"));
    SLAD_TRY(slad_json_read(context, &json, path));
    const cJSON *micro_batch = cJSON_GetObjectItemCaseSensitive(json, "micro_batch");
    const cJSON *started = cJSON_GetObjectItemCaseSensitive(json, "device");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(started, "name");
    const cJSON *fingerprint =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "data"), "fingerprint");
    SLAD_FAIL_IF(!cJSON_Compare(fingerprint, cJSON_GetObjectItemCaseSensitive(data, "fingerprint"), true),
                 SLAD_ERROR_DATA, "The images are not those that the run %s was started with", folder);
    SLAD_FAIL_IF(
        !cJSON_Compare(started, device, true), SLAD_ERROR_USAGE,
        "The run was started on device %s with another driver or other GEMM kernels than %s has now, which would "
        "change its results; give its --device, or start a new run with --init %s/state.safetensors",
        cJSON_IsString(name) ? name->valuestring : "?", trainer->device->info.name, folder);
    SLAD_FAIL_IF(
        !cJSON_IsNumber(micro_batch) || micro_batch->valuedouble != trainer->choice.micro_batch, SLAD_ERROR_USAGE,
        "The run was started with another micro-batch than the %u that this device's memory gives now, which would "
        "change its results; start a new run with --init %s/state.safetensors",
        trainer->choice.micro_batch, folder);
    const cJSON *recompute = cJSON_GetObjectItemCaseSensitive(json, "recompute");
    SLAD_FAIL_IF(cJSON_IsTrue(recompute) != trainer->choice.recompute, SLAD_ERROR_USAGE,
                 "The run was started %s recomputation of activations, which this device's memory gives otherwise now; "
                 "start a new run with --init %s/state.safetensors",
                 cJSON_IsTrue(recompute) ? "with" : "without", folder);
cleanup:
    cJSON_Delete(json);
    cJSON_Delete(device);
    cJSON_Delete(data);
    slad_release(path);
    return status;
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
