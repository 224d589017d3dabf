/* A comparison as Markdown and as JSON. */
#include "base/json_scan.h"
#include "base/memory.h"
#include "train/compare.h"
#include <cjson/cJSON.h>
#include <math.h>

void slad_compare_spread(slad_html *page, const slad_spread *spread, double scale, int places)
{
    slad_html_fixed(page, spread->mean * scale, places);
    if (!isfinite(spread->deviation)) return;
    slad_html_add(page, " ± ");
    slad_html_fixed(page, spread->deviation * scale, places);
}

/* Text that neither ends a cell of a table nor its line. */
static void add_plain(slad_html *text, const char *words)
{
    for (; *words; words++) {
        const char character[2] = {(unsigned char)*words < 0x20 || *words == 0x7f ? ' ' : *words, '\0'};
        slad_html_add(text, *words == '|' ? "\\|" : character);
    }
}

static void add_groups(slad_html *text, const slad_compare_state *state)
{
    slad_html_format(text,
                     "| runs | seeds | student, %s %% | teacher %% | Delta-CKA %% | step, ms | all steps, s | memory, "
                     "MiB | trained values |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
                     state->runs[0].by_class ? "mean per class" : "top-1");
    for (size_t g = 0; g < state->group_count; g++) {
        const slad_compared_group *group = &state->groups[g];
        const slad_spread *n = group->numbers;
        slad_html_add(text, "| ");
        add_plain(text, group->label);
        slad_html_format(text, " | %zu | ", group->runs);
        slad_compare_spread(text, &n[COMPARED_STUDENT], 1, 2);
        slad_html_add(text, " | ");
        slad_compare_spread(text, &n[COMPARED_TEACHER], 1, 2);
        slad_html_add(text, " | ");
        slad_compare_spread(text, &n[COMPARED_DELTA], 1, 2);
        slad_html_add(text, " | ");
        slad_html_fixed(text, 1000 * n[COMPARED_STEP].mean, 1);
        slad_html_add(text, " | ");
        slad_html_fixed(text, n[COMPARED_TIME].mean, 1);
        slad_html_add(text, " | ");
        slad_html_fixed(text, n[COMPARED_MEMORY].mean / 1048576, 1);
        slad_html_add(text, " | ");
        slad_html_fixed(text, n[COMPARED_PARAMETERS].mean, 0);
        slad_html_add(text, " |\n");
    }
}

static void add_tests(slad_html *text, const slad_compare_state *state)
{
    if (state->test_count == 0) return;
    slad_html_add(text, "\nAgainst ");
    add_plain(text, state->groups[state->best].label);
    slad_html_add(text, ", the best student: difference in points, and p of McNemar's test for each seed.\n\n"
                        "| runs | difference | p |\n|---|--:|---|\n");
    for (size_t g = 0; g < state->group_count; g++) {
        if (g == state->best) continue;
        slad_html_add(text, "| ");
        add_plain(text, state->groups[g].label);
        slad_html_add(text, " | ");
        slad_html_fixed(text, slad_compare_difference(state, g, state->best), 2);
        slad_html_add(text, " | ");
        if (!slad_compare_p_values(text, state, g, state->best)) slad_html_add(text, "–");
        slad_html_add(text, " |\n");
    }
}

slad_status slad_compare_markdown(const slad_compare_state *state, char **out)
{
    slad_html text = {.context = state->context};
    add_groups(&text, state);
    add_tests(&text, state);
    slad_html_add(&text, state->note_count ? "\n" : "");
    for (size_t i = 0; i < state->note_count; i++) {
        slad_html_add(&text, "- ");
        add_plain(&text, state->notes[i]);
        slad_html_add(&text, "\n");
    }
    const slad_status status = text.status;
    if (status == SLAD_OK)
        *out = text.text;
    else
        slad_html_free(&text);
    return status;
}

static const char *const number_names[COMPARED_NUMBERS] = {[COMPARED_STUDENT] = "student",
                                                           [COMPARED_TEACHER] = "teacher",
                                                           [COMPARED_DELTA] = "delta_cka",
                                                           [COMPARED_STEP] = "step_s",
                                                           [COMPARED_TIME] = "steps_s",
                                                           [COMPARED_MEMORY] = "memory_bytes",
                                                           [COMPARED_PARAMETERS] = "trained_parameters"};

