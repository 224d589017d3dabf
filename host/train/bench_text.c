/* What was measured, as Markdown and as JSON. */
#include "base/memory.h"
#include "io/html.h"
#include "train/bench.h"
#include <cjson/cJSON.h>

#define MIB  1048576.0
#define GIGA 1e9

static double per_second(double amount, const slad_measured *seconds)
{
    return seconds->median > 0 ? amount / seconds->median / GIGA : 0;
}

static void add_measured(slad_html *text, const slad_measured *measured, double scale, int places)
{
    slad_html_fixed(text, measured->median * scale, places);
    slad_html_add(text, " (");
    slad_html_fixed(text, measured->least * scale, places);
    slad_html_add(text, "..");
    slad_html_fixed(text, measured->greatest * scale, places);
    slad_html_add(text, ")");
}

/* A cell that is empty where there is nothing to say. */
static void add_cell(slad_html *text, double value, int places)
{
    slad_html_add(text, " | ");
    if (value > 0) slad_html_fixed(text, value, places);
}

static void add_head(slad_html *text, const slad_bench_state *state)
{
    const slad_device_info *info = &state->device->info;
    const slad_bench_options *options = &state->options;
    slad_html_format(
        text,
        "%s, driver %s, %u compute units\n%u images of %u px; medians (least..greatest) of %u repetitions%s\n"
        "GEMM: %s\n\n| the device | |\n|---|--:|\n| multiply and add, GFLOP/s | ",
        info->name, info->driver, info->compute_units, options->batch, options->image_size, options->repetitions,
        options->processor_time ? ", of processor time" : "", state->gemm);
    slad_html_fixed(text, state->peak.best, 1);
    slad_html_add(text, " |\n| memory, GB/s | ");
    add_measured(text, &state->bandwidth, 1, 1);
    slad_html_add(text, " |\n| a launch, µs | ");
    add_measured(text, &state->launch, 1e6, 2);
    slad_html_add(text, " |\n| a launch that is waited for, µs | ");
    add_measured(text, &state->round_trip, 1e6, 2);
    slad_html_add(text, " |\n");
}

static void add_models(slad_html *text, const slad_bench_state *state)
{
    if (!state->options.student) return;
    slad_html_add(text, "\n| models | ms a batch | images/s | GFLOP/s | of peak % | on the device, MiB | peak of the "
                        "process, MiB |\n|---|--:|--:|--:|--:|--:|--:|\n");
    for (unsigned i = 0; i < SLAD_BENCH_MODELS; i++) {
        const slad_bench_model *model = &state->models[i];
        if (!model->name) continue;
        const double gflops = per_second(model->flops, &model->seconds);
        slad_html_format(text, "| %s | ", model->name);
        add_measured(text, &model->seconds, 1e3, 1);
        add_cell(text, state->options.batch / model->seconds.median, 2);
        add_cell(text, gflops, 1);
        add_cell(text, 100 * gflops / state->peak.best, 0);
        add_cell(text, (double)model->device_bytes / MIB, 1);
        add_cell(text, (double)model->peak_resident / MIB, 1);
        slad_html_add(text, " |\n");
    }
}

static void add_kernels(slad_html *text, const slad_bench_state *state)
{
    slad_html_add(text, "\n| kernels | sizes | µs | GFLOP/s | of peak % | GB/s | of memory % |\n"
                        "|---|---|--:|--:|--:|--:|--:|\n");
    for (size_t i = 0; i < state->row_count; i++) {
        const slad_bench_row *row = &state->rows[i];
        const double gflops = per_second(row->flops, &row->seconds), moved = per_second(row->bytes, &row->seconds);
        slad_html_format(text, "| %s | ", row->name);
        for (unsigned k = 0; k < SLAD_BENCH_SIZES && row->sizes[k].name; k++)
            slad_html_format(text, "%s%s %zu", k == 0 ? "" : ", ", row->sizes[k].name, row->sizes[k].value);
        slad_html_add(text, " | ");
        add_measured(text, &row->seconds, 1e6, 1);
        add_cell(text, gflops, 1);
        add_cell(text, 100 * gflops / state->peak.best, 0);
        add_cell(text, moved, 1);
        add_cell(text, 100 * moved / state->bandwidth.median, 0);
        slad_html_add(text, " |\n");
    }
    if (state->left_out > 0)
        slad_html_format(text, "\n%zu measurements were left out: --max-time was over.\n", state->left_out);
}

static cJSON *measured_json(const slad_measured *measured, double scale)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "median", measured->median * scale);
    cJSON_AddNumberToObject(json, "least", measured->least * scale);
    cJSON_AddNumberToObject(json, "greatest", measured->greatest * scale);
    cJSON_AddNumberToObject(json, "count", (double)measured->count);
    return json;
}

