/* The training options: defaults, presets, ranges and contradictions. */
#include "base/error.h"
#include "slad/train.h"

slad_train_options slad_train_options_default(void)
{
    slad_train_options options = {
        .lora_rank = 16,
        .lora_alpha = 16,
        .share_map = SLAD_MAP_EVEN_A,
        .alpha_student = 1,
        .alpha_teacher = 1,
        .alpha_kl = 1,
        .tau = 2,
        .loss = SLAD_LOSS_SUM,
        .kl_direction = SLAD_KL_FORWARD,
        .kl_detach = true,
        .kl_tau2 = true,
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
    options->method = method;
    options->share = method == SLAD_METHOD_SLAD ? SLAD_SHARE_BOTH : SLAD_SHARE_NONE;
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
    SLAD_FAIL_IF(!has_teacher, SLAD_ERROR_USAGE,
                 "--loss convex weighs labels against a teacher, and this method has none: use --method slad or joint, "
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

slad_status slad_train_options_check(slad_context *context, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    const bool joint = options->method == SLAD_METHOD_SLAD || options->method == SLAD_METHOD_JOINT;
    const slad_range ranges[] = {
        {"--lora-rank", options->lora_rank, 1, 1024},
        {"--lora-alpha", options->lora_alpha, 1e-6, 1e6},
        {"--alpha-student", options->alpha_student, 0, 1e6},
        {"--alpha-teacher", options->alpha_teacher, 0, 1e6},
        {"--alpha-kl", options->alpha_kl, 0, 1e6},
        {"--tau", options->tau, 1e-3, 1e3},
        {"--label-smoothing", options->label_smoothing, 0, 1},
        {"--epochs", options->epochs, 1, 1e6},
        {"--steps", (double)options->steps, 0, 1e12},
        {"--batch", options->batch, 1, 65536},
        {"--micro-batch", options->micro_batch, 0, 65536},
        {"--lr", options->learning_rate, 0, 1e3},
        {"--head-lr", options->head_learning_rate, 0, 1e3},
        {"--weight-decay", options->weight_decay, 0, 1e3},
        {"--clip", options->clip, 0, 1e9},
        {"--warmup", options->warmup, 0, 1},
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
    SLAD_FAIL_IF(options->share == SLAD_SHARE_BOTH && !joint, SLAD_ERROR_USAGE,
                 "--share both needs a teacher that trains with the student: use --method slad or joint");
    SLAD_TRY(check_convex(context, options, joint));
cleanup:
    return status;
}
