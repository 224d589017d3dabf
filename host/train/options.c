/* The training options: defaults, presets, ranges and contradictions. */
#include "base/error.h"
#include "slad/train.h"
#include "train/losses.h"
#include "train/stages.h"

slad_train_options slad_train_options_default(void)
{
    slad_train_options options = {
        .lora_rank = 16,
        .lora_alpha = 16,
        .lora_plus = 1,
        .share_map = SLAD_MAP_EVEN_A,
        .alpha_student = 1,
        .alpha_teacher = 1,
        .alpha_kl = 1,
        .tau = 2,
        .loss = SLAD_LOSS_SUM,
        .kl_direction = SLAD_KL_FORWARD,
        .kl_detach = true,
        .kl_tau2 = true,
        .alpha_feature = 1,
        .head = SLAD_HEAD_CLS_MEAN,
        .epochs = 30,
        .batch = 32,
        .learning_rate = 5e-4,
        .head_learning_rate = 1e-3,
        .clip = 1.0,
        .schedule = SLAD_SCHEDULE_COSINE,
        .warmup = 0.05,
        .position_mode = SLAD_POSITION_AUTO,
        .augment = SLAD_AUGMENTATION_CROP_FLIP,
        .crop_scale = {0.35, 1.0},
        .shuffle = true,
        .eval_every = 1,
    };
    slad_train_options_set_method(&options, SLAD_METHOD_SLAD);
    return options;
}

void slad_train_options_set_method(slad_train_options *options, slad_method method)
{
    static const struct {
        slad_adapt teacher, student;
        slad_share share;
        slad_stages stages;
    } presets[] = {
        [SLAD_METHOD_SLAD] = {SLAD_ADAPT_LORA, SLAD_ADAPT_LORA, SLAD_SHARE_BOTH, SLAD_STAGES_JOINT},
        [SLAD_METHOD_JOINT] = {SLAD_ADAPT_LORA, SLAD_ADAPT_LORA, SLAD_SHARE_NONE, SLAD_STAGES_JOINT},
        [SLAD_METHOD_KD_PROBE] = {SLAD_ADAPT_PROBE, SLAD_ADAPT_LORA, SLAD_SHARE_NONE, SLAD_STAGES_TWO},
        [SLAD_METHOD_KD_LORA] = {SLAD_ADAPT_LORA, SLAD_ADAPT_LORA, SLAD_SHARE_NONE, SLAD_STAGES_TWO},
        [SLAD_METHOD_KD_FINETUNE] = {SLAD_ADAPT_ALL, SLAD_ADAPT_LORA, SLAD_SHARE_NONE, SLAD_STAGES_TWO},
        [SLAD_METHOD_PROBE] = {SLAD_ADAPT_NONE, SLAD_ADAPT_PROBE, SLAD_SHARE_NONE, SLAD_STAGES_JOINT},
        [SLAD_METHOD_LORA] = {SLAD_ADAPT_NONE, SLAD_ADAPT_LORA, SLAD_SHARE_NONE, SLAD_STAGES_JOINT},
        [SLAD_METHOD_FINETUNE] = {SLAD_ADAPT_NONE, SLAD_ADAPT_ALL, SLAD_SHARE_NONE, SLAD_STAGES_JOINT},
    };
    options->method = method;
    options->teacher_adapt = presets[method].teacher;
    options->student_adapt = presets[method].student;
    options->share = presets[method].share;
    options->stages = presets[method].stages;
}

/* A number's range; NaN is outside of every range. */
typedef struct slad_range {
    const char *option;
    double value, low, high;
} slad_range;

/* The convex loss shares one unit of weight between the student's labels and its teacher. */
static slad_status check_convex(slad_context *context, const slad_train_options *options, bool has_teacher)
{
    slad_status status = SLAD_OK;
    if (options->loss != SLAD_LOSS_CONVEX) return SLAD_OK;
    SLAD_FAIL_IF(
        !has_teacher, SLAD_ERROR_USAGE,
        "--loss convex weighs labels against a teacher, and this method has none: choose a method with a teacher, "
        "or --loss sum");
    SLAD_FAIL_IF(options->alpha_kl > 1, SLAD_ERROR_USAGE,
                 "--loss convex is (1 - alpha-kl) CE_S + alpha-kl KL: --alpha-kl must lie in 0 to 1, not %g",
                 options->alpha_kl);
    SLAD_FAIL_IF(options->alpha_student != 1, SLAD_ERROR_USAGE,
                 "--loss convex weighs the student's task loss by 1 - alpha-kl: leave --alpha-student out (it is %g)",
                 options->alpha_student);
cleanup:
    return status;
}

