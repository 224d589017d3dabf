/* Lines of metrics.jsonl. */
#include "io/metrics.h"
#include "base/files.h"
#include "base/memory.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

struct slad_metrics {
    slad_appender *output;
    char *path;
};

enum { NUMBER_SIZE = 32 };

static void number_text(char *text, double value)
{
    const double exact = 9007199254740992.0; /* 2^53: whole numbers below are exact in a double */
    if (!isfinite(value))
        (void)snprintf(text, NUMBER_SIZE, "null");
    else if (floor(value) == value && fabs(value) < exact)
        (void)snprintf(text, NUMBER_SIZE, "%.0f", value + 0.0); /* + 0.0 turns -0 to 0 */
    else
        (void)snprintf(text, NUMBER_SIZE, "%.9g", value);
}

/* Replaces every number below `value` by its text. False: no memory. */
static bool format_numbers(cJSON *value)
{
    for (cJSON *child = value->child; child; child = child->next) {
        if (!format_numbers(child)) return false;
        if (!cJSON_IsNumber(child)) continue;
        char text[NUMBER_SIZE];
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
    slad_appender_close(metrics->output);
    slad_release(metrics->path);
    slad_release(metrics);
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
        const char *key;
        bool present;
        double value;
    } fields[] = {
        {"step", true, (double)step->step},
        {"epoch", true, step->epoch},
        {"loss", true, step->loss},
        {"loss_student", step->has_student, step->loss_student},
        {"loss_teacher", step->has_teacher, step->loss_teacher},
        {"loss_kl", step->has_kl, step->loss_kl},
        {"lr", true, step->learning_rate},
        {"images_per_s", true, step->images_per_second},
    };
    cJSON *object = cJSON_CreateObject();
    bool added = object != NULL;
    for (size_t i = 0; added && i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].present) added = cJSON_AddNumberToObject(object, fields[i].key, fields[i].value) != NULL;
    }
    SLAD_FAIL_IF(!added, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for a line", metrics->path);
    SLAD_TRY(slad_metrics_write(context, metrics, object));
cleanup:
    cJSON_Delete(object);
    return status;
}
