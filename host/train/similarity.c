#include "train/similarity.h"
#include "base/memory.h"
#include <string.h>

enum { CLS_SLOT, MEAN_SLOT, FIRST_BLOCK };

size_t slad_similarity_batch(size_t images)
{
    const size_t batches = (images + SLAD_CKA_BATCH - 1) / SLAD_CKA_BATCH;
    return batches ? images / batches : 0;
}

static slad_status start_rows(slad_similarity *similarity, slad_feature_rows *rows, const slad_inference *inference,
                              const size_t *blocks)
{
    slad_context *context = similarity->context;
    slad_status status = SLAD_OK;
    rows->width = slad_encoder_get_info(inference->source.encoder)->width;
    rows->slots = FIRST_BLOCK + similarity->layers;
    rows->blocks = blocks;
    const size_t values = rows->slots * rows->width;
    SLAD_TRY(slad_allocate(context, &rows->values, similarity->minibatch * values, sizeof(float), "features"));
    SLAD_TRY(slad_allocate(context, &rows->batch, similarity->rows * values, sizeof(float), "features"));
    SLAD_TRY(slad_allocate(context, &rows->output, similarity->rows * 2 * rows->width, sizeof(float), "features"));
cleanup:
    return status;
}

slad_status slad_similarity_start(slad_context *context, slad_similarity *similarity, const slad_inference *teacher,
                                  const slad_inference *student, const slad_cka_result *result)
{
    slad_status status = SLAD_OK;
    *similarity = (slad_similarity){
        .context = context, .minibatch = result->batch, .rows = student->batch, .layers = result->layers};
    SLAD_TRY(start_rows(similarity, &similarity->teacher, teacher, result->teacher_layers));
    SLAD_TRY(start_rows(similarity, &similarity->student, student, result->student_layers));
    SLAD_TRY(slad_allocate(context, &similarity->sums, FIRST_BLOCK + result->layers, sizeof *similarity->sums,
                           "the sums of CKA"));
cleanup:
    return status;
}

/* Reads all slots of one pass. */
static slad_status read_features(slad_feature_rows *rows, slad_inference *inference, size_t images)
{
    slad_status status = SLAD_OK;
    const size_t width = rows->width, slot = images * width;
    SLAD_TRY(slad_inference_read(inference, rows->output, inference->features));
    for (size_t i = 0; i < images; i++) {
        const float *output = rows->output + 2 * i * width;
        memcpy(rows->batch + CLS_SLOT * slot + i * width, output, width * sizeof *output);
        memcpy(rows->batch + MEAN_SLOT * slot + i * width, output + width, width * sizeof *output);
    }
    for (size_t i = FIRST_BLOCK; i < rows->slots; i++)
        SLAD_TRY(slad_inference_read(inference, rows->batch + i * slot,
                                     inference->block_features[rows->blocks[i - FIRST_BLOCK]]));
cleanup:
    return status;
}

static void keep_row(const slad_similarity *similarity, slad_feature_rows *rows, size_t row)
{
    const size_t width = rows->width;
    for (size_t slot = 0; slot < rows->slots; slot++)
        memcpy(rows->values + (slot * similarity->minibatch + similarity->filled) * width,
               rows->batch + (slot * similarity->rows + row) * width, width * sizeof *rows->values);
}

static slad_status end_minibatch(slad_similarity *similarity)
{
    slad_status status = SLAD_OK;
    const slad_feature_rows *teacher = &similarity->teacher, *student = &similarity->student;
    const size_t n = similarity->minibatch;
    for (size_t slot = 0; slot < teacher->slots; slot++)
        SLAD_TRY(slad_cka_add(similarity->context, &similarity->sums[slot], teacher->values + slot * n * teacher->width,
                              teacher->width, student->values + slot * n * student->width, student->width, n));
    similarity->filled = 0;
cleanup:
    return status;
}

slad_status slad_similarity_add(slad_similarity *similarity, slad_inference *teacher, slad_inference *student,
                                const slad_batch *batch)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(read_features(&similarity->teacher, teacher, similarity->rows));
    SLAD_TRY(read_features(&similarity->student, student, similarity->rows));
    for (size_t row = 0; row < batch->count; row++) {
        if (batch->task_weights[row] == 0.0f) continue;
        keep_row(similarity, &similarity->teacher, row);
        keep_row(similarity, &similarity->student, row);
        if (++similarity->filled == similarity->minibatch) SLAD_TRY(end_minibatch(similarity));
    }
cleanup:
    return status;
}

void slad_similarity_scores(const slad_similarity *similarity, slad_cka_scores *scores)
{
    scores->cls = slad_cka_value(&similarity->sums[CLS_SLOT]);
    scores->mean = slad_cka_value(&similarity->sums[MEAN_SLOT]);
    for (size_t i = 0; i < similarity->layers; i++)
        scores->layers[i] = slad_cka_value(&similarity->sums[FIRST_BLOCK + i]);
}

static void free_rows(slad_feature_rows *rows)
{
    slad_release(rows->values);
    slad_release(rows->batch);
    slad_release(rows->output);
}

void slad_similarity_free(slad_similarity *similarity)
{
    free_rows(&similarity->teacher);
    free_rows(&similarity->student);
    slad_release(similarity->sums);
    *similarity = (slad_similarity){0};
}
