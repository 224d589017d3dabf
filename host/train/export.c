/* The merged student, plain Hugging Face weights with the adapters added in; and the adapters by themselves. */
#include "train/export.h"
#include "base/files.h"
#include "base/memory.h"
#include "data/preprocess.h"
#include "io/peft.h"
#include "model/adapters.h"
#include "model/head.h"
#include <stdio.h>
#include <string.h>

enum { QKV = 3, TENSOR_NAME = 128 };

/* The adapters of one model, a shared one's part for the student copied out of it. */
typedef struct slad_adapter_values {
    size_t layers, width, rank;
    float **lora_a, **lora_b; /* [layers] of [rank, width] and [3 width, rank]; NULL: no adapters */
} slad_adapter_values;

/* What the writer of the student is given to fill its tensors. */
typedef struct slad_merge {
    const slad_export_source *source;
    slad_adapter_values adapters;
} slad_merge;

const char *slad_export_part_name(unsigned index)
{
    static const char *const names[SLAD_EXPORT_PARTS] = {"student", "student-adapter", "teacher-adapter", "onnx"};
    return index < SLAD_EXPORT_PARTS ? names[index] : NULL;
}

unsigned slad_export_parts_of(const slad_train_options *options)
{
    return SLAD_EXPORT_STUDENT | (options->student_adapt == SLAD_ADAPT_LORA ? SLAD_EXPORT_STUDENT_ADAPTER : 0u) |
           (options->teacher_adapt == SLAD_ADAPT_LORA ? SLAD_EXPORT_TEACHER_ADAPTER : 0u);
}

bool slad_export_needs_teacher(const slad_train_options *options, unsigned parts)
{
    return (parts & SLAD_EXPORT_TEACHER_ADAPTER) != 0 || options->share != SLAD_SHARE_NONE;
}

/* The leading columns of A, and the leading rows of each of the blocks q, k, v of B, of a layer of its owner. */
static slad_status read_layer(slad_context *context, slad_adapter_values *adapters, size_t layer,
                              const slad_export_source *source, const char *prefix, size_t owner_width,
                              size_t owner_layer)
{
    slad_status status = SLAD_OK;
    const size_t rank = adapters->rank, width = adapters->width;
    const uint64_t a_shape[2] = {rank, owner_width}, b_shape[2] = {QKV * owner_width, rank};
    float *whole = NULL, *a, *b;
    char name[TENSOR_NAME];
    SLAD_TRY(slad_allocate(context, &whole, QKV * owner_width * rank, sizeof *whole, "an adapter"));
    SLAD_TRY(slad_allocate(context, &adapters->lora_a[layer], rank * width, sizeof *a, "an adapter"));
    SLAD_TRY(slad_allocate(context, &adapters->lora_b[layer], QKV * width * rank, sizeof *b, "an adapter"));
    a = adapters->lora_a[layer];
    b = adapters->lora_b[layer];
    (void)snprintf(name, sizeof name, "%slayers.%zu.qkv.lora_A", prefix, owner_layer);
    SLAD_TRY(source->read(context, whole, name, 2, a_shape, source->user));
    for (size_t row = 0; row < rank; row++) memcpy(a + row * width, whole + row * owner_width, width * sizeof *a);
    (void)snprintf(name, sizeof name, "%slayers.%zu.qkv.lora_B", prefix, owner_layer);
    SLAD_TRY(source->read(context, whole, name, 2, b_shape, source->user));
    for (size_t block = 0; block < QKV; block++)
        memcpy(b + block * width * rank, whole + block * owner_width * rank, width * rank * sizeof *b);
cleanup:
    slad_release(whole);
    return status;
}

/* The adapters of the teacher, or of the student, whose own may be a part of the teacher's. */
static slad_status read_adapters(slad_context *context, slad_adapter_values *adapters, const slad_export_source *source,
                                 bool teacher)
{
    slad_status status = SLAD_OK;
    const slad_train_options *options = source->options;
    const bool shared = !teacher && options->share != SLAD_SHARE_NONE;
    const slad_encoder_info *own = slad_encoder_get_info(teacher ? source->teacher : source->student);
    const slad_encoder_info *owner = shared ? slad_encoder_get_info(source->teacher) : own;
    *adapters = (slad_adapter_values){.layers = own->layers, .width = own->width, .rank = options->lora_rank};
    SLAD_FAIL_IF(own->width > owner->width || own->layers > owner->layers, SLAD_ERROR_DATA,
                 "%s (width %zu, %zu layers) is larger than %s (width %zu, %zu layers), so it cannot have shared its "
                 "adapters; put back the models that the run was made from",
                 slad_encoder_path(source->student), own->width, own->layers, slad_encoder_path(source->teacher),
                 owner->width, owner->layers);
    SLAD_TRY(slad_allocate(context, &adapters->lora_a, own->layers, sizeof *adapters->lora_a, "adapters"));
    SLAD_TRY(slad_allocate(context, &adapters->lora_b, own->layers, sizeof *adapters->lora_b, "adapters"));
    for (size_t i = 0; i < own->layers; i++) {
        const size_t from = shared ? slad_share_map_layer(options->share_map, i, owner->layers, own->layers) : i;
        SLAD_TRY(
            read_layer(context, adapters, i, source, teacher || shared ? "teacher." : "student.", owner->width, from));
    }
cleanup:
    return status;
}