/* Values that their type allows, but no range below can express. */
static slad_status check_adaptation(slad_context *context, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    const slad_adapt teacher = options->teacher_adapt, student = options->student_adapt;
    SLAD_FAIL_IF(student != SLAD_ADAPT_PROBE && student != SLAD_ADAPT_LORA && student != SLAD_ADAPT_ALL,
                 SLAD_ERROR_USAGE,
                 "--student-adapt takes probe, lora or all: a student that is not trained needs no training");
    SLAD_FAIL_IF(
        options->stages == SLAD_STAGES_TWO && (teacher == SLAD_ADAPT_NONE || teacher == SLAD_ADAPT_FROZEN),
        SLAD_ERROR_USAGE,
        "--stages two trains a teacher before the student: give --teacher-adapt probe, lora or all, or --stages joint");
    SLAD_FAIL_IF(
        options->lora_dropout > 0 && teacher != SLAD_ADAPT_LORA && student != SLAD_ADAPT_LORA, SLAD_ERROR_USAGE,
        "--lora-dropout masks what adapters see, and these options train no adapters: use --student-adapt lora, "
        "or leave it out");
cleanup:
    return status;
}

/* Sharing: its partners, and the options that mean nothing without it. */
static slad_status check_sharing(slad_context *context, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    const bool shared = options->share != SLAD_SHARE_NONE;
    SLAD_FAIL_IF(shared && (options->teacher_adapt != SLAD_ADAPT_LORA || options->student_adapt != SLAD_ADAPT_LORA ||
                            options->stages == SLAD_STAGES_TWO),
                 SLAD_ERROR_USAGE,
                 "--share needs a teacher and a student that train their adapters together (--teacher-adapt lora, "
                 "--student-adapt lora, --stages joint): use --method slad, or --share none");
    SLAD_FAIL_IF(
        !shared && options->private_rank, SLAD_ERROR_USAGE,
        "--private-rank adds adapters beside shared ones, and nothing is shared: use --method slad, or a larger "
        "--lora-rank");
    SLAD_FAIL_IF(
        !shared && options->unmapped == SLAD_UNMAPPED_FROZEN, SLAD_ERROR_USAGE,
        "--unmapped frozen freezes teacher layers that no student layer shares, and nothing is shared: use --method "
        "slad");
    SLAD_FAIL_IF(options->share_scale == SLAD_SHARE_SCALE_FAN_IN && (!shared || options->share == SLAD_SHARE_B),
                 SLAD_ERROR_USAGE,
                 "--share-scale fan-in makes up for columns of A that were drawn for the teacher's width, and A is not "
                 "shared: use --share both or a, or leave it out");
    SLAD_FAIL_IF(options->share_truncation == SLAD_TRUNCATION_NAIVE &&
                     (options->lora_form == SLAD_LORA_SPLIT || !shared || options->share == SLAD_SHARE_A),
                 SLAD_ERROR_USAGE,
                 "--share-truncation naive cuts a fused B that is shared: use --lora-form fused and --share both or b");
cleanup:
    return status;
}

/* What distils needs a teacher to distil from. */
static slad_status check_teacher(slad_context *context, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    const bool has_teacher = options->teacher_adapt != SLAD_ADAPT_NONE;
    SLAD_TRY(check_convex(context, options, has_teacher));
    SLAD_FAIL_IF(
        options->feature_loss != SLAD_FEATURE_LOSS_NONE && !has_teacher, SLAD_ERROR_USAGE,
        "--feature-loss pulls the student's features to a teacher's, and this method has none: choose a method with a "
        "teacher");
cleanup:
    return status;
}

/* Whether a stage minimises anything: a loss with a weight above 0 that reaches something that is trained. */
static bool has_loss(const slad_train_options *options)
{
    const slad_distillation losses = slad_losses_of(options);
    const bool student = options->student_adapt != SLAD_ADAPT_NONE;
    const bool teacher = options->teacher_adapt != SLAD_ADAPT_NONE,
               frozen = options->teacher_adapt == SLAD_ADAPT_FROZEN;
    if (teacher && !frozen && losses.alpha_teacher > 0) return true;
    if (!student) return false;
    if (losses.alpha_student > 0 || (teacher && losses.alpha_kl > 0)) return true;
    return options->feature_loss != SLAD_FEATURE_LOSS_NONE && options->alpha_feature > 0;
}

