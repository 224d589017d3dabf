/* Exporting what was trained, wherever it is: in a trainer, or in the files of a run. */
#ifndef SLAD_TRAIN_EXPORT_H
#define SLAD_TRAIN_EXPORT_H

#include "io/peft.h"
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

/* The adapters of teacher or student as pairs of q, k, v, proj, fc1 and fc2, layer by layer, however they are stored:
 * windows of shared tensors copied out, fused ones split, which is exact, and a private pair put behind the rank of the
 * shared one. *pairs is the caller's: slad_export_free_pairs. Errors: SLAD_ERROR_DATA when the models cannot be those
 * of the run; those of source->read. */
slad_status slad_export_read_pairs(slad_context *context, slad_peft_pair **pairs, size_t *count,
                                   const slad_export_source *source, bool teacher);
void slad_export_free_pairs(slad_peft_pair *pairs, size_t count);

/* Writes an encoder with a classifier as ONNX, with preprocessor_config.json beside it. fill: as slad_hf_student has
 * it.
 */
typedef struct slad_export_onnx {
    const slad_encoder *encoder;
    size_t image_size, classes;
    slad_position_mode mode;
    const char *const *class_names; /* [classes] */
    slad_status (*fill)(slad_context *context, float *destination, const char *name, uint64_t elements, void *user);
    void *user;
} slad_export_onnx;
slad_status slad_export_onnx_write(slad_context *context, const char *folder, const slad_export_onnx *model);
/* Writes a model with a classifier that no run made: SLAD_EXPORT_STUDENT, as a Hugging Face folder, or
 * SLAD_EXPORT_ONNX, for the crop size of its preprocessor_config.json. Adapters of PEFT on top of it are merged in. */
slad_status slad_export_model_write(slad_context *context, const char *folder, slad_export_part part,
                                    slad_encoder *encoder);

/* Writes one part to a folder. class_names [classes] is needed for the student and its
 * ONNX file. */
slad_status slad_export_write(slad_context *context, const char *folder, slad_export_part part,
                              const slad_export_source *source, const char *const *class_names);

#endif
