/* Pictures of the validation part with what was predicted of them. */
#include "base/files.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data/png.h"
#include "train/report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WRONG_SHOWN = 12, RIGHT_SHOWN = 6, SIDE = 128 };

typedef struct slad_samples {
    slad_html *page;
    const slad_run_record *record;
    slad_dataset *dataset;
    slad_preprocess preprocess; /* undoes the normalisation of tensor files */
    slad_split split;
} slad_samples;

/* A normalised tensor as an image again. */
static slad_status read_tensor(slad_context *context, slad_image *image, const slad_samples *samples, size_t index)
{
    slad_status status = SLAD_OK;
    size_t height = 0, width = 0;
    float *values = NULL;
    (void)slad_dataset_tensor_size(samples->dataset, &height, &width);
    const size_t pixels = height * width;
    SLAD_TRY(slad_allocate(context, &values, 3 * pixels, sizeof *values, "an image"));
    SLAD_TRY(slad_allocate(context, &image->pixels, 3 * pixels, 1, "an image"));
    SLAD_TRY(slad_dataset_read_tensor(context, values, samples->dataset, samples->split, index));
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < pixels; i++) {
            const float level =
                255 * (values[c * pixels + i] * samples->preprocess.deviation[c] + samples->preprocess.mean[c]);
            image->pixels[3 * i + c] = (unsigned char)lroundf(fminf(fmaxf(level, 0), 255)); /* NaN becomes 0 */
        }
    }
    image->height = height;
    image->width = width;
cleanup:
    slad_release(values);
    return status;
}

static slad_status read_sample(slad_context *context, slad_image *image, const slad_samples *samples, size_t index)
{
    *image = (slad_image){0};
    if (slad_dataset_get_form(samples->dataset) == SLAD_FORM_TENSORS)
        return read_tensor(context, image, samples, index);
    return slad_dataset_read_image(context, image, samples->dataset, samples->split, index);
}

static void show_prediction(const slad_samples *samples, const char *who, const slad_predicted_model *model,
                            size_t index)
{
    slad_html *page = samples->page;
    if (!model->classes) return;
    const bool right = model->classes[index] == samples->record->predicted.labels[index];
    slad_html_format(page, "<br>%s: <span class=\"%s\">", who, right ? "good" : "bad");
    slad_html_text(page, samples->record->config.class_names[model->classes[index]]);
    slad_html_add(page, "</span> ");
    slad_html_fixed(page, 100 * (double)model->probabilities[index], 0);
    slad_html_add(page, " %");
}

static slad_status show_sample(slad_context *context, const slad_samples *samples, size_t index)
{
    slad_status status = SLAD_OK;
    slad_html *page = samples->page;
    const slad_predicted *predicted = &samples->record->predicted;
    slad_image image = {0};
    unsigned char *png = NULL;
    char *name = NULL;
    size_t size;
    SLAD_TRY(slad_dataset_item_name(context, &name, samples->dataset, samples->split, index));
    SLAD_TRY(read_sample(context, &image, samples, index));
    SLAD_TRY(slad_png_thumbnail(context, &png, &size, &image, SIDE));
    const char *file = strrchr(name, '/');
    slad_html_add(page, "<figure>");
    slad_html_picture(page, png, size, file ? file + 1 : name);
    slad_html_add(page, "<b>");
    slad_html_text(page, samples->record->config.class_names[predicted->labels[index]]);
    slad_html_add(page, "</b>");
    show_prediction(samples, "student", &predicted->student, index);
    show_prediction(samples, "teacher", &predicted->teacher, index);
    slad_html_add(page, "<br><span class=\"soft\">");
    slad_html_text(page, file ? file + 1 : name);
    slad_html_add(page, "</span></figure>\n");
cleanup:
    slad_release(name);
    slad_release(png);
    slad_image_free(&image);
    return status;
}

/* Shows up to `most` of the images that the student has right or wrong, spread over the part. */
static slad_status show_some(slad_context *context, const slad_samples *samples, bool right, size_t most)
{
    slad_status status = SLAD_OK;
    const slad_predicted *predicted = &samples->record->predicted;
    size_t total = 0, seen = 0, shown = 0;
    for (size_t i = 0; i < predicted->images; i++)
        total += predicted->labels[i] >= 0 && (predicted->student.classes[i] == predicted->labels[i]) == right;
    if (total == 0) return SLAD_OK;
    slad_html_format(samples->page, "<p><b>%s</b> <span class=\"soft\">%zu of %zu</span></p><div class=\"pictures\">\n",
                     right ? "Right" : "Wrong", total < most ? total : most, total);
    for (size_t i = 0; i < predicted->images && shown < most; i++) {
        if (predicted->labels[i] < 0 || (predicted->student.classes[i] == predicted->labels[i]) != right) continue;
        if (seen++ != (total > most ? shown * total / most : shown)) continue;
        SLAD_TRY(show_sample(context, samples, i));
        shown++;
    }
    slad_html_add(samples->page, "</div>\n");
cleanup:
    return status;
}

static slad_status open_samples(slad_context *context, slad_samples *samples)
{
    slad_status status = SLAD_OK;
    const slad_run_record *record = samples->record;
    char fingerprint[24];
    SLAD_TRY(slad_dataset_open(context, &samples->dataset, record->config.data, NULL));
    (void)snprintf(fingerprint, sizeof fingerprint, "%016llx",
                   (unsigned long long)slad_dataset_labelled_fingerprint(samples->dataset));
    SLAD_FAIL_IF(strcmp(fingerprint, record->predicted.fingerprint) != 0 ||
                     slad_dataset_count(samples->dataset, samples->split) != record->predicted.images,
                 SLAD_ERROR_DATA, "%s is not what it was when the run was trained", record->config.data);
    if (slad_dataset_get_form(samples->dataset) == SLAD_FORM_TENSORS)
        SLAD_TRY(slad_preprocess_read(context, &samples->preprocess, record->config.student));
cleanup:
    return status;
}

slad_status slad_report_samples(slad_context *context, slad_html *page, const slad_run_record *record)
{
    slad_status status = SLAD_OK;
    slad_samples samples = {.page = page,
                            .record = record,
                            .split = record->predicted.validation ? SLAD_SPLIT_VALIDATION : SLAD_SPLIT_TRAIN};
    if (!record->has_predicted || !record->predicted.student.classes) return SLAD_OK;
    SLAD_TRY(open_samples(context, &samples));
    slad_html_section(page, "Sample predictions");
    SLAD_TRY(show_some(context, &samples, false, WRONG_SHOWN));
    SLAD_TRY(show_some(context, &samples, true, RIGHT_SHOWN));
    slad_html_end_section(page);
cleanup:
    slad_dataset_free(samples.dataset);
    return status;
}
