/* Reading a trainer's files: initial values, and all that a resumed run goes on from. */
#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "train/trainer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static slad_status check_shape(slad_context *context, const slad_safetensors *file, const slad_safetensor *stored,
                               const slad_tensor *tensor)
{
    slad_status status = SLAD_OK;
    uint64_t shape[2] = {0, 0};
    char wanted[96], found[96];
    const size_t rank = slad_trained_file_shape(shape, tensor);
    const bool same = rank == stored->rank && memcmp(shape, stored->shape, rank * sizeof *shape) == 0;
    slad_safetensors_shape_text(wanted, sizeof wanted, shape, rank);
    slad_safetensors_shape_text(found, sizeof found, stored->shape, stored->rank);
    SLAD_FAIL_IF(!same, SLAD_ERROR_DATA, "%s holds %s with shape %s, but these models and options need %s",
                 slad_safetensors_path(file), stored->name, found, wanted);
cleanup:
    return status;
}

/* Reads a tensor of the file into one of the slabs of a trained tensor. */
static slad_status load_tensor(slad_trainer *trainer, const slad_safetensors *file, const slad_safetensor *stored,
                               const slad_tensor *tensor, slad_slab_kind kind)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    float *values = NULL;
    const size_t elements = slad_tensor_elements(tensor);
    SLAD_TRY(check_shape(context, file, stored, tensor));
    SLAD_TRY(slad_allocate(context, &values, elements, sizeof *values, stored->name));
    SLAD_TRY(slad_safetensors_read_float(context, values, file, stored, 0, elements));
    SLAD_TRY(slad_executor_write_slab(trainer->executor, tensor, kind, values));
cleanup:
    slad_release(values);
    return status;
}

slad_status slad_trainer_load(slad_trainer *trainer, const char *path)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    SLAD_TRY(slad_safetensors_open(context, &file, path));
    for (size_t i = 0; i < slad_safetensors_count(file); i++) {
        const slad_safetensor *stored = slad_safetensors_at(file, i);
        const slad_trained *trained = slad_store_trained_find(trainer->store, stored->name);
        SLAD_FAIL_IF(!trained, SLAD_ERROR_DATA,
                     "%s holds %s, which is not trained with these options; names are those of a run's "
                     "state.safetensors",
                     path, stored->name);
        SLAD_TRY(load_tensor(trainer, file, stored, trained->tensor, SLAD_SLAB_TRAINED));
    }
cleanup:
    slad_safetensors_close(file);
    return status;
}

static slad_status resume_kind(slad_trainer *trainer, const slad_safetensors *file, const slad_state_kind *kind)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    char name[128];
    for (size_t i = 0; i < slad_store_trained_count(trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(trainer->store, i)->tensor;
        snprintf(name, sizeof name, "%s%s", kind->prefix, tensor->name);
        const slad_safetensor *stored = slad_safetensors_find(file, name);
        SLAD_FAIL_IF(!stored, SLAD_ERROR_DATA, "%s has no tensor %s; the run cannot be resumed with these options",
                     slad_safetensors_path(file), name);
        SLAD_TRY(load_tensor(trainer, file, stored, tensor, kind->kind));
    }
cleanup:
    return status;
}

slad_status slad_trainer_resume(slad_trainer *trainer, const char *folder)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    char *path = NULL, *rest = NULL;
    SLAD_FAIL_IF(trainer->flights[0].under_way || trainer->flights[1].under_way, SLAD_ERROR_USAGE,
                 "A step is under way; call slad_trainer_finish before slad_trainer_resume");
    SLAD_TRY(slad_path_join(context, &path, folder, "optimizer.safetensors"));
    SLAD_TRY(slad_safetensors_open(context, &file, path));
    const char *text = slad_safetensors_metadata(file, "step");
    const unsigned long long step = text ? strtoull(text, &rest, 10) : 0;
    SLAD_FAIL_IF(!text || *text < '0' || *text > '9' || *rest || step > trainer->total_steps, SLAD_ERROR_DATA,
                 "%s does not say of which step it is; the run cannot be resumed", path);
    for (size_t i = 0; i < SLAD_RESUME_KINDS; i++) SLAD_TRY(resume_kind(trainer, file, &slad_resume_kinds[i]));
    trainer->step = step;
cleanup:
    slad_safetensors_close(file);
    slad_release(path);
    return status;
}
