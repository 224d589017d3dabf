/* An encoder with its classifier as an ONNX file: the same mathematics as slad_backbone_record and slad_head_record,
 * for one image size. Input "pixel_values" [batch, 3, S, S], normalised; output "logits" [batch, classes]; any batch.
 * GELU is the exact one (Erf), LayerNorm the operation of opset 17, the position table is resized already. */
#ifndef SLAD_MODEL_ENCODER_ONNX_H
#define SLAD_MODEL_ENCODER_ONNX_H

#include "io/hugging_face.h"

typedef struct slad_encoder_onnx {
    const slad_hf_config *config;
    size_t image_size;              /* a multiple of the patch */
    slad_position_mode mode;        /* AUTO: as the files' owner does */
    const char *const *class_names; /* [classes], UTF-8 */
    size_t classes;
    const float *image_mean, *image_std; /* [3] */
    /* Fills a tensor of slad_hf_slot_at, "classifier.weight" [classes, slad_hf_classifier_features] or
     * "classifier.bias" [classes], as for slad_hf_student. */
    slad_status (*fill)(slad_context *context, float *destination, const char *name, uint64_t elements, void *user);
    void *user;
    uint64_t inline_limit; /* of slad_onnx_write; 0: what the format permits */
} slad_encoder_onnx;

/* Writes FOLDER/model.onnx, and model.onnx.data if the weights are too large for one file; the metadata are
 * class_names, image_mean and image_std as JSON, and slad_version. Errors: SLAD_ERROR_USAGE when the image size is no
 * multiple of the patch, SLAD_ERROR_WRITE, or what fill returned. */
slad_status slad_encoder_onnx_write(slad_context *context, const char *folder, const slad_encoder_onnx *model);

#endif