static void add_number(cJSON *json, const char *name, double value)
{
    if (isfinite(value)) cJSON_AddNumberToObject(json, name, value);
}

static slad_status add_run(slad_context *context, cJSON *list, const slad_compared_run *run)
{
    slad_status status = SLAD_OK;
    char *folder = NULL;
    SLAD_TRY(slad_text_repair(context, &folder, run->record.folder));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "folder", folder);
    cJSON_AddNumberToObject(json, "group", (double)run->group);
    cJSON_AddNumberToObject(json, "seed", (double)run->record.config.train.seed);
    cJSON_AddBoolToObject(json, "finished", run->finished);
    for (size_t n = 0; n < COMPARED_NUMBERS; n++) add_number(json, number_names[n], run->numbers[n]);
    cJSON_AddItemToArray(list, json);
cleanup:
    slad_release(folder);
    return status;
}

static cJSON *group_json(const slad_compared_group *group)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "label", group->label);
    cJSON_AddNumberToObject(json, "seeds", (double)group->runs);
    for (size_t n = 0; n < COMPARED_NUMBERS; n++) {
        const slad_spread *spread = &group->numbers[n];
        if (spread->count == 0) continue;
        cJSON *numbers = cJSON_AddObjectToObject(json, number_names[n]);
        add_number(numbers, "mean", spread->mean);
        add_number(numbers, "deviation", spread->deviation);
        add_number(numbers, "low", spread->low);
        add_number(numbers, "high", spread->high);
    }
    return json;
}

static cJSON *pair_json(const slad_compare_state *state, size_t first, size_t second)
{
    cJSON *json = cJSON_CreateObject(), *tests = cJSON_AddArrayToObject(json, "tests");
    cJSON_AddNumberToObject(json, "first", (double)first);
    cJSON_AddNumberToObject(json, "second", (double)second);
    add_number(json, "difference", slad_compare_difference(state, first, second));
    for (size_t i = 0; i < state->test_count; i++) {
        const slad_compared_test *test = &state->tests[i];
        if (test->first != first || test->second != second) continue;
        cJSON *entry = cJSON_CreateObject();
        cJSON_AddNumberToObject(entry, "seed", (double)test->seed);
        cJSON_AddNumberToObject(entry, "only_first", (double)test->result.only_first);
        cJSON_AddNumberToObject(entry, "only_second", (double)test->result.only_second);
        cJSON_AddNumberToObject(entry, "p", test->result.p);
        cJSON_AddBoolToObject(entry, "exact", test->result.exact);
        cJSON_AddItemToArray(tests, entry);
    }
    return json;
}

slad_status slad_compare_json(const slad_compare_state *state, char **text)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    cJSON *json = cJSON_CreateObject();
    cJSON *runs = cJSON_AddArrayToObject(json, "runs"), *groups = cJSON_AddArrayToObject(json, "groups");
    cJSON *pairs = cJSON_AddArrayToObject(json, "significance"), *notes = cJSON_AddArrayToObject(json, "notes");
    char *printed = NULL;
    cJSON_AddStringToObject(json, "measure", state->runs[0].by_class ? "mean_per_class" : "top1");
    for (size_t i = 0; i < state->run_count; i++) SLAD_TRY(add_run(context, runs, &state->runs[i]));
    for (size_t g = 0; g < state->group_count; g++) cJSON_AddItemToArray(groups, group_json(&state->groups[g]));
    for (size_t a = 0; a < state->group_count; a++)
        for (size_t b = a + 1; b < state->group_count; b++) cJSON_AddItemToArray(pairs, pair_json(state, a, b));
    for (size_t i = 0; i < state->note_count; i++) cJSON_AddItemToArray(notes, cJSON_CreateString(state->notes[i]));
    printed = slad_fault_due(context) ? NULL : cJSON_Print(json);
    SLAD_FAIL_IF(!printed, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for the comparison");
    SLAD_TRY(slad_duplicate(context, text, printed));
cleanup:
    cJSON_free(printed);
    cJSON_Delete(json);
    return status;
}
