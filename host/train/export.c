/* The merged student: plain Hugging Face weights with the adapters added in. */
#include "base/files.h"
#include "base/memory.h"
#include "data/preprocess.h"
#include "train/trainer.h"
#include <stdio.h>
#include <string.h>

typedef struct slad_export {
    slad_trainer *trainer;
    float **lora_a,
        **lora_b; /* [layers], the student's own part: [rank, d] and [3, d, rank]; NULL lists: no adapters */
} slad_export;

/* Copies a view out of the tensor of the store that it is a part of. */
static slad_status gather(slad_trainer *trainer, float **values, const slad_tensor *view)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    float *whole = NULL;
    const slad_tensor *base = slad_store_trained_find(trainer->store, view->name)->tensor;
    SLAD_TRY(slad_allocate(context, &whole, slad_tensor_elements(base), sizeof *whole, view->name));
    SLAD_TRY(slad_allocate(context, values, slad_tensor_elements(view), sizeof **values, view->name));
    SLAD_TRY(slad_executor_read(trainer->executor, NULL, base, whole));
    const float *first = whole + (view->offset - base->offset);
    const size_t rows = slad_tensor_rows(view), columns = slad_tensor_columns(view);
    const size_t inner = view->rank == 3 ? view->size[1] : rows;
    const size_t block_stride = view->rank == 3 ? view->stride[0] : 0;
    const size_t row_stride = view->stride[view->rank - 2];
    for (size_t row = 0; row < rows; row++)
        memcpy(*values + row * columns, first + row / inner * block_stride + row % inner * row_stride,
               columns * sizeof **values);
cleanup:
    slad_release(whole);
    return status;
}

static slad_status export_start(slad_export *export, slad_trainer *trainer)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const size_t layers = slad_encoder_get_info(trainer->student_encoder)->layers;
    *export = (slad_export){.trainer = trainer};
    if (!trainer->student.adapters) return SLAD_OK;
    SLAD_TRY(slad_allocate(context, &export->lora_a, layers, sizeof *export->lora_a, "adapters to be merged"));
    SLAD_TRY(slad_allocate(context, &export->lora_b, layers, sizeof *export->lora_b, "adapters to be merged"));
    for (size_t i = 0; i < layers; i++) {
        SLAD_TRY(gather(trainer, &export->lora_a[i], trainer->student.adapters[i].lora_a));
        SLAD_TRY(gather(trainer, &export->lora_b[i], trainer->student.adapters[i].lora_b));
    }
cleanup:
    return status;
}

static void export_free(slad_export *export)
{
    const size_t layers = slad_encoder_get_info(export->trainer->student_encoder)->layers;
    for (size_t i = 0; i < layers; i++) {
        if (export->lora_a) slad_release(export->lora_a[i]);
        if (export->lora_b) slad_release(export->lora_b[i]);
    }
    slad_release(export->lora_a);
    slad_release(export->lora_b);
}

/* W += scale * B A of one block (0 q, 1 k, 2 v) of a layer. */
static void merge_block(const slad_export *export, float *weight, size_t layer, size_t block)
{
    const slad_adapter *adapter = &export->trainer->student.adapters[layer];
    const size_t rank = adapter->lora_a->size[0], d = adapter->lora_a->size[1];
    const float *a = export->lora_a[layer], *b = export->lora_b[layer] + block * d * rank;
    for (size_t out = 0; out < d; out++)
        for (size_t in = 0; in < d; in++) {
            double sum = 0;
            for (size_t r = 0; r < rank; r++) sum += (double)b[out * rank + r] * (double)a[r * d + in];
            weight[out * d + in] = (float)((double)weight[out * d + in] + adapter->scale * sum);
        }
}

/* The classifier that transformers expects reads CLS and the mean of the patches; a head that reads CLS alone has zeros
 * for the mean. */
static slad_status fill_classifier(slad_export *export, float *destination, uint64_t elements, const slad_tensor *head)
{
    slad_context *context = export->trainer->context;
    slad_status status = SLAD_OK;
    float *own = NULL;
    const size_t rows = head->size[0], columns = slad_tensor_elements(head) / rows;
    const size_t width = (size_t)elements / rows;
    SLAD_TRY(slad_allocate(context, &own, rows * columns, sizeof *own, "the classifier"));
    SLAD_TRY(slad_executor_read(export->trainer->executor, NULL, head, own));
    memset(destination, 0, (size_t)elements * sizeof *destination);
    for (size_t row = 0; row < rows; row++)
        memcpy(destination + row * width, own + row * columns, columns * sizeof *own);
cleanup:
    slad_release(own);
    return status;
}

static slad_status fill(slad_context *context, float *destination, const char *name, uint64_t elements, void *user)
{
    static const char *const blocks[3] = {"query.weight", "key.weight", "value.weight"};
    slad_export *export = user;
    const slad_trainer *trainer = export->trainer;
    slad_status status = SLAD_OK;
    size_t layer = 0;
    int used = 0;
    if (strcmp(name, "classifier.weight") == 0)
        return fill_classifier(export, destination, elements, trainer->student.head.weight);
    if (strcmp(name, "classifier.bias") == 0)
        return slad_executor_read(trainer->executor, NULL, trainer->student.head.bias, destination);
    SLAD_TRY(slad_hf_read(context, destination, trainer->student_encoder->files, name));
    if (!export->lora_a || sscanf(name, "encoder.layer.%zu.attention.attention.%n", &layer, &used) != 1 || used == 0)
        return status;
    for (size_t block = 0; block < 3; block++)
        if (strcmp(name + used, blocks[block]) == 0) merge_block(export, destination, layer, block);
cleanup:
    return status;
}

static slad_status write_preprocess(slad_trainer *trainer, const char *folder)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_preprocess preprocess;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, folder, "preprocessor_config.json"));
    SLAD_TRY(slad_preprocess_read(context, &preprocess, slad_encoder_path(trainer->student_encoder)));
    slad_preprocess_set_size(&preprocess, trainer->image_size);
    SLAD_TRY(slad_preprocess_write(context, &preprocess, path));
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_trainer_export_student(slad_trainer *trainer, const char *folder, const char *const *class_names)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_export export = {.trainer = trainer};
    SLAD_TRY(export_start(&export, trainer));
    const slad_hf_student student = {trainer->student_encoder->files, class_names, (uint32_t)trainer->classes, &export,
                                     fill};
    SLAD_TRY(slad_hf_write_student(context, folder, &student));
    SLAD_TRY(write_preprocess(trainer, folder));
cleanup:
    export_free(&export);
    return status;
}
