/* Exporting what a trainer holds. */
#include "base/files.h"
#include "base/memory.h"
#include "train/export.h"
#include "train/trained_files.h"
#include "train/trainer.h"

static slad_status read_trained(slad_context *context, float *destination, const char *name, size_t rank,
                                const uint64_t *shape, const void *user)
{
    slad_status status = SLAD_OK;
    const slad_trainer *trainer = user;
    size_t part;
    const slad_tensor *tensor = slad_trained_find_part(&part, trainer->store, name);
    const slad_safetensor *kept = !tensor && trainer->kept ? slad_safetensors_find(trainer->kept, name) : NULL;
    uint64_t elements = 1;
    for (size_t i = 0; i < rank; i++) elements *= shape[i];
    const uint64_t there = tensor ? slad_tensor_elements(tensor) / slad_trained_parts(tensor)
                           : kept ? kept->elements
                                  : 0;
    SLAD_FAIL_IF(there != elements, SLAD_ERROR_INTERNAL, "%s is not trained, or has another size; please report it",
                 name);
    if (tensor)
        SLAD_TRY(slad_trained_read_part(context, destination, trainer->executor, tensor, part, SLAD_SLAB_TRAINED));
    else
        SLAD_TRY(slad_safetensors_read_float(context, destination, trainer->kept, kept, 0, elements));
cleanup:
    return status;
}

static slad_export_source source_of(const slad_trainer *trainer)
{
    return (slad_export_source){
        .teacher = trainer->teacher_encoder,
        .student = trainer->student_encoder,
        .options = &trainer->run_options,
        .classes = trainer->classes,
        .image_size = trainer->image_size,
        .read = read_trained,
        .user = trainer,
    };
}

slad_status slad_trainer_export_student(slad_trainer *trainer, const char *folder, const char *const *class_names)
{
    const slad_export_source source = source_of(trainer);
    return slad_export_write(trainer->context, folder, SLAD_EXPORT_STUDENT, &source, class_names);
}

slad_status slad_trainer_export(slad_trainer *trainer, const char *folder, const char *const *class_names)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const slad_export_source source = source_of(trainer);
    const unsigned parts = slad_export_parts_of(&trainer->run_options);
    char *path = NULL;
    for (unsigned i = 0; i < SLAD_EXPORT_PARTS; i++) {
        if (!(parts & 1u << i)) continue;
        SLAD_TRY(slad_path_join(context, &path, folder, slad_export_part_name(i)));
        SLAD_TRY(slad_export_write(context, path, (slad_export_part)(1u << i), &source, class_names));
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    return status;
}
