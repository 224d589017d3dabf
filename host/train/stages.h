/* The stages of a run: one trainer each, the next going on from what the one before trained. */
#ifndef SLAD_TRAIN_STAGES_H
#define SLAD_TRAIN_STAGES_H

#include "slad/train.h"

typedef enum slad_stage_kind {
    SLAD_STAGE_PROBE,   /* the heads alone, on frozen encoders (--head-init probe) */
    SLAD_STAGE_TEACHER, /* of two: the teacher alone */
    SLAD_STAGE_STUDENT, /* of two: the student, under the frozen teacher */
    SLAD_STAGE_JOINT    /* all at once */
} slad_stage_kind;

typedef struct slad_stage {
    slad_stage_kind kind;
    slad_train_options options; /* what this stage trains, and by which losses */
} slad_stage;

enum { SLAD_MOST_STAGES = 3 };

/* The stages of a run with these options, in order; returns their number. Each takes all the epochs or steps. */
size_t slad_stages_of(slad_stage stages[SLAD_MOST_STAGES], const slad_train_options *options);
/* "probe", "teacher", "student", "joint": in metrics, and of the file in which a run keeps what the stage trained until
 * its end (probe.safetensors, teacher.safetensors). */
const char *slad_stage_name(slad_stage_kind kind);

#endif
