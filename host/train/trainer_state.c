/* Writing a trainer's files: state and optimizer. */
#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "train/trained_files.h"
#include "train/trainer.h"
#include <stdio.h>
#include <string.h>

/* One tensor of a file: a part of a trained tensor, or what the stage before trained. */
typedef struct slad_saved {
    const slad_tensor *tensor; /* NULL: kept */
    size_t part;
    slad_slab_kind kind;
    const slad_safetensor *kept;
    char name[SLAD_TRAINED_NAME];
    uint64_t shape[SLAD_HF_MAX_RANK];
} slad_saved;

typedef struct slad_saving {
    slad_trainer *trainer;
    slad_saved *items;
    slad_safetensors_entry *entries;
    size_t count;
} slad_saving;

size_t slad_resume_kinds(slad_state_kind kinds[SLAD_RESUME_KINDS], const slad_trainer *trainer)
{
    kinds[0] = (slad_state_kind){SLAD_SLAB_TRAINED, "value."};
    kinds[1] = (slad_state_kind){SLAD_SLAB_MOMENT_1, "moment_1."};
    kinds[2] = (slad_state_kind){SLAD_SLAB_MOMENT_2, "moment_2."};
    kinds[3] = (slad_state_kind){SLAD_SLAB_AVERAGE, "average."};
    return trainer->options.ema > 0 ? 4 : 3;
}

static void add_trained(slad_saving *saving, const slad_tensor *tensor, const slad_state_kind *kind)
{
    for (size_t part = 0; part < slad_trained_parts(tensor); part++) {
        slad_saved *saved = &saving->items[saving->count];
        *saved = (slad_saved){.tensor = tensor, .part = part, .kind = kind->kind};
        slad_trained_part_name(saved->name, kind->prefix, tensor, part);
        saving->entries[saving->count++] = (slad_safetensors_entry){
            .name = saved->name,
            .type = SLAD_SAFETENSORS_F32,
            .rank = slad_trained_part_shape(saved->shape, saving->trainer, tensor),
            .shape = saved->shape,
        };
    }
}

static void add_kept(slad_saving *saving, const slad_safetensor *kept)
{
    slad_saved *saved = &saving->items[saving->count];
    *saved = (slad_saved){.kept = kept};
    saving->entries[saving->count++] = (slad_safetensors_entry){
        .name = kept->name, .type = SLAD_SAFETENSORS_F32, .rank = kept->rank, .shape = kept->shape};
}

/* Lists the tensors of a file: all that is trained, once under each prefix, and with `kept` what the frozen teacher
 * learnt in a stage before; the file of it may hold a student as well. */
static slad_status list_tensors(slad_saving *saving, const slad_state_kind *kinds, size_t kind_count,
                                const slad_safetensors *kept)
{
    slad_context *context = saving->trainer->context;
    const slad_store *store = saving->trainer->store;
    slad_status status = SLAD_OK;
    size_t most = kept ? slad_safetensors_count(kept) : 0;
    for (size_t i = 0; i < slad_store_trained_count(store); i++)
        most += kind_count * slad_trained_parts(slad_store_trained_at(store, i)->tensor);
    SLAD_TRY(slad_allocate(context, &saving->items, most, sizeof *saving->items, "entries of a state file"));
    SLAD_TRY(slad_allocate(context, &saving->entries, most, sizeof *saving->entries, "entries of a state file"));
    for (size_t kind = 0; kind < kind_count; kind++)
        for (size_t i = 0; i < slad_store_trained_count(store); i++)
            add_trained(saving, slad_store_trained_at(store, i)->tensor, &kinds[kind]);
    for (size_t i = 0; kept && i < slad_safetensors_count(kept); i++)
        if (strncmp(slad_safetensors_at(kept, i)->name, "teacher.", 8) == 0)
            add_kept(saving, slad_safetensors_at(kept, i));
cleanup:
    return status;
}

static slad_status write_tensor(slad_saving *saving, slad_safetensors_writer *writer, size_t entry,
                                const slad_safetensors *kept)
{
    slad_context *context = saving->trainer->context;
    slad_status status = SLAD_OK;
    const slad_saved *saved = &saving->items[entry];
    float *values = NULL;
    const size_t elements = saved->kept ? (size_t)saved->kept->elements
                                        : slad_tensor_elements(saved->tensor) / slad_trained_parts(saved->tensor);
    SLAD_TRY(slad_allocate(context, &values, elements, sizeof *values, "a tensor of a state file"));
    if (saved->kept)
        SLAD_TRY(slad_safetensors_read_float(context, values, kept, saved->kept, 0, elements));
    else
        SLAD_TRY(slad_trained_read_part(context, values, saving->trainer->executor, saved->tensor, saved->part,
                                        saved->kind));
    SLAD_TRY(slad_safetensors_writer_append(writer, entry, values, elements));
cleanup:
    slad_release(values);
    return status;
}

static slad_status write_state(slad_trainer *trainer, const char *folder, const char *name,
                               const slad_state_kind *kinds, size_t kind_count, const slad_safetensors *kept)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_saving saving = {.trainer = trainer};
    slad_safetensors_writer *writer = NULL;
    char *path = NULL, step[24], stage[12];
    (void)snprintf(step, sizeof step, "%llu", (unsigned long long)trainer->step);
    (void)snprintf(stage, sizeof stage, "%u", trainer->stage);
    const slad_safetensors_pair pairs[] = {{"step", step}, {"stage", stage}};
    SLAD_FAIL_IF(trainer->torn, SLAD_ERROR_INTERNAL,
                 "Step %llu failed amid its update, so that some values may have moved and others not: they are not "
                 "saved; go on from the last checkpoint",
                 (unsigned long long)trainer->step);
    SLAD_TRY(slad_path_join(context, &path, folder, name));
    SLAD_TRY(list_tensors(&saving, kinds, kind_count, kept));
    SLAD_TRY(slad_safetensors_writer_begin(context, &writer, path, saving.entries, saving.count, pairs, 2));
    for (size_t position = 0; position < saving.count; position++)
        SLAD_TRY(write_tensor(&saving, writer, slad_safetensors_writer_order(writer, position), kept));
    slad_safetensors_writer *finished = writer;
    writer = NULL;
    SLAD_TRY(slad_safetensors_writer_finish(finished));
cleanup:
    slad_safetensors_writer_abandon(writer);
    slad_release(path);
    slad_release(saving.items);
    slad_release(saving.entries);
    return status;
}

slad_status slad_trainer_save_values(slad_trainer *trainer, const char *folder, const char *name, bool with_kept)
{
    /* Before the first update there is no average yet. */
    const bool averages = trainer->options.ema > 0 && trainer->step > 0 && !trainer->exchanged;
    const slad_state_kind values = {averages ? SLAD_SLAB_AVERAGE : SLAD_SLAB_TRAINED, ""};
    return write_state(trainer, folder, name, &values, 1, with_kept ? trainer->kept : NULL);
}

slad_status slad_trainer_save_optimizer(slad_trainer *trainer, const char *folder)
{
    slad_state_kind kinds[SLAD_RESUME_KINDS];
    const size_t kind_count = slad_resume_kinds(kinds, trainer);
    return write_state(trainer, folder, "optimizer.safetensors", kinds, kind_count, NULL);
}

slad_status slad_trainer_save(slad_trainer *trainer, const char *folder)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_directory_create(trainer->context, folder));
    SLAD_TRY(slad_trainer_save_values(trainer, folder, "state.safetensors", true));
    SLAD_TRY(slad_trainer_save_optimizer(trainer, folder));
cleanup:
    return status;
}
