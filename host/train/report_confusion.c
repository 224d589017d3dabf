/* Which classes are taken for which others. */
#include "base/memory.h"
#include "train/report.h"
#include <stdlib.h>

/* Classes whose matrix can be read; of more, the pairs that are confused most often are listed. */
enum { CLASSES_SHOWN = 24, PAIRS_SHOWN = 20 };

typedef struct confused_pair {
    size_t count, label, predicted, of; /* `of` images of the label */
} confused_pair;

static void show_matrix(slad_html *page, const slad_run_record *record, const size_t *counts)
{
    const size_t classes = record->config.classes;
    slad_html_add(page, "<p class=\"soft\">Rows: labels. Columns: what the student predicts.</p>"
                        "<div class=\"wide\"><table class=\"confusion\"><tr><th></th>");
    for (size_t c = 0; c < classes; c++) {
        slad_html_add(page, "<th class=\"up\">");
        slad_html_text(page, record->config.class_names[c]);
        slad_html_add(page, "</th>");
    }
    slad_html_add(page, "</tr>\n");
    for (size_t row = 0; row < classes; row++) {
        size_t total = 0;
        slad_html_add(page, "<tr><th>");
        slad_html_text(page, record->config.class_names[row]);
        slad_html_add(page, "</th>");
        for (size_t c = 0; c < classes; c++) total += counts[row * classes + c];
        for (size_t c = 0; c < classes; c++) {
            const size_t count = counts[row * classes + c], share = total ? (100 * count + total / 2) / total : 0;
            const char *colour = c == row ? "26,133,102" : "192,57,43";
            slad_html_format(page, "<td style=\"background:rgba(%s,%zu%%)\">", colour, share * 7 / 10);
            if (count) slad_html_format(page, "%zu", count);
            slad_html_add(page, "</td>");
        }
        slad_html_add(page, "</tr>\n");
    }
    slad_html_add(page, "</table></div>\n");
}

/* Most often first; ties in the order of classes, so that two runs list them alike. */
static int compare_pairs(const void *left, const void *right)
{
    const confused_pair *a = left, *b = right;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    if (a->label != b->label) return a->label < b->label ? -1 : 1;
    return a->predicted < b->predicted ? -1 : a->predicted > b->predicted;
}

static void show_pairs(slad_html *page, const slad_run_record *record, confused_pair *pairs, size_t count)
{
    char *const *names = record->config.class_names;
    qsort(pairs, count, sizeof *pairs, compare_pairs);
    if (count > PAIRS_SHOWN) count = PAIRS_SHOWN;
    slad_html_format(page, "<p class=\"soft\">The %zu pairs of classes that the student confuses most often.</p>",
                     count);
    slad_html_add(page, "<div class=\"wide\"><table><tr><th>label</th><th>taken for</th><th>images</th><th>of the "
                        "label's</th></tr>\n");
    for (size_t i = 0; i < count; i++) {
        slad_html_add(page, "<tr><td>");
        slad_html_text(page, names[pairs[i].label]);
        slad_html_add(page, "</td><td>");
        slad_html_text(page, names[pairs[i].predicted]);
        slad_html_format(page, "</td><td>%zu</td><td>%zu</td></tr>\n", pairs[i].count, pairs[i].of);
    }
    slad_html_add(page, "</table></div>\n");
}

static int compare_labels(const void *left, const void *right)
{
    const confused_pair *a = left, *b = right;
    if (a->label != b->label) return a->label < b->label ? -1 : 1;
    return a->predicted < b->predicted ? -1 : a->predicted > b->predicted;
}

/* Lists the pairs that occur, without a matrix that no machine could hold. */
static slad_status list_pairs(slad_context *context, slad_html *page, const slad_run_record *record)
{
    slad_status status = SLAD_OK;
    const slad_predicted *predicted = &record->predicted;
    confused_pair *pairs = NULL;
    size_t *totals = NULL, count = 0, distinct = 0;
    SLAD_TRY(slad_allocate(context, &pairs, predicted->images, sizeof *pairs, "confused classes"));
    SLAD_TRY(slad_allocate(context, &totals, record->config.classes, sizeof *totals, "confused classes"));
    for (size_t i = 0; i < predicted->images; i++) {
        if (predicted->labels[i] < 0) continue;
        const size_t label = (size_t)predicted->labels[i], taken = (size_t)predicted->student.classes[i];
        totals[label]++;
        if (label != taken) pairs[count++] = (confused_pair){1, label, taken, 0};
    }
    qsort(pairs, count, sizeof *pairs, compare_labels);
    for (size_t i = 0; i < count; i++) {
        if (distinct && compare_labels(&pairs[distinct - 1], &pairs[i]) == 0)
            pairs[distinct - 1].count++;
        else
            pairs[distinct++] = (confused_pair){1, pairs[i].label, pairs[i].predicted, totals[pairs[i].label]};
    }
    show_pairs(page, record, pairs, distinct);
cleanup:
    slad_release(pairs);
    slad_release(totals);
    return status;
}

static slad_status count_matrix(slad_context *context, slad_html *page, const slad_run_record *record)
{
    slad_status status = SLAD_OK;
    const slad_predicted *predicted = &record->predicted;
    const size_t classes = record->config.classes;
    size_t *counts = NULL;
    SLAD_TRY(slad_allocate(context, &counts, classes * classes, sizeof *counts, "the confusion matrix"));
    for (size_t i = 0; i < predicted->images; i++)
        if (predicted->labels[i] >= 0)
            counts[(size_t)predicted->labels[i] * classes + (size_t)predicted->student.classes[i]]++;
    show_matrix(page, record, counts);
cleanup:
    slad_release(counts);
    return status;
}

void slad_report_confusion(slad_html *page, const slad_run_record *record)
{
    if (page->status != SLAD_OK || !record->has_predicted || !record->predicted.student.classes) return;
    slad_html_section(page, "Confusion");
    const slad_status status = record->config.classes <= CLASSES_SHOWN ? count_matrix(page->context, page, record)
                                                                       : list_pairs(page->context, page, record);
    if (page->status == SLAD_OK) page->status = status;
    slad_html_end_section(page);
}
