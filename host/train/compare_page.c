/* A comparison as a page. */
#include "train/compare.h"
#include <math.h>

enum { WIDTH = 720, LEFT = 230, RIGHT = 60, ROW = 28 };

/* A dot for each run's student, a row a group. */
static void show_dots(slad_html *page, const slad_compare_state *state)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < state->run_count; i++) {
        const double value = state->runs[i].numbers[COMPARED_STUDENT];
        if (!isfinite(value)) continue;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    if (!(low <= high)) return;
    const double range = high > low ? high - low : 1;
    slad_html_format(page, "<svg viewBox=\"0 0 %d %zu\" role=\"img\" aria-label=\"Students' accuracy\">", WIDTH,
                     ROW * state->group_count + 8);
    for (size_t g = 0; g < state->group_count; g++) {
        const size_t y = ROW * g + ROW / 2 + 4;
        slad_html_format(page, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%zu\" y2=\"%zu\"/>", LEFT, WIDTH - RIGHT,
                         y, y);
        slad_html_format(page, "<text text-anchor=\"end\" x=\"%d\" y=\"%zu\">", LEFT - 12, y + 4);
        slad_html_text(page, state->groups[g].label);
        slad_html_format(page, "</text><text x=\"%d\" y=\"%zu\">", WIDTH - RIGHT + 10, y + 4);
        slad_html_fixed(page, state->groups[g].numbers[COMPARED_STUDENT].mean, 1);
        slad_html_add(page, " %</text>");
        for (size_t i = 0; i < state->run_count; i++) {
            const double value = state->runs[i].numbers[COMPARED_STUDENT];
            if (state->runs[i].group != g || !isfinite(value)) continue;
            const int x = LEFT + 8 + (int)lround((value - low) / range * (WIDTH - LEFT - RIGHT - 16));
            slad_html_format(page, "<circle class=\"d0\" fill-opacity=\".7\" r=\"5\" cx=\"%d\" cy=\"%zu\"/>", x, y);
        }
    }
    slad_html_add(page, "</svg>\n");
}

static void show_cell(slad_html *page, const slad_spread *spread, double scale, int places)
{
    slad_html_add(page, "</td><td>");
    slad_compare_spread(page, spread, scale, places);
}

static void show_groups(slad_html *page, const slad_compare_state *state)
{
    slad_html_section(page, "Groups");
    slad_html_add(page,
                  "<p class=\"soft\">Runs that differ in nothing but their seed: mean ± standard deviation.</p>\n");
    show_dots(page, state);
    slad_html_format(page,
                     "<div class=\"wide\"><table><tr><th>runs</th><th>seeds</th><th>student, %s, %%</th><th>teacher, "
                     "%%</th><th>Delta-CKA, %%</th><th>step, ms</th><th>all steps</th><th>memory</th><th>trained "
                     "values</th></tr>\n",
                     state->runs[0].by_class ? "mean per class" : "top-1");
    for (size_t g = 0; g < state->group_count; g++) {
        const slad_compared_group *group = &state->groups[g];
        slad_html_add(page, g == state->best ? "<tr class=\"changed\"><td>" : "<tr><td>");
        slad_html_text(page, group->label);
        slad_html_format(page, "</td><td>%zu", group->runs);
        show_cell(page, &group->numbers[COMPARED_STUDENT], 1, 2);
        show_cell(page, &group->numbers[COMPARED_TEACHER], 1, 2);
        show_cell(page, &group->numbers[COMPARED_DELTA], 1, 2);
        show_cell(page, &group->numbers[COMPARED_STEP], 1000, 1);
        slad_html_add(page, "</td><td>");
        slad_html_seconds(page, group->numbers[COMPARED_TIME].mean);
        slad_html_add(page, "</td><td>");
        slad_html_bytes(page, group->numbers[COMPARED_MEMORY].mean);
        slad_html_add(page, "</td><td>");
        slad_html_count(page, group->numbers[COMPARED_PARAMETERS].mean);
        slad_html_add(page, "</td></tr>\n");
    }
    slad_html_add(page, "</table></div>\n");
    slad_html_end_section(page);
}

static void show_tests(slad_html *page, const slad_compare_state *state)
{
    if (state->test_count == 0) return;
    slad_html_section(page, "Significance");
    slad_html_add(page,
                  "<p class=\"soft\">McNemar's test between students of equal seed, on the same images: p is how often "
                  "equally good students would differ as much as these. The difference is the first minus the "
                  "second, in points.</p><div class=\"wide\"><table><tr><th>first</th><th>second</th>"
                  "<th>difference</th><th>p, a seed each</th></tr>\n");
    for (size_t a = 0; a < state->group_count; a++) {
        for (size_t b = a + 1; b < state->group_count; b++) {
            slad_html_add(page, "<tr><td>");
            slad_html_text(page, state->groups[a].label);
            slad_html_add(page, "</td><td>");
            slad_html_text(page, state->groups[b].label);
            slad_html_add(page, "</td><td>");
            slad_html_fixed(page, slad_compare_difference(state, a, b), 2);
            slad_html_add(page, "</td><td>");
            if (!slad_compare_p_values(page, state, a, b)) slad_html_add(page, "–");
            slad_html_add(page, "</td></tr>\n");
        }
    }
    slad_html_add(page, "</table></div>\n");
    slad_html_end_section(page);
}

static void show_runs(slad_html *page, const slad_compare_state *state)
{
    slad_html_section(page, "Runs");
    slad_html_add(page, "<div class=\"wide\"><table><tr><th>folder</th><th>group</th><th>seed</th><th>student, "
                        "%</th><th>teacher, %</th><th>Delta-CKA, %</th></tr>\n");
    for (size_t i = 0; i < state->run_count; i++) {
        const slad_compared_run *run = &state->runs[i];
        slad_html_add(page, "<tr><td>");
        slad_html_text(page, run->record.folder);
        slad_html_add(page, run->finished ? "</td><td>" : " (not finished)</td><td>");
        slad_html_text(page, state->groups[run->group].label);
        slad_html_format(page, "</td><td>%llu", (unsigned long long)run->record.config.train.seed);
        for (int n = COMPARED_STUDENT; n <= COMPARED_DELTA; n++) {
            slad_html_add(page, "</td><td>");
            slad_html_fixed(page, run->numbers[n], 2);
        }
        slad_html_add(page, "</td></tr>\n");
    }
    slad_html_add(page, "</table></div>\n");
    slad_html_end_section(page);
}

slad_status slad_compare_page(const slad_compare_state *state, const char *path)
{
    slad_html page;
    slad_html_begin(&page, state->context, "Comparison of runs");
    show_groups(&page, state);
    show_tests(&page, state);
    for (size_t i = 0; i < state->note_count; i++) {
        slad_html_add(&page, "<p class=\"soft\">");
        slad_html_text(&page, state->notes[i]);
        slad_html_add(&page, "</p>\n");
    }
    show_runs(&page, state);
    const slad_status status = slad_html_write(&page, path);
    slad_html_free(&page);
    return status;
}
