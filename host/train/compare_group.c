/* Which runs belong together, and how they do. */
#include "base/json_scan.h"
#include "base/memory.h"
#include "train/compare.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

slad_status slad_compare_note(slad_compare_state *state, const char *format, ...)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    char *text = NULL, *note = NULL;
    va_list arguments;
    va_start(arguments, format);
    status = slad_format_list(context, &text, format, arguments);
    va_end(arguments);
    SLAD_TRY(status);
    SLAD_TRY(slad_text_repair(context, &note, text)); /* folders are called by any bytes */
    for (size_t i = 0; i < state->note_count; i++)
        if (strcmp(state->notes[i], note) == 0) goto cleanup;
    SLAD_TRY(slad_grow(context, &state->notes, &state->note_capacity, state->note_count + 1, sizeof(char *), "notes"));
    state->notes[state->note_count++] = note;
    note = NULL;
cleanup:
    slad_release(text);
    slad_release(note);
    return status;
}

/* Appends formatted text to *text. */
static slad_status extend(slad_context *context, char **text, const char *separator, const char *name,
                          const char *value)
{
    char *longer = NULL;
    const slad_status status = slad_format(context, &longer, "%s%s%s%s", *text, separator, name, value);
    if (status == SLAD_OK) {
        slad_release(*text);
        *text = longer;
    }
    return status;
}

/* All options but the seed, the models, the data. */
static slad_status make_key(slad_context *context, char **key, const slad_run_record *record)
{
    static const char *const inputs[] = {"teacher",         "student",         "init",
                                         "teacher_adapter", "student_adapter", "unlabelled"};
    slad_status status = SLAD_OK;
    char value[SLAD_OPTION_TEXT];
    SLAD_TRY(slad_format(context, key, "%zu %s", record->config.image_size,
                         slad_run_record_text(record, "data", "fingerprint")));
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        SLAD_TRY(extend(context, key, "\n", "", slad_run_record_text(record, NULL, inputs[i])));
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const char *name = slad_train_option_at(i)->name;
        if (strcmp(name, "seed") == 0 || !slad_train_options_get(&record->config.train, name, value)) continue;
        SLAD_TRY(extend(context, key, "\n", name, value));
    }
cleanup:
    return status;
}

/* A run and its copy, or the same run twice, are no two seeds: their spread says nothing. Runs before index are placed.
 */
static slad_status note_repeated_seed(slad_compare_state *state, size_t group, size_t index)
{
    slad_status status = SLAD_OK;
    const slad_run_record *run = &state->runs[index].record;
    for (size_t i = 0; i < index; i++)
        if (state->runs[i].group == group && state->runs[i].record.config.train.seed == run->config.train.seed)
            SLAD_TRY(slad_compare_note(state, "%s and %s have the same seed: their spread is none of seeds",
                                       state->runs[i].record.folder, run->folder));
cleanup:
    return status;
}

static slad_status place_run(slad_compare_state *state, size_t index)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    char *key = NULL;
    size_t group = 0;
    SLAD_TRY(make_key(context, &key, &state->runs[index].record));
    while (group < state->group_count && strcmp(state->groups[group].key, key) != 0) group++;
    if (group == state->group_count) {
        SLAD_TRY(slad_grow(context, &state->groups, &state->group_capacity, group + 1, sizeof *state->groups,
                           "groups of runs"));
        state->groups[group] = (slad_compared_group){.key = key, .first = index};
        state->group_count++;
        key = NULL;
    }
    SLAD_TRY(note_repeated_seed(state, group, index));
    state->runs[index].group = group;
    state->groups[group].runs++;
cleanup:
    slad_release(key);
    return status;
}

static const slad_run_record *first_of(const slad_compare_state *state, size_t group)
{
    return &state->runs[state->groups[group].first].record;
}

/* Whether groups have unlike values of an option. */
static bool option_differs(const slad_compare_state *state, const char *name)
{
    char first[SLAD_OPTION_TEXT], other[SLAD_OPTION_TEXT];
    if (!slad_train_options_get(&first_of(state, 0)->config.train, name, first)) return false;
    for (size_t i = 1; i < state->group_count; i++)
        if (slad_train_options_get(&first_of(state, i)->config.train, name, other) && strcmp(first, other) != 0)
            return true;
    return false;
}

