/* What was trained, in the formats of the ecosystem: the merged student as a Hugging Face folder, the adapters of
 * student and teacher as folders of PEFT, each with its classification head. */
#ifndef SLAD_EXPORT_H
#define SLAD_EXPORT_H

#include "slad/train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum slad_export_part {
    SLAD_EXPORT_STUDENT = 1,         /* "student": Dinov2ForImageClassification with the adapters added in */
    SLAD_EXPORT_STUDENT_ADAPTER = 2, /* "student-adapter": stands alone, also where the teacher's adapter is shared */
    SLAD_EXPORT_TEACHER_ADAPTER = 4, /* "teacher-adapter" */
    SLAD_EXPORT_ONNX = 8 /* "onnx": the merged student as model.onnx, for the run's image size; only where it is
                            asked for */
} slad_export_part;
#define SLAD_EXPORT_PARTS 4u

/* The name of part 1 << index, which is also the name of its folder; NULL from index SLAD_EXPORT_PARTS on. */
SLAD_API const char *slad_export_part_name(unsigned index);
/* The parts, or-ed, that training with these options has; SLAD_EXPORT_ONNX, which any run can have, is not among them.
 */
SLAD_API unsigned slad_export_parts_of(const slad_train_options *options);

/* Writes all parts of what a trainer holds now, each to FOLDER/NAME. class_names [classes]. Files that exist are
 * replaced, each atomically. Errors: SLAD_ERROR_WRITE, SLAD_ERROR_DATA, SLAD_ERROR_OUT_OF_MEMORY. */
SLAD_API slad_status slad_trainer_export(slad_trainer *trainer, const char *folder, const char *const *class_names);

typedef struct slad_run_export_options {
    const char *run, *out; /* folders; of a model with a classifier, or adapters of PEFT with
                              theirs, there are SLAD_EXPORT_STUDENT and SLAD_EXPORT_ONNX */
    unsigned parts;        /* or-ed; 0: all of slad_export_parts_of */
} slad_run_export_options;

/* The same from the files of a run (config.json, state.safetensors, and the models that it was made from), without a
 * device; the bytes are those that the trainer writes. *written (may be NULL) receives the parts. After an error no
 * part is left. Errors: SLAD_ERROR_USAGE where the run has no such part or OUT/NAME exists; SLAD_ERROR_DATA;
 * SLAD_ERROR_WRITE; SLAD_ERROR_INTERRUPTED. */
SLAD_API slad_status slad_run_export(slad_context *context, unsigned *written, const slad_run_export_options *options);

#ifdef __cplusplus
}
#endif
#endif
