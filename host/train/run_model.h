/* A model as eval, features and predict accept it: a run, or a Hugging Face folder. */
#ifndef SLAD_TRAIN_RUN_MODEL_H
#define SLAD_TRAIN_RUN_MODEL_H

#include "train/inference.h"
#include "train/run_config.h"

typedef struct slad_run_model {
    bool is_run;
    slad_run_config config;          /* of a run */
    char *student_folder;            /* RUN/student, or the folder itself */
    slad_encoder *student, *teacher; /* teacher NULL: not a run, or a run without one */
    slad_safetensors *state;         /* of a run */
    struct slad_run_model *frozen;   /* what the teacher of a run came from that kept it frozen; else NULL */
} slad_run_model;

/* Opens it. want_teacher: a run's teacher, base weights and all, is opened too. Errors: SLAD_ERROR_DATA; a run whose
 * teacher's base folder has gone says that RUN/student can be used alone. */
slad_status slad_run_model_open(slad_context *context, slad_run_model *model, const char *path, bool want_teacher);
void slad_run_model_close(slad_run_model *model);
/* How inference builds student and teacher from it. classes 0: no head is wanted. Errors: SLAD_ERROR_DATA when the
 * student has no classifier but one is wanted. */
slad_status slad_run_model_student(slad_context *context, slad_network_source *source, const slad_run_model *model,
                                   bool want_head);
bool slad_run_model_has_teacher(const slad_run_model *model);
slad_status slad_run_model_teacher(slad_context *context, slad_network_source *source, const slad_run_model *model);
/* The network that can teach others as it is: a run's teacher, else its student, else the folder's model with its
 * classifier. Errors: as slad_run_model_student. */
slad_status slad_run_model_frozen(slad_context *context, slad_network_source *source, const slad_run_model *model);
/* How position tables are resized: a run's own mode, for a folder the one that was asked for. */
slad_position_mode slad_run_model_position(const slad_run_model *model, slad_position_mode asked);

/* What a run, or the folder's id2label, calls a class that its head tells apart. Owned by the model. */
const char *slad_run_model_class_name(const slad_run_model *model, size_t class_index);

#endif