static void free_adapters(slad_adapter_values *adapters)
{
    for (size_t i = 0; i < adapters->layers; i++) {
        if (adapters->lora_a) slad_release(adapters->lora_a[i]);
        if (adapters->lora_b) slad_release(adapters->lora_b[i]);
    }
    slad_release((void *)adapters->lora_a);
    slad_release((void *)adapters->lora_b);
}

/* W += scale * B A of one block (0 q, 1 k, 2 v) of a layer. */
static void merge_block(float *weight, const slad_adapter_values *adapters, double scale, size_t layer, size_t block)
{
    const size_t rank = adapters->rank, d = adapters->width;
    const float *a = adapters->lora_a[layer], *b = adapters->lora_b[layer] + block * d * rank;
    for (size_t out = 0; out < d; out++)
        for (size_t in = 0; in < d; in++) {
            double sum = 0;
            for (size_t r = 0; r < rank; r++) sum += (double)b[out * rank + r] * (double)a[r * d + in];
            weight[out * d + in] = (float)((double)weight[out * d + in] + scale * sum);
        }
}

/* The classifier that transformers expects reads CLS and the mean of the patches; a head that reads CLS alone has zeros
 * for the mean. destination: [classes, features of the encoder's type]; vit's are those of CLS, as are its head's. */
static slad_status read_classifier(slad_context *context, float *destination, const slad_export_source *source,
                                   const char *prefix, const slad_encoder *encoder)
{
    slad_status status = SLAD_OK;
    float *own = NULL;
    char name[TENSOR_NAME];
    const size_t rows = source->classes, columns = slad_head_features(source->options->head, encoder->info.width);
    const size_t features = encoder->info.classifier_features;
    const uint64_t shape[2] = {rows, columns};
    SLAD_TRY(slad_head_check(context, source->options->head, encoder));
    (void)snprintf(name, sizeof name, "%shead.weight", prefix);
    SLAD_TRY(slad_allocate(context, &own, rows * columns, sizeof *own, "the classifier"));
    SLAD_TRY(source->read(context, own, name, 2, shape, source->user));
    memset(destination, 0, rows * features * sizeof *destination);
    for (size_t row = 0; row < rows; row++)
        memcpy(destination + row * features, own + row * columns, columns * sizeof *own);
cleanup:
    slad_release(own);
    return status;
}

static slad_status read_bias(slad_context *context, float *destination, const slad_export_source *source,
                             const char *prefix)
{
    char name[TENSOR_NAME];
    const uint64_t shape[1] = {source->classes};
    (void)snprintf(name, sizeof name, "%shead.bias", prefix);
    return source->read(context, destination, name, 1, shape, source->user);
}

static slad_status fill(slad_context *context, float *destination, const char *name, uint64_t elements, void *user)
{
    static const char *const blocks[QKV] = {"query.weight", "key.weight", "value.weight"};
    const slad_merge *merge = user;
    const slad_export_source *source = merge->source;
    const slad_train_options *options = source->options;
    slad_status status = SLAD_OK;
    size_t layer = 0;
    int used = 0;
    (void)elements;
    SLAD_FAIL_IF(source->interruptible && slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted");
    if (strcmp(name, "classifier.weight") == 0)
        return read_classifier(context, destination, source, "student.", source->student);
    if (strcmp(name, "classifier.bias") == 0) return read_bias(context, destination, source, "student.");
    SLAD_TRY(slad_hf_read(context, destination, source->student->files, name));
    if (!merge->adapters.lora_a || sscanf(name, "encoder.layer.%zu.attention.attention.%n", &layer, &used) != 1 ||
        used == 0)
        return status;
    for (size_t block = 0; block < QKV; block++)
        if (strcmp(name + used, blocks[block]) == 0)
            merge_block(destination, &merge->adapters, options->lora_alpha / options->lora_rank, layer, block);
cleanup:
    return status;
}

static slad_status write_preprocess(slad_context *context, const char *folder, const slad_export_source *source)
{
    slad_status status = SLAD_OK;
    slad_preprocess preprocess;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, folder, "preprocessor_config.json"));
    SLAD_TRY(slad_preprocess_read(context, &preprocess, slad_encoder_path(source->student)));
    slad_preprocess_set_size(&preprocess, source->image_size);
    SLAD_TRY(slad_preprocess_write(context, &preprocess, path));
