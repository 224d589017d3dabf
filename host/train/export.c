/* The merged student, plain Hugging Face weights with the adapters added in; and the adapters by themselves. */
#include "train/export.h"
#include "base/files.h"
#include "base/memory.h"
#include "data/preprocess.h"
#include "io/peft.h"
#include "model/head.h"
#include <stdio.h>
#include <string.h>

enum { TENSOR_NAME = 128 };

/* What the writer of the student is given to fill its tensors. */
typedef struct slad_merge {
    const slad_export_source *source;
    slad_peft_pair *pairs; /* [count]; NULL: no adapters */
    size_t count;
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

/* The classifier that transformers expects of the encoder's type, [classes, features]: it reads CLS, and of all but vit
 * the mean of the patches; a head that reads CLS alone has zeros for the mean. */
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

/* A tensor of the encoder: as it was trained itself, or as it was before with the adapters added in. */
static slad_status fill_encoder(slad_context *context, float *destination, const char *name, const slad_merge *merge)
{
    slad_status status = SLAD_OK;
    const slad_export_source *source = merge->source;
    const slad_hf_model *files = source->student->files;
    slad_hf_slot slot;
    slad_peft_target target;
    const bool known = slad_hf_slot_named(&slot, slad_hf_config_of(files), name);
    if (known && source->options->student_adapt == SLAD_ADAPT_ALL) {
        char trained[TENSOR_NAME];
        (void)snprintf(trained, sizeof trained, "student.model.%s", name);
        return source->read(context, destination, trained, slot.rank, slot.shape, source->user);
    }
    SLAD_TRY(slad_hf_read(context, destination, files, name));
    if (known && slad_peft_target_of(&target, slot.role))
        slad_peft_merge(destination, (size_t)slot.shape[0], slot.layer, target, merge->pairs, merge->count);
cleanup:
    return status;
}

static slad_status fill(slad_context *context, float *destination, const char *name, uint64_t elements, void *user)
{
    const slad_merge *merge = user;
    const slad_export_source *source = merge->source;
    slad_status status = SLAD_OK;
    (void)elements;
    SLAD_FAIL_IF(source->interruptible && slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted");
    if (strcmp(name, "classifier.weight") == 0)
        status = read_classifier(context, destination, source, "student.", source->student);
    else if (strcmp(name, "classifier.bias") == 0)
        status = read_bias(context, destination, source, "student.");
    else
        status = fill_encoder(context, destination, name, merge);
cleanup:
    return status;
}

static slad_status start_merge(slad_context *context, slad_merge *merge, const slad_export_source *source)
{
    *merge = (slad_merge){.source = source};
    if (source->options->student_adapt != SLAD_ADAPT_LORA) return SLAD_OK;
    return slad_export_read_pairs(context, &merge->pairs, &merge->count, source, false);
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
    slad_merge merge = {0};
    const slad_hf_student student = {.source = source->student->files,
                                     .class_names = class_names,
                                     .class_count = (uint32_t)source->classes,
                                     .position_mode = source->options->position_mode,
                                     .grid = source->image_size / slad_encoder_get_info(source->student)->patch,
                                     .user = &merge,
                                     .fill = fill};
    SLAD_TRY(start_merge(context, &merge, source));
    SLAD_TRY(slad_hf_write_student(context, folder, &student));
    SLAD_TRY(write_preprocess(context, folder, source));
cleanup:
    slad_export_free_pairs(merge.pairs, merge.count);
    return status;
}

static slad_status write_onnx(slad_context *context, const char *folder, const slad_export_source *source,
                              const char *const *class_names)
{
    slad_status status = SLAD_OK;
    slad_merge merge = {0};
    const slad_export_onnx model = {.encoder = source->student,
                                    .image_size = source->image_size,
                                    .classes = source->classes,
                                    .mode = source->options->position_mode,
                                    .class_names = class_names,
                                    .fill = fill,
                                    .user = &merge};
    SLAD_TRY(start_merge(context, &merge, source));
    SLAD_TRY(slad_export_onnx_write(context, folder, &model));
cleanup:
    slad_export_free_pairs(merge.pairs, merge.count);
    return status;
}

static slad_status write_adapter(slad_context *context, const char *folder, const slad_export_source *source,
                                 bool teacher, const char *const *class_names)
{
    slad_status status = SLAD_OK;
    const slad_encoder *encoder = teacher ? source->teacher : source->student;
    const slad_hf_config *config = slad_hf_config_of(encoder->files);
    const char *prefix = teacher ? "teacher." : "student.";
    const size_t features = encoder->info.classifier_features;
    slad_peft_pair *pairs = NULL;
    size_t count = 0;
    float *weight = NULL, *bias = NULL;
    char *base = NULL;
    SLAD_TRY(slad_export_read_pairs(context, &pairs, &count, source, teacher));
    SLAD_TRY(slad_allocate(context, &weight, source->classes * features, sizeof *weight, "the classifier"));
    SLAD_TRY(slad_allocate(context, &bias, source->classes, sizeof *bias, "the classifier"));
    SLAD_TRY(read_classifier(context, weight, source, prefix, encoder));
    SLAD_TRY(read_bias(context, bias, source, prefix));
    SLAD_TRY(slad_path_absolute(context, &base, slad_encoder_path(encoder)));
    const slad_peft_adapter adapter = {
        .base = base,
        .type = config->type,
        .gated = config->gated,
        .layers = config->layers,
        .pairs = pairs,
        .count = count,
        .dropout = source->options->lora_dropout,
        .classes = source->classes,
        .features = features,
        .classifier_weight = weight,
        .classifier_bias = bias,
        .class_names = class_names,
    };
    SLAD_TRY(slad_peft_write(context, folder, &adapter));
    SLAD_TRY(write_preprocess(context, folder, source));
cleanup:
    slad_release(base);
    slad_release(bias);
    slad_release(weight);
    slad_export_free_pairs(pairs, count);
    return status;
}

slad_status slad_export_write(slad_context *context, const char *folder, slad_export_part part,
                              const slad_export_source *source, const char *const *class_names)
{
    if (part == SLAD_EXPORT_STUDENT) return write_student(context, folder, source, class_names);
    if (part == SLAD_EXPORT_ONNX) return write_onnx(context, folder, source, class_names);
    return write_adapter(context, folder, source, part == SLAD_EXPORT_TEACHER_ADAPTER, class_names);
}
