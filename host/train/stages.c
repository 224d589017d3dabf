#include "train/stages.h"

const char *slad_stage_name(slad_stage_kind kind)
{
    static const char *const names[] = {
        [SLAD_STAGE_PROBE] = "probe",
        [SLAD_STAGE_TEACHER] = "teacher",
        [SLAD_STAGE_STUDENT] = "student",
        [SLAD_STAGE_JOINT] = "joint",
    };
    return names[kind];
}

/* One network's training by its task loss, without a partner. */
static slad_train_options apart(const slad_train_options *options)
{
    slad_train_options own = *options;
    own.stages = SLAD_STAGES_JOINT;
    own.share = SLAD_SHARE_NONE;
    own.unmapped = SLAD_UNMAPPED_LORA;
    own.private_rank = 0;
    own.share_truncation = SLAD_TRUNCATION_BLOCK;
    own.head_init = SLAD_HEAD_INIT_RANDOM;
    own.loss = SLAD_LOSS_SUM;
    own.feature_loss = SLAD_FEATURE_LOSS_NONE;
    own.alpha_kl = 0;
    return own;
}

static bool is_trained(slad_adapt adapt)
{
    return adapt != SLAD_ADAPT_NONE && adapt != SLAD_ADAPT_FROZEN;
}

size_t slad_stages_of(slad_stage stages[SLAD_MOST_STAGES], const slad_train_options *options)
{
    size_t count = 0;
    if (options->head_init == SLAD_HEAD_INIT_PROBE) {
        slad_stage *probe = &stages[count++];
        *probe = (slad_stage){SLAD_STAGE_PROBE, apart(options)};
        probe->options.teacher_adapt = is_trained(options->teacher_adapt) ? SLAD_ADAPT_PROBE : SLAD_ADAPT_NONE;
        probe->options.student_adapt = SLAD_ADAPT_PROBE;
        probe->options.alpha_student = probe->options.alpha_teacher = 1;
    }
    if (options->stages == SLAD_STAGES_TWO) {
        slad_stage *teacher = &stages[count++], *student = &stages[count++];
        *teacher = (slad_stage){SLAD_STAGE_TEACHER, apart(options)};
        teacher->options.student_adapt = SLAD_ADAPT_NONE;
        *student = (slad_stage){SLAD_STAGE_STUDENT, *options};
        student->options.stages = SLAD_STAGES_JOINT;
        student->options.head_init = SLAD_HEAD_INIT_RANDOM;
        student->options.teacher_adapt = SLAD_ADAPT_FROZEN;
        return count;
    }
    stages[count] = (slad_stage){SLAD_STAGE_JOINT, *options};
    stages[count++].options.head_init = SLAD_HEAD_INIT_RANDOM;
    return count;
}