static cJSON *device_json(const slad_bench_state *state)
{
    const slad_device_info *info = &state->device->info;
    const slad_bench_options *options = &state->options;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "slad", SLAD_VERSION);
    cJSON_AddStringToObject(json, "platform", info->platform);
    cJSON_AddStringToObject(json, "device", info->name);
    cJSON_AddStringToObject(json, "driver", info->driver);
    cJSON_AddNumberToObject(json, "compute_units", info->compute_units);
    cJSON_AddStringToObject(json, "gemm", state->gemm);
    cJSON_AddStringToObject(json, "time", options->processor_time ? "processor" : "clock");
    cJSON_AddNumberToObject(json, "repetitions", options->repetitions);
    cJSON_AddNumberToObject(json, "batch", options->batch);
    cJSON_AddNumberToObject(json, "image_size", options->image_size);
    cJSON *peak = cJSON_AddObjectToObject(json, "peak");
    cJSON_AddNumberToObject(peak, "gflops", state->peak.best);
    cJSON_AddItemToObject(peak, "gb_per_s", measured_json(&state->bandwidth, 1));
    cJSON *launch = cJSON_AddObjectToObject(json, "launch");
    cJSON_AddItemToObject(launch, "us", measured_json(&state->launch, 1e6));
    cJSON_AddItemToObject(launch, "round_trip_us", measured_json(&state->round_trip, 1e6));
    return json;
}

static cJSON *row_json(const slad_bench_state *state, const slad_bench_row *row)
{
    const double gflops = per_second(row->flops, &row->seconds), moved = per_second(row->bytes, &row->seconds);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", row->name);
    for (unsigned i = 0; i < SLAD_BENCH_SIZES && row->sizes[i].name; i++)
        cJSON_AddNumberToObject(json, row->sizes[i].name, (double)row->sizes[i].value);
    cJSON_AddItemToObject(json, "us", measured_json(&row->seconds, 1e6));
    if (row->flops > 0) {
        cJSON_AddNumberToObject(json, "gflops", gflops);
        cJSON_AddNumberToObject(json, "of_peak", gflops / state->peak.best);
    }
    cJSON_AddNumberToObject(json, "gb_per_s", moved);
    cJSON_AddNumberToObject(json, "of_bandwidth", moved / state->bandwidth.median);
    return json;
}

static cJSON *model_json(const slad_bench_state *state, const slad_bench_model *model)
{
    const double gflops = per_second(model->flops, &model->seconds);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", model->name);
    cJSON_AddItemToObject(json, "ms", measured_json(&model->seconds, 1e3));
    cJSON_AddNumberToObject(json, "images_per_s", state->options.batch / model->seconds.median);
    cJSON_AddNumberToObject(json, "gflops", gflops);
    cJSON_AddNumberToObject(json, "of_peak", gflops / state->peak.best);
    cJSON_AddNumberToObject(json, "device_bytes", (double)model->device_bytes);
    cJSON_AddNumberToObject(json, "peak_resident_bytes", (double)model->peak_resident);
    return json;
}

static slad_status make_json(const slad_bench_state *state, char **out)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    char *printed = NULL;
    cJSON *json = device_json(state);
    cJSON *kernels = cJSON_AddArrayToObject(json, "kernels"), *models = cJSON_AddArrayToObject(json, "models");
    for (size_t i = 0; i < state->row_count; i++) cJSON_AddItemToArray(kernels, row_json(state, &state->rows[i]));
    for (unsigned i = 0; i < SLAD_BENCH_MODELS; i++)
        if (state->models[i].name) cJSON_AddItemToArray(models, model_json(state, &state->models[i]));
    cJSON_AddNumberToObject(json, "left_out", (double)state->left_out);
    printed = slad_fault_due(context) ? NULL : cJSON_Print(json);
    SLAD_FAIL_IF(!printed, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for the benchmark's result");
    SLAD_TRY(slad_duplicate(context, out, printed));
cleanup:
    cJSON_free(printed);
    cJSON_Delete(json);
    return status;
}

slad_status slad_bench_texts(const slad_bench_state *state, slad_bench_result *result)
{
    slad_status status = SLAD_OK;
    slad_html text = {.context = state->context};
    add_head(&text, state);
    add_models(&text, state);
    add_kernels(&text, state);
    SLAD_TRY(text.status);
    SLAD_TRY(make_json(state, &result->json));
    result->markdown = text.text;
    text = (slad_html){0};
cleanup:
    slad_html_free(&text);
    return status;
}