/* Behind the method: options that set groups apart, unless they are what the method sets anyway. */
static slad_status add_options(slad_compare_state *state, size_t group)
{
    slad_status status = SLAD_OK;
    slad_train_options usual = slad_train_options_default();
    char value[SLAD_OPTION_TEXT], preset[SLAD_OPTION_TEXT];
    const slad_train_options *own = &first_of(state, group)->config.train;
    slad_train_options_set_method(&usual, own->method);
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const char *name = slad_train_option_at(i)->name;
        if (strcmp(name, "method") == 0 || strcmp(name, "seed") == 0 || !option_differs(state, name)) continue;
        if (!slad_train_options_get(own, name, value) || !slad_train_options_get(&usual, name, preset)) continue;
        if (strcmp(value, preset) == 0) continue;
        SLAD_TRY(extend(state->context, &state->groups[group].label, ", ", name, " "));
        SLAD_TRY(extend(state->context, &state->groups[group].label, "", value, ""));
    }
cleanup:
    return status;
}

static const char *last_name(const char *path)
{
    const char *stroke = strrchr(path, '/');
    return stroke ? stroke + 1 : path;
}

/* Models and data that set groups apart; a group without one is not told of it, nor what only some methods have (a
 * teacher) where those that have it have the same. */
static slad_status add_inputs(slad_compare_state *state, size_t group)
{
    static const char *const inputs[][2] = {
        {NULL, "teacher"},         {NULL, "student"},         {"data", "path"},     {NULL, "init"},
        {NULL, "teacher_adapter"}, {NULL, "student_adapter"}, {NULL, "unlabelled"},
    };
    enum { OPTIONAL = 3 };
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        const char *own = slad_run_record_text(first_of(state, group), inputs[i][0], inputs[i][1]);
        bool differs = false;
        for (size_t other = 0; other < state->group_count; other++) {
            const char *theirs = slad_run_record_text(first_of(state, other), inputs[i][0], inputs[i][1]);
            const bool told = own[0] && (theirs[0] || i >= OPTIONAL);
            differs = differs || (told && strcmp(own, theirs) != 0);
        }
        if (!differs) continue;
        SLAD_TRY(
            extend(state->context, &state->groups[group].label, ", ", inputs[i][0] ? inputs[i][0] : inputs[i][1], " "));
        SLAD_TRY(extend(state->context, &state->groups[group].label, "", last_name(own), ""));
    }
cleanup:
    return status;
}

/* Groups that would still be called alike are numbered. */
static slad_status number_alike(slad_compare_state *state, size_t group)
{
    slad_status status = SLAD_OK;
    size_t alike = 1;
    char *label = NULL;
    for (size_t i = 0; i < group; i++) alike += strcmp(state->groups[i].label, state->groups[group].label) == 0;
    if (alike == 1) return SLAD_OK;
    SLAD_TRY(slad_format(state->context, &label, "%s (%zu)", state->groups[group].label, alike));
    slad_release(state->groups[group].label);
    state->groups[group].label = label;
cleanup:
    return status;
}

static slad_spread measure_spread(const slad_compare_state *state, size_t group, slad_compared_number which)
{
    slad_spread spread = {.mean = NAN, .deviation = NAN, .low = INFINITY, .high = -INFINITY};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < state->run_count; i++) {
        const double value = state->runs[i].numbers[which];
        if (state->runs[i].group != group || !isfinite(value)) continue;
        spread.count++;
        sum += value;
        spread.low = fmin(spread.low, value);
        spread.high = fmax(spread.high, value);
    }
    if (spread.count == 0) return spread;
    spread.mean = sum / (double)spread.count;
    for (size_t i = 0; i < state->run_count; i++) {
        const double value = state->runs[i].numbers[which];
        if (state->runs[i].group == group && isfinite(value)) squares += (value - spread.mean) * (value - spread.mean);
    }
    if (spread.count > 1) spread.deviation = sqrt(squares / (double)(spread.count - 1));
    return spread;
}

slad_status slad_compare_group(slad_compare_state *state)
{
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < state->run_count; i++) SLAD_TRY(place_run(state, i));
    for (size_t g = 0; g < state->group_count; g++) {
        slad_compared_group *group = &state->groups[g];
        SLAD_TRY(slad_duplicate(state->context, &group->label,
                                slad_run_record_text(first_of(state, g), "options", "method")));
        SLAD_TRY(add_options(state, g));
        SLAD_TRY(add_inputs(state, g));
        for (int n = 0; n < COMPARED_NUMBERS; n++)
            group->numbers[n] = measure_spread(state, g, (slad_compared_number)n);
        const double mean = group->numbers[COMPARED_STUDENT].mean;
        const double best = state->groups[state->best].numbers[COMPARED_STUDENT].mean;
        if (mean > best || isnan(best)) state->best = g;
    }
    for (size_t g = state->group_count; g-- > 1;) SLAD_TRY(number_alike(state, g));
cleanup:
    return status;
}
