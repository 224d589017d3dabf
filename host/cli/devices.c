/* slad devices */
#include "cli/session.h"
#include <stdio.h>

#define MIB (1024.0 * 1024.0)

static const char *type_name(slad_device_type type)
{
    static const char *const names[] = {"GPU", "CPU", "accelerator", "custom"};
    return names[type];
}

/* What opening a device told; opened false: reason says why not. */
typedef struct cli_device_report {
    const slad_device_info *info;
    bool opened;
    char reason[512];
    slad_device_details details;
    slad_self_test self_test;
} cli_device_report;

/* Opens the device, probes its maths and runs the self-test; what fails becomes the reason. */
static void examine(cli_session *session, cli_device_report *report, const slad_device_info *info)
{
    char spec[32];
    slad_device *device = NULL;
    slad_device_options options = session->device_options;
    *report = (cli_device_report){.info = info};
    if (!info->usable) {
        snprintf(report->reason, sizeof report->reason, "%s", info->reason);
        return;
    }
    snprintf(spec, sizeof spec, "%u:%u", info->platform_index, info->device_index);
    options.spec = spec;
    slad_status status = slad_device_open(session->context, &device, &options);
    if (status == SLAD_OK) status = slad_device_get_details(device, &report->details);
    if (status == SLAD_OK) status = slad_device_self_test(device, &report->self_test);
    report->opened = status == SLAD_OK;
    if (!report->opened) snprintf(report->reason, sizeof report->reason, "%s", slad_context_message(session->context));
    slad_device_free(device);
}

static void add_limits(cJSON *json, const slad_device_info *info)
{
    cJSON_AddNumberToObject(json, "compute_units", info->compute_units);
    cJSON_AddNumberToObject(json, "clock_mhz", info->clock_mhz);
    cJSON_AddNumberToObject(json, "global_memory", (double)info->global_memory);
    cJSON_AddNumberToObject(json, "max_allocation", (double)info->max_allocation);
    cJSON_AddNumberToObject(json, "local_memory", (double)info->local_memory);
    cJSON_AddNumberToObject(json, "max_work_group", (double)info->max_work_group);
}

static void add_details(cJSON *json, const slad_device_details *details)
{
    const slad_capabilities *capabilities = &details->capabilities;
    cJSON *maths = cJSON_AddObjectToObject(json, "maths_error_ulp");
    cJSON_AddNumberToObject(maths, "exp", capabilities->exp_ulp);
    cJSON_AddNumberToObject(maths, "log", capabilities->log_ulp);
    cJSON_AddNumberToObject(maths, "erf", capabilities->erf_ulp);
    cJSON_AddNumberToObject(maths, "rsqrt", capabilities->rsqrt_ulp);
    cJSON_AddNumberToObject(maths, "tanh", capabilities->tanh_ulp);
    cJSON *features = cJSON_AddObjectToObject(json, "features");
    for (size_t i = 0; i < details->feature_count; i++)
        cJSON_AddNumberToObject(features, details->features[i].name, details->features[i].value);
    cJSON *quirks = cJSON_AddArrayToObject(json, "quirks");
    for (size_t i = 0; i < details->quirk_count; i++) {
        const slad_device_quirk *quirk = &details->quirks[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "feature", quirk->feature);
        cJSON_AddNumberToObject(row, "value", quirk->value);
        cJSON_AddStringToObject(row, "reason", quirk->reason);
        cJSON_AddStringToObject(row, "evidence", quirk->evidence);
        cJSON_AddItemToArray(quirks, row);
    }
}

static void add_self_test(cJSON *json, const slad_self_test *self_test)
{
    cJSON *object = cJSON_AddObjectToObject(json, "self_test");
    cJSON_AddBoolToObject(object, "passed", self_test->failed == 0);
    cJSON *kernels = cJSON_AddArrayToObject(object, "kernels");
    for (size_t i = 0; i < self_test->count; i++) {
        const slad_kernel_check *check = &self_test->kernels[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "kernel", check->kernel);
        cJSON_AddBoolToObject(row, "passed", check->passed);
        cJSON_AddNumberToObject(row, "error", check->error);
        cJSON_AddNumberToObject(row, "tolerance", check->tolerance);
        cJSON_AddItemToArray(kernels, row);
    }
}

static bool is_usable(const cli_device_report *report)
{
    return report->opened && report->self_test.failed == 0;
}

static cJSON *report_json(const cli_device_report *report)
{
    const slad_device_info *info = report->info;
    char spec[32];
    cJSON *json = cJSON_CreateObject();
    snprintf(spec, sizeof spec, "%u:%u", info->platform_index, info->device_index);
    cJSON_AddStringToObject(json, "spec", spec);
    cJSON_AddStringToObject(json, "platform", info->platform);
    cJSON_AddStringToObject(json, "platform_version", info->platform_version);
    cJSON_AddStringToObject(json, "name", info->name);
    cJSON_AddStringToObject(json, "vendor", info->vendor);
    cJSON_AddStringToObject(json, "driver", info->driver);
    cJSON_AddStringToObject(json, "version", info->version);
    cJSON_AddStringToObject(json, "type", type_name(info->type));
    const bool usable = is_usable(report);
    cJSON_AddBoolToObject(json, "usable", usable);
    cJSON_AddStringToObject(json, "reason", report->opened && !usable ? "the self-test failed" : report->reason);
    add_limits(json, info);
    if (report->opened) {
        add_details(json, &report->details);
        add_self_test(json, &report->self_test);
    }
    return json;
}

