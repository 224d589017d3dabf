/* Reading a trainer's files: initial values, and all that a resumed run goes on from. */
#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "train/trained_files.h"
#include "train/trainer.h"
#include <stdlib.h>
#include <string.h>

static slad_status check_shape(const slad_trainer *trainer, const slad_safetensors *file, const slad_safetensor *stored,
                               const slad_tensor *tensor)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    uint64_t shape[SLAD_HF_MAX_RANK] = {0};
    char wanted[96], found[96];
    const size_t rank = slad_trained_part_shape(shape, trainer, tensor);
    const bool same = rank == stored->rank && memcmp(shape, stored->shape, rank * sizeof *shape) == 0;
    slad_safetensors_shape_text(wanted, sizeof wanted, shape, rank);
    slad_safetensors_shape_text(found, sizeof found, stored->shape, stored->rank);
    SLAD_FAIL_IF(!same, SLAD_ERROR_DATA, "%s holds %s with shape %s, but these models and options need %s",
                 slad_safetensors_path(file), stored->name, found, wanted);
cleanup:
    return status;
}

/* Reads a tensor of the file into a part of a trained tensor, in one of its slabs. */
static slad_status load_tensor(slad_trainer *trainer, const slad_safetensors *file, const slad_safetensor *stored,
                               const slad_tensor *tensor, size_t part, slad_slab_kind kind)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    float *values = NULL;
    SLAD_TRY(check_shape(trainer, file, stored, tensor));
    SLAD_TRY(slad_allocate(context, &values, (size_t)stored->elements, sizeof *values, stored->name));
    SLAD_TRY(slad_safetensors_read_float(context, values, file, stored, 0, stored->elements));
    SLAD_TRY(slad_trained_write_part(context, trainer->executor, tensor, part, kind, values));
cleanup:
    slad_release(values);
    return status;
}

/* Whether a name that this stage does not train may be one of another stage of the run: of --init, the stage that
 * trains a network as the run's options say must know all of that network's names. */
static bool is_of_other_stage(const slad_trainer *trainer, const char *name)
{
    const slad_train_options *own = &trainer->options, *run = &trainer->run_options;
    const bool teacher = strncmp(name, "teacher.", 8) == 0, student = strncmp(name, "student.", 8) == 0;
    if (run->head_init == SLAD_HEAD_INIT_PROBE && trainer->stage == 0) return teacher || student;
    return (teacher && own->teacher_adapt != run->teacher_adapt) ||
           (student && own->student_adapt != run->student_adapt);
}

static slad_status load_file(slad_trainer *trainer, const char *path, bool all_known)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    SLAD_TRY(slad_safetensors_open(context, &file, path));
    for (size_t i = 0; i < slad_safetensors_count(file); i++) {
        const slad_safetensor *stored = slad_safetensors_at(file, i);
        size_t part;
        const slad_tensor *tensor = slad_trained_find_part(&part, trainer->store, stored->name);
        SLAD_FAIL_IF(!tensor && all_known && !is_of_other_stage(trainer, stored->name), SLAD_ERROR_DATA,
                     "%s holds %s, which is not trained with these options; names are those of a run's "
                     "state.safetensors",
                     path, stored->name);
        if (tensor) SLAD_TRY(load_tensor(trainer, file, stored, tensor, part, SLAD_SLAB_TRAINED));
    }
cleanup:
    slad_safetensors_close(file);
    return status;
}

slad_status slad_trainer_load(slad_trainer *trainer, const char *path)
{
    return load_file(trainer, path, true);
}

slad_status slad_trainer_start_from(slad_trainer *trainer, const char *path)
{
    return load_file(trainer, path, false);
}

static slad_status resume_tensor(slad_trainer *trainer, const slad_safetensors *file, const slad_state_kind *kind,
                                 const slad_tensor *tensor)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    char name[SLAD_TRAINED_NAME];
    for (size_t part = 0; part < slad_trained_parts(tensor); part++) {
        slad_trained_part_name(name, kind->prefix, tensor, part);
        const slad_safetensor *stored = slad_safetensors_find(file, name);
        SLAD_FAIL_IF(!stored, SLAD_ERROR_DATA, "%s has no tensor %s; the run cannot be resumed with these options",
                     slad_safetensors_path(file), name);
        SLAD_TRY(load_tensor(trainer, file, stored, tensor, part, kind->kind));
    }
cleanup:
    return status;
}

/* A whole number of the file's metadata. */
static bool metadata_number(uint64_t *value, const slad_safetensors *file, const char *key)
{
    char *rest;
    const char *text = slad_safetensors_metadata(file, key);
    if (!text || *text < '0' || *text > '9') return false;
    *value = strtoull(text, &rest, 10);
    return *rest == '\0';
}

slad_status slad_checkpoint_place(slad_context *context, uint64_t *stage, uint64_t *step, const char *folder)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, folder, "optimizer.safetensors"));
    SLAD_TRY(slad_safetensors_open(context, &file, path));
    SLAD_FAIL_IF(!metadata_number(stage, file, "stage") || !metadata_number(step, file, "step"), SLAD_ERROR_DATA,
                 "%s does not say of which step it is; the run cannot be resumed", path);
cleanup:
    slad_safetensors_close(file);
    slad_release(path);
    return status;
}

slad_status slad_trainer_resume(slad_trainer *trainer, const char *folder)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    slad_state_kind kinds[SLAD_RESUME_KINDS];
    char *path = NULL;
    uint64_t stage = 0, step = 0;
    SLAD_FAIL_IF(trainer->flights[0].under_way || trainer->flights[1].under_way, SLAD_ERROR_USAGE,
                 "A step is under way; call slad_trainer_finish before slad_trainer_resume");
    SLAD_TRY(slad_checkpoint_place(context, &stage, &step, folder));
    SLAD_TRY(slad_path_join(context, &path, folder, "optimizer.safetensors"));
    SLAD_FAIL_IF(stage != trainer->stage || step > trainer->total_steps, SLAD_ERROR_DATA,
                 "%s is of step %llu of stage %llu, which this training does not have", path, (unsigned long long)step,
                 (unsigned long long)stage);
    SLAD_TRY(slad_safetensors_open(context, &file, path));
    const size_t kind_count = slad_resume_kinds(kinds, trainer);
    for (size_t kind = 0; kind < kind_count; kind++)
        for (size_t i = 0; i < slad_store_trained_count(trainer->store); i++)
            SLAD_TRY(resume_tensor(trainer, file, &kinds[kind], slad_store_trained_at(trainer->store, i)->tensor));
    trainer->step = step;
cleanup:
    slad_safetensors_close(file);
    slad_release(path);
    return status;
}
