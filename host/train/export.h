/* Exporting what was trained, wherever it is: in a trainer, or in the files of a run. */
#ifndef SLAD_TRAIN_EXPORT_H
#define SLAD_TRAIN_EXPORT_H

#include "model/encoder.h"
#include "slad/export.h"

typedef struct slad_export_source {
    const slad_encoder *teacher, *student; /* as they were before training; teacher NULL where slad_export_needs_teacher
                                              says that no part needs it */
    const slad_train_options *options;
    size_t classes, image_size;
    bool interruptible; /* the cancel callback ends it */
    /* Reads a whole trained tensor by its name in state.safetensors, of the given shape [rank]. */
    slad_status (*read)(slad_context *context, float *destination, const char *name, size_t rank, const uint64_t *shape,
                        const void *user);
    const void *user;
} slad_export_source;

/* Whether one of these parts is made from the teacher: its adapter, or a student that shares it. */
bool slad_export_needs_teacher(const slad_train_options *options, unsigned parts);

/* Writes one part to a folder. class_names [classes] is needed for the student. */
slad_status slad_export_write(slad_context *context, const char *folder, slad_export_part part,
                              const slad_export_source *source, const char *const *class_names);

#endif
