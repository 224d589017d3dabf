/* Predictions of images on disk as JSON and as a sheet of pictures. */
#include "base/json_scan.h"
#include "base/memory.h"
#include "data/png.h"
#include "io/html.h"
#include "slad/train.h"
#include <cjson/cJSON.h>
#include <string.h>

enum { SIDE = 224 };

/* Whether class a comes before class b: it is more probable, or as probable and earlier. */
static bool comes_before(const float *row, size_t a, size_t b)
{
    return row[a] > row[b] || (row[a] == row[b] && a < b);
}

size_t slad_predictions_next(const slad_predictions *predictions, size_t image, size_t previous)
{
    const size_t classes = predictions->classes;
    const float *row = predictions->probabilities + image * classes;
    size_t best = classes;
    for (size_t c = 0; c < classes; c++) {
        if (previous < classes && !comes_before(row, previous, c)) continue;
        if (best == classes || comes_before(row, c, best)) best = c;
    }
    return best < classes ? best : 0;
}

static slad_status add_image(slad_context *context, cJSON *list, const slad_predictions *predictions, size_t image,
                             const char *path, size_t top)
{
    slad_status status = SLAD_OK;
    char *repaired = NULL;
    size_t index = predictions->classes;
    SLAD_TRY(slad_text_repair(context, &repaired, path));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "image", repaired);
    cJSON *classes = cJSON_AddArrayToObject(json, "classes");
    for (size_t place = 0; place < top; place++) {
        cJSON *entry = cJSON_CreateObject();
        index = slad_predictions_next(predictions, image, index);
        cJSON_AddNumberToObject(entry, "index", (double)index);
        cJSON_AddStringToObject(entry, "class", predictions->class_names[index]);
        cJSON_AddNumberToObject(entry, "probability",
                                (double)predictions->probabilities[image * predictions->classes + index]);
        cJSON_AddItemToArray(classes, entry);
    }
    cJSON_AddItemToArray(list, json);
cleanup:
    slad_release(repaired);
    return status;
}

slad_status slad_predictions_json(slad_context *context, char **text, const slad_predictions *predictions,
                                  const char *const *paths, size_t top)
{
    slad_status status = SLAD_OK;
    cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "predictions");
    char *printed = NULL;
    *text = NULL;
    if (top > predictions->classes) top = predictions->classes;
    for (size_t i = 0; i < predictions->images; i++) SLAD_TRY(add_image(context, list, predictions, i, paths[i], top));
    printed = slad_fault_due(context) ? NULL : cJSON_Print(json);
    SLAD_FAIL_IF(!printed, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for the predictions of %zu images",
                 predictions->images);
    SLAD_TRY(slad_duplicate(context, text, printed));
cleanup:
    cJSON_free(printed);
    cJSON_Delete(json);
    return status;
}

static slad_status add_picture(slad_context *context, slad_html *page, const char *path)
{
    slad_status status = SLAD_OK;
    slad_image image = {0};
    unsigned char *png = NULL;
    size_t size;
    SLAD_TRY(slad_image_read(context, &image, path));
    SLAD_TRY(slad_png_thumbnail(context, &png, &size, &image, SIDE));
    slad_html_picture(page, png, size, path);
cleanup:
    slad_image_free(&image);
    slad_release(png);
    return status;
}

static void add_classes(slad_html *page, const slad_predictions *predictions, size_t image, size_t top)
{
    size_t index = predictions->classes;
    for (size_t place = 0; place < top; place++) {
        index = slad_predictions_next(predictions, image, index);
        slad_html_add(page, place ? "<br>" : "<b>");
        slad_html_text(page, predictions->class_names[index]);
        slad_html_add(page, place ? " " : "</b> ");
        slad_html_fixed(page, 100 * (double)predictions->probabilities[image * predictions->classes + index], 1);
        slad_html_add(page, " %");
    }
}

slad_status slad_predictions_sheet(slad_context *context, const slad_predictions *predictions, const char *const *paths,
                                   size_t top, const char *sheet)
{
    slad_status status = SLAD_OK;
    slad_html page;
    slad_html_begin(&page, context, "Predictions");
    if (top > predictions->classes) top = predictions->classes;
    slad_html_add(&page, "<div class=\"pictures\">\n");
    for (size_t i = 0; i < predictions->images; i++) {
        const char *stroke = strrchr(paths[i], '/');
        slad_html_add(&page, "<figure>");
        SLAD_TRY(add_picture(context, &page, paths[i]));
        add_classes(&page, predictions, i, top);
        slad_html_add(&page, "<br><span class=\"soft\">");
        slad_html_text(&page, stroke ? stroke + 1 : paths[i]);
        slad_html_add(&page, "</span></figure>\n");
    }
    slad_html_add(&page, "</div>\n");
    SLAD_TRY(slad_html_write(&page, sheet));
cleanup:
    slad_html_free(&page);
    return status;
}
