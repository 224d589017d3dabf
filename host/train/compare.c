#include "train/compare.h"
#include "base/memory.h"
#include "train/run.h"
#include <math.h>
#include <string.h>

static double cka_delta(const slad_run_record *record)
{
    const cJSON *cka = cJSON_GetObjectItemCaseSensitive(record->summary, "cka");
    const cJSON *delta = cJSON_GetObjectItemCaseSensitive(cka, "delta");
    return cJSON_IsNumber(delta) ? delta->valuedouble : NAN;
}

/* Of the evaluation that the run keeps. */
static void take_accuracy(slad_compared_run *run)
{
    const slad_history_evaluation *last = slad_run_record_kept(&run->record);
    if (!last) return;
    run->by_class = last->by_class;
    run->numbers[COMPARED_STUDENT] = 100 * (last->by_class ? last->student_mean : last->student_top1);
    run->numbers[COMPARED_TEACHER] = 100 * (last->by_class ? last->teacher_mean : last->teacher_top1);
}

/* Evaluates the run on other data, whose results replace what its folder says. */
static slad_status evaluate_run(slad_compare_state *state, slad_compared_run *run, slad_device *device,
                                const slad_compare_options *options)
{
    slad_status status = SLAD_OK;
    slad_eval_result result = {0};
    const slad_eval_options eval = {
        .model = run->record.folder, .data = options->data, .batch = options->batch, .workers = options->workers};
    slad_predicted_free(&run->record.predicted);
    run->record.has_predicted = false;
    SLAD_TRY(slad_run_eval_predicted(state->context, device, &result, &run->record.predicted, &eval));
    run->record.has_predicted = true;
    run->by_class = result.student.measure == SLAD_MEASURE_MEAN_PER_CLASS;
    run->numbers[COMPARED_STUDENT] = 100 * (run->by_class ? result.student.mean_per_class : result.student.top1);
    if (result.teacher.present)
        run->numbers[COMPARED_TEACHER] = 100 * (run->by_class ? result.teacher.mean_per_class : result.teacher.top1);
    run->numbers[COMPARED_DELTA] = result.cka.present ? result.cka.delta : NAN;
cleanup:
    slad_eval_result_free(&result);
    return status;
}

static slad_status read_run(slad_compare_state *state, slad_compared_run *run, slad_device *device, const char *folder,
                            const slad_compare_options *options)
{
    slad_status status = SLAD_OK;
    slad_run_times times;
    for (size_t n = 0; n < COMPARED_NUMBERS; n++) run->numbers[n] = NAN;
    SLAD_TRY(slad_run_record_read(state->context, &run->record, folder));
    SLAD_TRY(slad_run_record_times(state->context, &times, &run->record));
    const cJSON *outcome = cJSON_GetObjectItemCaseSensitive(run->record.summary, "outcome");
    run->finished = cJSON_IsString(outcome) && strcmp(outcome->valuestring, "done") == 0;
    if (times.rate > 0) {
        run->numbers[COMPARED_STEP] = times.step;
        run->numbers[COMPARED_TIME] = times.steps;
    }
    run->numbers[COMPARED_MEMORY] = slad_run_record_number(&run->record, "memory_plan", "total_bytes");
    run->numbers[COMPARED_PARAMETERS] = slad_run_record_number(&run->record, NULL, "trained_parameters");
    run->numbers[COMPARED_DELTA] = cka_delta(&run->record);
    take_accuracy(run);
    if (options->data) SLAD_TRY(evaluate_run(state, run, device, options));
    if (!run->finished) SLAD_TRY(slad_compare_note(state, "%s was not trained to its end", folder));
    if (!isfinite(run->numbers[COMPARED_STUDENT]))
        SLAD_TRY(slad_compare_note(state, "%s has no evaluation of a student", folder));
cleanup:
    return status;
}

/* What makes the numbers of groups not comparable. */
static slad_status note_differences(slad_compare_state *state)
{
    slad_status status = SLAD_OK;
    const slad_compared_run *first = &state->runs[0];
    for (size_t i = 1; i < state->run_count; i++) {
        const slad_compared_run *run = &state->runs[i];
        const char *own = slad_run_record_text(&run->record, "device", "name");
        const char *other = slad_run_record_text(&first->record, "device", "name");
        if (strcmp(own, other) != 0)
            SLAD_TRY(slad_compare_note(state, "Times are of unlike devices: %s and %s", other, own));
        if (run->by_class != first->by_class)
            SLAD_TRY(slad_compare_note(state, "Accuracy is top-1 for some runs and the mean per class for others"));
        if (strcmp(slad_run_record_text(&run->record, "data", "fingerprint"),
                   slad_run_record_text(&first->record, "data", "fingerprint")) != 0)
            SLAD_TRY(slad_compare_note(state, "The runs were trained on different data"));
    }
cleanup:
    return status;
}

static void free_state(slad_compare_state *state)
{
    for (size_t i = 0; state->runs && i < state->run_count; i++) slad_run_record_free(&state->runs[i].record);
    for (size_t g = 0; g < state->group_count; g++) {
        slad_release(state->groups[g].key);
        slad_release(state->groups[g].label);
    }
    for (size_t i = 0; i < state->note_count; i++) slad_release(state->notes[i]);
    slad_release(state->runs);
    slad_release(state->groups);
    slad_release(state->tests);
    slad_release((void *)state->notes);
}

slad_status slad_compare(slad_context *context, slad_device *device, slad_comparison *comparison,
                         const slad_compare_options *options)
{
    slad_status status = SLAD_OK;
    slad_compare_state state = {.context = context, .run_count = options->run_count};
    *comparison = (slad_comparison){0};
    SLAD_FAIL_IF(options->run_count == 0, SLAD_ERROR_USAGE, "There are no runs to compare; name at least one");
    SLAD_FAIL_IF(options->data && !device, SLAD_ERROR_USAGE, "Evaluating runs on data needs a device");
    SLAD_TRY(slad_allocate(context, &state.runs, state.run_count, sizeof *state.runs, "the runs of a comparison"));
    for (size_t i = 0; i < state.run_count; i++)
        SLAD_TRY(read_run(&state, &state.runs[i], device, options->runs[i], options));
    SLAD_TRY(slad_compare_group(&state));
    SLAD_TRY(note_differences(&state));
    SLAD_TRY(slad_compare_significance(&state));
    if (options->page) SLAD_TRY(slad_compare_page(&state, options->page));
    SLAD_TRY(slad_compare_markdown(&state, &comparison->markdown));
    SLAD_TRY(slad_compare_json(&state, &comparison->json));
cleanup:
    free_state(&state);
    if (status != SLAD_OK) slad_comparison_free(comparison);
    return status;
}

void slad_comparison_free(slad_comparison *comparison)
{
    slad_release(comparison->markdown);
    slad_release(comparison->json);
    *comparison = (slad_comparison){0};
}
