/* Writing a trainer's files: state and optimizer. */
#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "train/trainer.h"
#include <stdio.h>
#include <string.h>

size_t slad_trained_file_shape(uint64_t shape[2], const slad_tensor *tensor)
{
    if (tensor->rank == 1) {
        shape[0] = tensor->size[0];
        return 1;
    }
    shape[0] = slad_tensor_rows(tensor);
    shape[1] = slad_tensor_columns(tensor);
    return 2;
}

/* The entries of a state file: names and shapes of all trained tensors under each prefix. */
typedef struct slad_entries {
    slad_safetensors_entry *entries;
    uint64_t (*shapes)[2];
    char (*names)[128];
} slad_entries;

static void entries_free(slad_entries *list)
{
    slad_release(list->entries);
    slad_release(list->shapes);
    slad_release(list->names);
}

static slad_status entries_make(slad_context *context, slad_entries *list, const slad_store *store,
                                const slad_state_kind *kinds, size_t kind_count)
{
    slad_status status = SLAD_OK;
    const size_t trained = slad_store_trained_count(store), count = trained * kind_count;
    *list = (slad_entries){0};
    SLAD_TRY(slad_allocate(context, &list->entries, count, sizeof *list->entries, "entries of a state file"));
    SLAD_TRY(slad_allocate(context, &list->shapes, count, sizeof *list->shapes, "entries of a state file"));
    SLAD_TRY(slad_allocate(context, &list->names, count, sizeof *list->names, "entries of a state file"));
    for (size_t i = 0; i < count; i++) {
        const slad_tensor *tensor = slad_store_trained_at(store, i % trained)->tensor;
        snprintf(list->names[i], sizeof list->names[i], "%s%s", kinds[i / trained].prefix, tensor->name);
        list->entries[i].name = list->names[i];
        list->entries[i].type = SLAD_SAFETENSORS_F32;
        list->entries[i].rank = slad_trained_file_shape(list->shapes[i], tensor);
        list->entries[i].shape = list->shapes[i];
    }
cleanup:
    return status;
}

/* Writes all trained tensors, once under each prefix. */
static slad_status write_state(slad_trainer *trainer, const char *folder, const char *name,
                               const slad_state_kind *kinds, size_t kind_count)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_entries list = {0};
    slad_safetensors_writer *writer = NULL;
    char *path = NULL, step[24];
    float *values = NULL;
    const size_t trained = slad_store_trained_count(trainer->store);
    snprintf(step, sizeof step, "%llu", (unsigned long long)trainer->step);
    const slad_safetensors_pair pair = {"step", step};
    SLAD_TRY(slad_path_join(context, &path, folder, name));
    SLAD_TRY(entries_make(context, &list, trainer->store, kinds, kind_count));
    SLAD_TRY(slad_safetensors_writer_begin(context, &writer, path, list.entries, trained * kind_count, &pair, 1));
    for (size_t position = 0; position < trained * kind_count; position++) {
        const size_t entry = slad_safetensors_writer_order(writer, position);
        const slad_tensor *tensor = slad_store_trained_at(trainer->store, entry % trained)->tensor;
        const size_t elements = slad_tensor_elements(tensor);
        SLAD_TRY(slad_allocate(context, &values, elements, sizeof *values, tensor->name));
        SLAD_TRY(slad_executor_read_slab(trainer->executor, tensor, kinds[entry / trained].kind, values));
        SLAD_TRY(slad_safetensors_writer_append(writer, entry, values, elements));
        slad_release(values);
        values = NULL;
    }
    slad_safetensors_writer *finished = writer;
    writer = NULL;
    SLAD_TRY(slad_safetensors_writer_finish(finished));
cleanup:
    slad_safetensors_writer_abandon(writer);
    slad_release(values);
    slad_release(path);
    entries_free(&list);
    return status;
}

const slad_state_kind slad_resume_kinds[SLAD_RESUME_KINDS] = {
    {SLAD_SLAB_TRAINED, "value."}, {SLAD_SLAB_MOMENT_1, "moment_1."}, {SLAD_SLAB_MOMENT_2, "moment_2."}};

slad_status slad_trainer_save(slad_trainer *trainer, const char *folder)
{
    static const slad_state_kind values[] = {{SLAD_SLAB_TRAINED, ""}};
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_directory_create(trainer->context, folder));
    SLAD_TRY(write_state(trainer, folder, "state.safetensors", values, 1));
    SLAD_TRY(write_state(trainer, folder, "optimizer.safetensors", slad_resume_kinds, SLAD_RESUME_KINDS));
cleanup:
    return status;
}