static slad_status check_losses(slad_context *context, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    slad_stage stages[SLAD_MOST_STAGES];
    const size_t count = slad_stages_of(stages, options);
    for (size_t i = 0; i < count; i++) {
        const bool student = stages[i].options.student_adapt != SLAD_ADAPT_NONE,
                   teacher = stages[i].options.teacher_adapt != SLAD_ADAPT_NONE;
        SLAD_FAIL_IF(!has_loss(&stages[i].options), SLAD_ERROR_USAGE,
                     "Nothing would be trained%s: every loss has the weight 0; set %s above 0",
                     stages[i].kind == SLAD_STAGE_TEACHER   ? " in the teacher's stage"
                     : stages[i].kind == SLAD_STAGE_STUDENT ? " in the student's stage"
                                                            : "",
                     !student   ? "--alpha-teacher"
                     : !teacher ? "--alpha-student"
                                : "--alpha-student, --alpha-teacher or --alpha-kl");
    }
cleanup:
    return status;
}

slad_status slad_train_options_check(slad_context *context, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    const slad_range ranges[] = {
        {"--lora-rank", options->lora_rank, 1, 1024},
        {"--lora-alpha", options->lora_alpha, 1e-6, 1e6},
        {"--lora-dropout", options->lora_dropout, 0, 0.99},
        {"--lora-plus", options->lora_plus, 1e-6, 1e6},
        {"--private-rank", options->private_rank, 0, 1024},
        {"--alpha-student", options->alpha_student, 0, 1e6},
        {"--alpha-teacher", options->alpha_teacher, 0, 1e6},
        {"--alpha-kl", options->alpha_kl, 0, 1e6},
        {"--tau", options->tau, 1e-3, 1e3},
        {"--label-smoothing", options->label_smoothing, 0, 1},
        {"--alpha-feature", options->alpha_feature, 0, 1e6},
        {"--epochs", options->epochs, 1, 1e6},
        {"--steps", (double)options->steps, 0, 1e12},
        {"--batch", options->batch, 1, 65536},
        {"--micro-batch", options->micro_batch, 0, 65536},
        {"--memory-limit", options->memory_limit, 0, 1u << 24},
        {"--lr", options->learning_rate, 0, 1e3},
        {"--head-lr", options->head_learning_rate, 0, 1e3},
        {"--weight-decay", options->weight_decay, 0, 1e3},
        {"--clip", options->clip, 0, 1e9},
        {"--warmup", options->warmup, 0, 1},
        {"--ema", options->ema, 0, 0.999999},
        {"--mixup", options->mixup, 0, 100},
        {"--cutmix", options->cutmix, 0, 100},
        {"--image-size", options->image_size, 0, 16384},
        {"--crop-scale", options->crop_scale[0], 1e-6, options->crop_scale[1]},
        {"--crop-scale", options->crop_scale[1], options->crop_scale[0], 1},
        {"--eval-every", options->eval_every, 0, 1e6},
        {"--workers", options->workers, 0, 256},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        SLAD_FAIL_IF(!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high), SLAD_ERROR_USAGE,
                     "%s is %g, but must lie in %g to %g", ranges[i].option, ranges[i].value, ranges[i].low,
                     ranges[i].high);
    SLAD_FAIL_IF(options->micro_batch > options->batch, SLAD_ERROR_USAGE,
                 "--micro-batch %u is larger than --batch %u; a step's batch is cut into micro-batches",
                 options->micro_batch, options->batch);
    SLAD_FAIL_IF((options->mixup > 0 || options->cutmix > 0) && options->batch < 2, SLAD_ERROR_USAGE,
                 "--mixup and --cutmix mix the images of a batch with one another: give --batch 2 or more");
    SLAD_TRY(check_adaptation(context, options));
    SLAD_TRY(check_sharing(context, options));
    SLAD_TRY(check_teacher(context, options));
    SLAD_TRY(check_losses(context, options));
cleanup:
    return status;
}