cleanup:
    slad_release(path);
    return status;
}

static slad_status write_student(slad_context *context, const char *folder, const slad_export_source *source,
                                 const char *const *class_names)
{
    slad_status status = SLAD_OK;
    slad_merge merge = {.source = source};
    const slad_hf_student student = {.source = source->student->files,
                                     .class_names = class_names,
                                     .class_count = (uint32_t)source->classes,
                                     .position_mode = source->options->position_mode,
                                     .user = &merge,
                                     .fill = fill};
    if (slad_export_parts_of(source->options) & SLAD_EXPORT_STUDENT_ADAPTER)
        SLAD_TRY(read_adapters(context, &merge.adapters, source, false));
    SLAD_TRY(slad_hf_write_student(context, folder, &student));
    SLAD_TRY(write_preprocess(context, folder, source));
cleanup:
    free_adapters(&merge.adapters);
    return status;
}

static slad_status write_onnx(slad_context *context, const char *folder, const slad_export_source *source,
                              const char *const *class_names)
{
    slad_status status = SLAD_OK;
    slad_merge merge = {.source = source};
    const slad_export_onnx model = {.encoder = source->student,
                                    .image_size = source->image_size,
                                    .classes = source->classes,
                                    .mode = source->options->position_mode,
                                    .class_names = class_names,
                                    .fill = fill,
                                    .user = &merge};
    if (slad_export_parts_of(source->options) & SLAD_EXPORT_STUDENT_ADAPTER)
        SLAD_TRY(read_adapters(context, &merge.adapters, source, false));
    SLAD_TRY(slad_export_onnx_write(context, folder, &model));
cleanup:
    free_adapters(&merge.adapters);
    return status;
}

static slad_status write_adapter(slad_context *context, const char *folder, const slad_export_source *source,
                                 bool teacher)
{
    slad_status status = SLAD_OK;
    const slad_encoder *encoder = teacher ? source->teacher : source->student;
    const char *prefix = teacher ? "teacher." : "student.";
    const size_t width = slad_encoder_get_info(encoder)->width;
    slad_adapter_values adapters = {0};
    float *weight = NULL, *bias = NULL;
    char *base = NULL;
    SLAD_TRY(read_adapters(context, &adapters, source, teacher));
    SLAD_TRY(slad_allocate(context, &weight, source->classes * encoder->info.classifier_features, sizeof *weight,
                           "the classifier"));
    SLAD_TRY(slad_allocate(context, &bias, source->classes, sizeof *bias, "the classifier"));
    SLAD_TRY(read_classifier(context, weight, source, prefix, encoder));
    SLAD_TRY(read_bias(context, bias, source, prefix));
    SLAD_TRY(slad_path_absolute(context, &base, slad_encoder_path(encoder)));
    const slad_peft_adapter adapter = {
        .base = base,
        .width = width,
        .layers = adapters.layers,
        .rank = adapters.rank,
        .classes = source->classes,
        .alpha = source->options->lora_alpha,
        .lora_a = (const float *const *)adapters.lora_a,
        .lora_b = (const float *const *)adapters.lora_b,
        .classifier_weight = weight,
        .classifier_bias = bias,
        .type = slad_hf_config_of(encoder->files)->type,
    };
    SLAD_TRY(slad_peft_write(context, folder, &adapter));
cleanup:
    slad_release(base);
    slad_release(bias);
    slad_release(weight);
    free_adapters(&adapters);
    return status;
}

slad_status slad_export_write(slad_context *context, const char *folder, slad_export_part part,
                              const slad_export_source *source, const char *const *class_names)
{
    if (part == SLAD_EXPORT_STUDENT) return write_student(context, folder, source, class_names);
    if (part == SLAD_EXPORT_ONNX) return write_onnx(context, folder, source, class_names);
    return write_adapter(context, folder, source, part == SLAD_EXPORT_TEACHER_ADAPTER);
}
