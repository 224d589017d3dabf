/* McNemar's tests between the students of two groups. */
#include "base/memory.h"
#include "train/compare.h"
#include <math.h>
#include <string.h>

/* The first run of a group with a seed, or NULL. */
static const slad_compared_run *find_run(const slad_compare_state *state, size_t group, uint64_t seed)
{
    for (size_t i = 0; i < state->run_count; i++)
        if (state->runs[i].group == group && state->runs[i].record.config.train.seed == seed) return &state->runs[i];
    return NULL;
}

/* Why two runs cannot be tested, noted; *same says whether they can. */
static slad_status check_images(slad_compare_state *state, bool *same, const slad_run_record *first,
                                const slad_run_record *second)
{
    const slad_run_record *const records[2] = {first, second};
    slad_status status = SLAD_OK;
    *same = false;
    for (size_t i = 0; i < 2; i++) {
        if (records[i]->has_predicted && records[i]->predicted.student.classes) continue;
        return slad_compare_note(
            state,
            "%s has no predictions (predictions.safetensors), so no test: it was not evaluated, or "
            "not by this version; --data evaluates it now",
            records[i]->folder);
    }
    const slad_predicted *a = &first->predicted, *b = &second->predicted;
    *same = strcmp(a->fingerprint, b->fingerprint) == 0 && a->images == b->images && a->validation == b->validation &&
            memcmp(a->labels, b->labels, a->images * sizeof *a->labels) == 0;
    if (!*same)
        SLAD_TRY(slad_compare_note(state,
                                   "%s and %s were evaluated on different images (fingerprints %s and %s), so no test; "
                                   "--data evaluates both on the same",
                                   first->folder, second->folder, a->fingerprint, b->fingerprint));
cleanup:
    return status;
}

static slad_mcnemar test_students(const slad_predicted *first, const slad_predicted *second)
{
    size_t only_first = 0, only_second = 0;
    for (size_t i = 0; i < first->images; i++) {
        if (first->labels[i] < 0) continue;
        const bool a = first->student.classes[i] == first->labels[i];
        const bool b = second->student.classes[i] == second->labels[i];
        only_first += a && !b;
        only_second += b && !a;
    }
    return slad_mcnemar_test(only_first, only_second);
}

static slad_status test_pair(slad_compare_state *state, size_t first, size_t second)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    bool met = false;
    for (size_t i = 0; i < state->run_count; i++) {
        const uint64_t seed = state->runs[i].record.config.train.seed;
        const slad_compared_run *a = find_run(state, first, seed), *b = find_run(state, second, seed);
        bool same;
        if (a != &state->runs[i] || !b) continue;
        met = true;
        SLAD_TRY(check_images(state, &same, &a->record, &b->record));
        if (!same) continue;
        SLAD_TRY(slad_grow(context, &state->tests, &state->test_capacity, state->test_count + 1, sizeof *state->tests,
                           "tests"));
        state->tests[state->test_count++] =
            (slad_compared_test){first, second, seed, test_students(&a->record.predicted, &b->record.predicted)};
    }
    if (!met)
        SLAD_TRY(slad_compare_note(state, "%s and %s have no seed in common, so no test", state->groups[first].label,
                                   state->groups[second].label));
cleanup:
    return status;
}

slad_status slad_compare_significance(slad_compare_state *state)
{
    slad_status status = SLAD_OK;
    for (size_t a = 0; a < state->group_count; a++)
        for (size_t b = a + 1; b < state->group_count; b++) SLAD_TRY(test_pair(state, a, b));
cleanup:
    return status;
}

double slad_compare_difference(const slad_compare_state *state, size_t first, size_t second)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < state->run_count; i++) {
        const uint64_t seed = state->runs[i].record.config.train.seed;
        const slad_compared_run *a = find_run(state, first, seed), *b = find_run(state, second, seed);
        if (a != &state->runs[i] || !b) continue;
        const double difference = a->numbers[COMPARED_STUDENT] - b->numbers[COMPARED_STUDENT];
        if (!isfinite(difference)) continue;
        sum += difference;
        count++;
    }
    return count ? sum / (double)count : NAN;
}

bool slad_compare_p_values(slad_html *page, const slad_compare_state *state, size_t first, size_t second)
{
    const size_t low = first < second ? first : second, high = first < second ? second : first;
    bool any = false;
    for (size_t i = 0; i < state->test_count; i++) {
        const slad_compared_test *test = &state->tests[i];
        if (test->first != low || test->second != high) continue;
        slad_html_add(page, any ? ", " : "");
        slad_html_number(page, test->result.p, 2);
        any = true;
    }
    return any;
}
