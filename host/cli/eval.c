/* slad eval */
#include "cli/session.h"
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"data", "PATH", "labelled images, as for slad train; the validation part is evaluated"},
    {"predictions", "FILE", "safetensors that receives student_logits, teacher_logits and labels"},
    {"batch", "N", "images at once (default: 32)"},
    {"workers", "N", "loader threads (default: one a processor)"},
    {"image-size", "N", "pixels a side (default: what the model says)"},
    {"pos-embed", "MODE", "how the position table is resized, as for slad train (default: auto; a run's own)"},
    {"strict-data", NULL, "stop at a broken image instead of skipping it"},
};
static const size_t option_count = sizeof options / sizeof *options;

/* Larger confusion matrices are for nobody to read, and of 20,000 classes no machine holds the JSON. */
enum { CLASSES_PRINTED = 20, CLASSES_IN_JSON = 1000 };

static void print_model(const char *name, const slad_evaluation *evaluation)
{
    if (evaluation->present)
        printf("%-8s  top-1 %6.2f %%  mean per class %6.2f %%\n", name, 100 * evaluation->top1,
               100 * evaluation->mean_per_class);
}

static void print_confusion(const slad_evaluation *evaluation)
{
    if (!evaluation->present || evaluation->classes > CLASSES_PRINTED) return;
    printf("\nConfusion of the student (rows: labels, columns: predictions)\n");
    for (size_t row = 0; row < evaluation->classes; row++) {
        for (size_t column = 0; column < evaluation->classes; column++)
            printf("%6llu", (unsigned long long)evaluation->confusion[row * evaluation->classes + column]);
        printf("\n");
    }
}

static cJSON *model_json(const slad_evaluation *evaluation)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "top1", evaluation->top1);
    cJSON_AddNumberToObject(json, "mean_per_class", evaluation->mean_per_class);
    if (evaluation->classes > CLASSES_IN_JSON) return json;
    cJSON *confusion = cJSON_AddArrayToObject(json, "confusion");
    for (size_t row = 0; row < evaluation->classes; row++) {
        cJSON *line = cJSON_CreateArray();
        for (size_t column = 0; column < evaluation->classes; column++)
            cJSON_AddItemToArray(line,
                                 cJSON_CreateNumber((double)evaluation->confusion[row * evaluation->classes + column]));
        cJSON_AddItemToArray(confusion, line);
    }
    return json;
}

static int print_result(const cli_session *session, const slad_evaluation *student, const slad_evaluation *teacher)
{
    if (session->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddNumberToObject(json, "images", (double)student->images);
        cJSON_AddStringToObject(json, "measure", slad_measure_name(student->measure));
        cJSON_AddItemToObject(json, "student", model_json(student));
        if (teacher->present) cJSON_AddItemToObject(json, "teacher", model_json(teacher));
        return cli_print_json(json);
    }
    printf("%llu images\n", (unsigned long long)student->images);
    print_model("student", student);
    print_model("teacher", teacher);
    if (student->measure == SLAD_MEASURE_MEAN_PER_CLASS) printf("this data set is measured by the mean per class\n");
    print_confusion(student);
    return SLAD_OK;
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_evaluation student = {0}, teacher = {0};
    unsigned batch = 0, workers = 0, image_size = 0;
    slad_train_options position = slad_train_options_default();
    const char *mode = cli_value(arguments, "pos-embed");
    if (arguments->positional_count != 1 || !cli_value(arguments, "data"))
        return cli_usage("eval", "slad eval needs one RUN_OR_MODEL and --data PATH");
    if (!cli_whole(arguments, &batch, "batch", 1, 65536) || !cli_whole(arguments, &workers, "workers", 1, 256) ||
        !cli_whole(arguments, &image_size, "image-size", 1, 16384))
        return cli_usage("eval", arguments->message);
    slad_eval_options eval = {
        .model = arguments->positional[0],
        .data = cli_value(arguments, "data"),
        .predictions = cli_value(arguments, "predictions"),
        .batch = batch,
        .workers = workers,
        .image_size = image_size,
        .strict_data = cli_value(arguments, "strict-data") != NULL,
    };
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK && mode) code = (int)slad_train_options_set(session.context, &position, "pos-embed", mode);
    eval.position_mode = position.position_mode;
    if (code == SLAD_OK) code = cli_session_open_device(&session);
    if (code == SLAD_OK) code = (int)slad_run_eval(session.context, session.device, &student, &teacher, &eval);
    if (code == SLAD_OK) code = print_result(&session, &student, &teacher);
    slad_evaluation_free(&student);
    slad_evaluation_free(&teacher);
    cli_session_close(&session);
    return code;
}

int cli_eval(int argc, char **argv)
{
    cli_arguments arguments;
    int code = SLAD_OK;
    if (!cli_parse(&arguments, argc, argv, options, option_count, NULL))
        code = cli_usage("eval", arguments.message);
    else if (arguments.help) {
        printf(
            "usage: slad eval RUN_OR_MODEL --data PATH [options]\n\nTop-1, mean per-class accuracy and confusion of a "
            "run's student and teacher, or of a model with a classifier. --json gives the confusion of at most 1000 "
            "classes.\n\n");
        cli_print_options(options, option_count);
        cli_print_common_options();
    } else
        code = run(&arguments);
    cli_arguments_free(&arguments);
    return code;
}
