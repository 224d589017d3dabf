#include "train/trained_files.h"
#include "base/memory.h"
#include <stdio.h>
#include <string.h>

size_t slad_trained_parts(const slad_tensor *tensor)
{
    const char *brace = strchr(tensor->name, '{');
    size_t parts = 1;
    for (; brace && *brace != '}'; brace++) parts += *brace == ',';
    return parts;
}

void slad_trained_part_name(char *text, const char *prefix, const slad_tensor *tensor, size_t part)
{
    const char *open = strchr(tensor->name, '{');
    if (!open) {
        (void)snprintf(text, SLAD_TRAINED_NAME, "%s%s", prefix, tensor->name);
        return;
    }
    const char *name = open + 1;
    for (size_t i = 0; i < part; i++) name += strcspn(name, ",}") + 1;
    (void)snprintf(text, SLAD_TRAINED_NAME, "%s%.*s%.*s%s", prefix, (int)(open - tensor->name), tensor->name,
                   (int)strcspn(name, ",}"), name, strchr(open, '}') + 1);
}

/* The slot of an encoder's own weight: what follows "teacher.model." in the name of its first part. */
static bool find_slot(slad_hf_slot *slot, const slad_trainer *trainer, const slad_tensor *tensor)
{
    static const char *const prefixes[2] = {"teacher.model.", "student.model."};
    const slad_encoder *const encoders[2] = {trainer->teacher_encoder, trainer->student_encoder};
    char name[SLAD_TRAINED_NAME];
    slad_trained_part_name(name, "", tensor, 0);
    for (int i = 0; i < 2; i++) {
        const size_t length = strlen(prefixes[i]);
        if (encoders[i] && strncmp(name, prefixes[i], length) == 0)
            return slad_hf_slot_named(slot, slad_hf_config_of(encoders[i]->files), name + length);
    }
    return false;
}

size_t slad_trained_part_shape(uint64_t shape[SLAD_HF_MAX_RANK], const slad_trainer *trainer, const slad_tensor *tensor)
{
    slad_hf_slot slot;
    if (find_slot(&slot, trainer, tensor)) {
        memcpy(shape, slot.shape, slot.rank * sizeof *shape);
        return slot.rank;
    }
    const size_t parts = slad_trained_parts(tensor);
    if (tensor->rank == 1) {
        shape[0] = tensor->size[0] / parts;
        return 1;
    }
    shape[0] = slad_tensor_rows(tensor) / parts;
    shape[1] = slad_tensor_columns(tensor);
    return 2;
}

const slad_tensor *slad_trained_find_part(size_t *part, const slad_store *store, const char *name)
{
    char own[SLAD_TRAINED_NAME];
    for (size_t i = 0; i < slad_store_trained_count(store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(store, i)->tensor;
        for (*part = 0; *part < slad_trained_parts(tensor); ++*part) {
            slad_trained_part_name(own, "", tensor, *part);
            if (strcmp(own, name) == 0) return tensor;
        }
    }
    return NULL;
}

slad_status slad_trained_read_part(slad_context *context, float *values, slad_executor *executor,
                                   const slad_tensor *tensor, size_t part, slad_slab_kind kind)
{
    slad_status status = SLAD_OK;
    const size_t parts = slad_trained_parts(tensor), elements = slad_tensor_elements(tensor);
    float *whole = NULL;
    if (parts == 1) return slad_executor_read_slab(executor, tensor, kind, values);
    SLAD_TRY(slad_allocate(context, &whole, elements, sizeof *whole, tensor->name));
    SLAD_TRY(slad_executor_read_slab(executor, tensor, kind, whole));
    memcpy(values, whole + part * (elements / parts), elements / parts * sizeof *values);
cleanup:
    slad_release(whole);
    return status;
}

slad_status slad_trained_write_part(slad_context *context, slad_executor *executor, const slad_tensor *tensor,
                                    size_t part, slad_slab_kind kind, const float *values)
{
    slad_status status = SLAD_OK;
    const size_t parts = slad_trained_parts(tensor), elements = slad_tensor_elements(tensor);
    float *whole = NULL;
    if (parts == 1) return slad_executor_write_slab(executor, tensor, kind, values);
    SLAD_TRY(slad_allocate(context, &whole, elements, sizeof *whole, tensor->name));
    SLAD_TRY(slad_executor_read_slab(executor, tensor, kind, whole));
    memcpy(whole + part * (elements / parts), values, elements / parts * sizeof *values);
    SLAD_TRY(slad_executor_write_slab(executor, tensor, kind, whole));
cleanup:
    slad_release(whole);
    return status;
}
