/* Lines of metrics.jsonl. */
#include "io/metrics.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/number.h"
#include "io/events.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

struct slad_metrics {
    slad_appender *output;
    slad_events *events; /* NULL: none are wanted */
    char *path;
};

enum { TAG_SIZE = 96, EVENT_SCALARS = 64 };

static void number_text(char text[SLAD_NUMBER_SIZE], double value)
{
    const double exact = 9007199254740992.0; /* 2^53: whole numbers below are exact in a double */
    if (!isfinite(value))
        (void)snprintf(text, SLAD_NUMBER_SIZE, "null");
    else if (floor(value) == value && fabs(value) < exact)
        slad_number_fixed(text, 0, value + 0.0); /* + 0.0 turns -0 to 0 */
    else
        slad_number_text(text, 9, value);
}

/* Replaces every number below `value` by its text. False: no memory. */
static bool format_numbers(cJSON *value)
{
    for (cJSON *child = value->child; child; child = child->next) {
        if (!format_numbers(child)) return false;
        if (!cJSON_IsNumber(child)) continue;
        char text[SLAD_NUMBER_SIZE];
        number_text(text, child->valuedouble);
        child->valuestring = cJSON_malloc(strlen(text) + 1);
        if (!child->valuestring) return false;
        memcpy(child->valuestring, text, strlen(text) + 1);
        child->type = cJSON_Raw | (child->type & cJSON_StringIsConst);
    }
    return true;
}

slad_status slad_metrics_open(slad_context *context, slad_metrics **out, const char *path, bool truncate)
{
    slad_status status = SLAD_OK;
    slad_metrics *metrics = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &metrics, 1, sizeof *metrics, "the metrics file"));
    SLAD_TRY(slad_duplicate(context, &metrics->path, path));
    SLAD_TRY(slad_appender_open(context, &metrics->output, path, truncate));
    *out = metrics;
    metrics = NULL;
cleanup:
    slad_metrics_close(metrics);
    return status;
}

void slad_metrics_close(slad_metrics *metrics)
{
    if (!metrics) return;
    slad_events_close(metrics->events);
    slad_appender_close(metrics->output);
    slad_release(metrics->path);
    slad_release(metrics);
}

slad_status slad_metrics_add_events(slad_context *context, slad_metrics *metrics, const char *folder,
                                    uint64_t first_step)
{
    slad_events_close(metrics->events);
    return slad_events_open(context, &metrics->events, folder, first_step);
}

/* The numbers of an object and of objects in it, each with its path as tag. */
typedef struct scalar_list {
    slad_event_scalar scalars[EVENT_SCALARS];
    char tags[EVENT_SCALARS][TAG_SIZE];
    size_t count;
} scalar_list;

static void collect_scalars(scalar_list *list, const cJSON *object, const char *path)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        char tag[TAG_SIZE];
        const int length = snprintf(tag, sizeof tag, "%s/%s", path, item->string);
        const bool names_the_line = strcmp(item->string, "step") == 0 || strcmp(item->string, "epoch") == 0;
        if (length < 0 || (size_t)length >= sizeof tag || names_the_line) continue;
        if (cJSON_IsObject(item)) collect_scalars(list, item, tag);
        if (!cJSON_IsNumber(item) || list->count == EVENT_SCALARS) continue;
        memcpy(list->tags[list->count], tag, sizeof tag);
        list->scalars[list->count] = (slad_event_scalar){list->tags[list->count], item->valuedouble};
        list->count++;
    }
}

static slad_status write_event(slad_context *context, slad_metrics *metrics, const cJSON *object)
{
    slad_status status = SLAD_OK;
    const char *event = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "event"));
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(object, "step");
    scalar_list *list = NULL;
    if (!metrics->events || !event || !cJSON_IsNumber(step) || step->valuedouble < 0) return SLAD_OK;
    SLAD_TRY(slad_allocate(context, &list, 1, sizeof *list, "the numbers of an event"));
    collect_scalars(list, object, event);
    SLAD_TRY(slad_events_write(context, metrics->events, (uint64_t)step->valuedouble, list->scalars, list->count));
cleanup:
    slad_release(list);
    return status;
}

slad_status slad_metrics_write(slad_context *context, slad_metrics *metrics, const cJSON *object)
{
    slad_status status = SLAD_OK;
    char *text = NULL, *line = NULL;
    cJSON *copy = object && !slad_fault_due(context) ? cJSON_Duplicate(object, true) : NULL;
    if (copy && format_numbers(copy)) text = cJSON_PrintUnformatted(copy);
    SLAD_FAIL_IF(!text, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for a line", metrics->path);
    SLAD_TRY(slad_format(context, &line, "%s\n", text));
    SLAD_TRY(slad_appender_write(metrics->output, line, strlen(line)));
    SLAD_TRY(write_event(context, metrics, object));
cleanup:
    slad_release(line);
    cJSON_free(text);
    cJSON_Delete(copy);
    return status;
}

slad_status slad_metrics_write_step(slad_context *context, slad_metrics *metrics, const slad_metrics_step *step)
{
    slad_status status = SLAD_OK;
    const struct {
        const char *key, *tag; /* tag NULL: not for the event file */
        bool present;
        double value;
    } fields[] = {
        {"step", NULL, true, (double)step->step},
        {"epoch", NULL, true, step->epoch},
        {"loss", "loss/total", true, step->loss},
        {"loss_student", "loss/student", step->has_student, step->loss_student},
        {"loss_teacher", "loss/teacher", step->has_teacher, step->loss_teacher},
        {"loss_kl", "loss/kl", step->has_kl, step->loss_kl},
        {"loss_feature", "loss/feature", step->has_feature, step->loss_feature},
        {"shared_norm_teacher", "shared/norm_teacher", step->has_shared, step->shared_teacher_norm},
        {"shared_norm_student", "shared/norm_student", step->has_shared, step->shared_student_norm},
        {"shared_cosine", "shared/cosine", step->has_shared, step->shared_cosine},
        {"lr", "lr", true, step->learning_rate},
        {"images_per_s", "images_per_s", true, step->images_per_second},
    };
    slad_event_scalar scalars[sizeof fields / sizeof fields[0]];
    size_t scalar_count = 0;
    cJSON *object = cJSON_CreateObject();
    bool added = object != NULL;
    for (size_t i = 0; added && i < sizeof fields / sizeof fields[0]; i++) {
        if (i == 1 && step->stage) added = cJSON_AddStringToObject(object, "stage", step->stage) != NULL;
        if (!added || !fields[i].present) continue;
        added = cJSON_AddNumberToObject(object, fields[i].key, fields[i].value) != NULL;
        if (fields[i].tag) scalars[scalar_count++] = (slad_event_scalar){fields[i].tag, fields[i].value};
    }
    SLAD_FAIL_IF(!added, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for a line", metrics->path);
    SLAD_TRY(slad_metrics_write(context, metrics, object));
    if (metrics->events) SLAD_TRY(slad_events_write(context, metrics->events, step->step, scalars, scalar_count));
cleanup:
    cJSON_Delete(object);
    return status;
}
