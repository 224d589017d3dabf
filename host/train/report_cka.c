/* How alike teacher and student see the images, before and after training. */
#include "train/report.h"
#include <math.h>

enum { LAYERS_SHOWN = 128 };

static double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void show_row(slad_html *page, double before, double after)
{
    slad_html_add(page, "</td><td>");
    slad_html_fixed(page, before, 4);
    slad_html_add(page, "</td><td>");
    slad_html_fixed(page, after, 4);
    slad_html_add(page, "</td></tr>\n");
}

static void show_layers(slad_html *page, const cJSON *layers, const cJSON *before)
{
    double x[LAYERS_SHOWN], after_y[LAYERS_SHOWN], before_y[LAYERS_SHOWN];
    size_t count = 0;
    const cJSON *layer;
    cJSON_ArrayForEach(layer, layers)
    {
        if (count == LAYERS_SHOWN) break;
        x[count] = number_of(layer, "student");
        after_y[count] = number_of(layer, "cka");
        before_y[count] = number_of(cJSON_GetArrayItem(before, (int)count), "cka");
        slad_html_format(page, "<tr><td>student block %d, teacher block %d", (int)x[count],
                         (int)number_of(layer, "teacher"));
        show_row(page, before_y[count], after_y[count]);
        count++;
    }
    slad_html_add(page, "</table></div>\n");
    const slad_series series[] = {{"after training", x, after_y, count, true}, {"before", x, before_y, count, true}};
    const slad_chart chart = {"CKA by block (CLS)", "student block", true, "", NULL, 0};
    if (count > 1) slad_chart_draw(page, &chart, series, 2);
}

void slad_report_cka(slad_html *page, const cJSON *cka)
{
    const cJSON *pretrained = cJSON_GetObjectItemCaseSensitive(cka, "pretrained");
    const cJSON *after = cJSON_GetObjectItemCaseSensitive(cka, "output");
    const cJSON *before = cJSON_GetObjectItemCaseSensitive(pretrained, "output");
    if (!cka) return;
    slad_html_section(page, "Similarity of teacher and student (CKA)");
    slad_html_add(page,
                  "<p class=\"soft\">Unbiased linear CKA of features of the validation images: 1 for features that "
                  "are the same but for rotation and scale. Delta-CKA is the part that training took of it.</p>"
                  "<div class=\"wide\"><table><tr><th></th><th>before</th><th>after</th></tr>\n"
                  "<tr><td>output, CLS");
    show_row(page, number_of(before, "cls"), number_of(after, "cls"));
    slad_html_add(page, "<tr><td>output, mean of patches");
    show_row(page, number_of(before, "mean"), number_of(after, "mean"));
    show_layers(page, cJSON_GetObjectItemCaseSensitive(cka, "layers"),
                cJSON_GetObjectItemCaseSensitive(pretrained, "layers"));
    slad_html_end_section(page);
}