static void print_report(const cli_device_report *report)
{
    const slad_device_info *info = report->info;
    const slad_capabilities *capabilities = &report->details.capabilities;
    printf("%u:%u  %s\n", info->platform_index, info->device_index, info->name);
    printf("     platform    %s (%s)\n", info->platform, info->platform_version);
    printf("     driver      %s, %s, %s\n", info->driver, info->version, info->vendor);
    printf("     kind        %s, %u compute units, work-groups of at most %llu\n", type_name(info->type),
           info->compute_units, (unsigned long long)info->max_work_group);
    printf("     memory      %.0f MiB, one buffer at most %.0f MiB, local %.0f KiB\n",
           (double)info->global_memory / MIB, (double)info->max_allocation / MIB, (double)info->local_memory / 1024);
    if (!report->opened) {
        printf("     unusable    %s\n", report->reason);
        return;
    }
    printf("     maths       error in ulp: exp %.3g, log %.3g, erf %.3g, rsqrt %.3g, tanh %.3g\n",
           capabilities->exp_ulp, capabilities->log_ulp, capabilities->erf_ulp, capabilities->rsqrt_ulp,
           capabilities->tanh_ulp);
    printf("     features   ");
    for (size_t i = 0; i < report->details.feature_count; i++)
        printf(" %s=%u", report->details.features[i].name, report->details.features[i].value);
    printf("\n");
    for (size_t i = 0; i < report->details.quirk_count; i++)
        printf("     quirk       %s = %d: %s (%s)\n", report->details.quirks[i].feature,
               report->details.quirks[i].value, report->details.quirks[i].reason, report->details.quirks[i].evidence);
    printf("     self-test   %zu of %zu kernels passed\n", report->self_test.count - report->self_test.failed,
           report->self_test.count);
    for (size_t i = 0; i < report->self_test.count; i++)
        if (!report->self_test.kernels[i].passed)
            printf("     FAILED      %s: error %.3g, allowed %.3g\n", report->self_test.kernels[i].kernel,
                   report->self_test.kernels[i].error, report->self_test.kernels[i].tolerance);
}

/* Whether a device is to be reported: all are, or the one that was chosen. */
static bool is_wanted(const slad_device_info *chosen, const slad_device_info *info)
{
    return !chosen || (chosen->platform_index == info->platform_index && chosen->device_index == info->device_index);
}

/* Platforms that have no device to be reported under. */
static void report_empty(cJSON *json, const slad_device_list *list)
{
    cJSON *empty = json ? cJSON_AddArrayToObject(json, "platforms_without_devices") : NULL;
    for (size_t i = 0; i < list->platform_count; i++) {
        const slad_platform_info *platform = &list->platforms[i];
        if (platform->devices) continue;
        if (!json) {
            printf("%zu:-  no device\n     platform    %s (%s)\n     unusable    %s\n", i, platform->name,
                   platform->version, platform->reason);
            continue;
        }
        cJSON *row = cJSON_CreateObject();
        cJSON_AddNumberToObject(row, "index", (double)i);
        cJSON_AddStringToObject(row, "platform", platform->name);
        cJSON_AddStringToObject(row, "platform_version", platform->version);
        cJSON_AddStringToObject(row, "reason", platform->reason);
        cJSON_AddItemToArray(empty, row);
    }
}

/* Reports the devices; 4 if none of them can be used. */
static int report_all(cli_session *session, const slad_device_list *list, const slad_device_info *chosen)
{
    cJSON *devices = cJSON_CreateArray();
    int code = SLAD_ERROR_NO_DEVICE;
    for (size_t i = 0; i < list->count; i++) {
        cli_device_report report;
        if (!is_wanted(chosen, &list->devices[i])) continue;
        examine(session, &report, &list->devices[i]);
        if (session->json)
            cJSON_AddItemToArray(devices, report_json(&report));
        else
            print_report(&report);
        if (is_usable(&report)) code = SLAD_OK;
        slad_self_test_free(&report.self_test);
    }
    if (!session->json) {
        cJSON_Delete(devices);
        if (!chosen) report_empty(NULL, list);
        printf(list->count ? "" : "No OpenCL device. On Debian and Ubuntu, pocl-opencl-icd makes the processor one.\n");
        return code;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "platforms", (double)list->platform_count);
    cJSON_AddItemToObject(json, "devices", devices);
    report_empty(json, list);
    const int printed = cli_print_json(json);
    return printed == SLAD_OK ? code : printed;
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_device_list list = {0};
    if (arguments->positional_count) return cli_usage("devices", "slad devices takes options only");
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = (int)slad_device_list_read(session.context, &list);
    if (code == SLAD_OK && session.device_options.spec) code = cli_session_open_device(&session);
    if (code == SLAD_OK)
        code = report_all(&session, &list, session.device ? slad_device_get_info(session.device) : NULL);
    slad_device_list_free(&list);
    cli_session_close(&session);
    return code;
}

int cli_devices(int argc, char **argv)
{
    static const cli_manual manual = {
        "devices",
        "usage: slad devices [options]\n"
        "\n"
        "Every OpenCL platform and device: driver, limits, measured accuracy of its maths,\n"
        "quirks that apply, the self-test of slad's kernels, and why a device cannot be used; with\n"
        "--device that one alone. The exit code is 4 if none of them can be used.\n",
    };
    return cli_run(&manual, argc, argv, NULL, 0, run);
}
