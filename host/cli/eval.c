/* slad eval */
#include "cli/session.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"data", "PATH", "labelled images, as for slad train; the validation part is evaluated"},
    {"predictions", "FILE", "safetensors that receives student_logits, teacher_logits and labels"},
    {"cka", "on|off",
     "similarity of teacher and student, before and after training; walks over the images a second time, with both "
     "pretrained encoders (default: on for a run with a teacher)"},
    CLI_DATA_OPTIONS,
};
static const size_t option_count = sizeof options / sizeof *options;

/* Larger confusion matrices are for nobody to read. */
enum { CLASSES_PRINTED = 20 };

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

/* "0.123" and, after training from it, " (before: 0.456)". */
static void print_similarity(const char *name, double adapted, double pretrained, bool has_pretrained)
{
    printf("%-28s %7.4f", name, adapted);
    if (has_pretrained) printf("   before training %7.4f", pretrained);
    printf("\n");
}

static void print_cka(const slad_cka_result *cka)
{
    char name[64];
    if (!cka->present) return;
    printf("\nCKA of teacher and student (%zu minibatches of %zu images)\n", cka->batches, cka->batch);
    print_similarity("output, CLS", cka->adapted.cls, cka->pretrained.cls, cka->has_pretrained);
    print_similarity("output, mean of patches", cka->adapted.mean, cka->pretrained.mean, cka->has_pretrained);
    for (size_t i = 0; i < cka->layers; i++) {
        snprintf(name, sizeof name, "student block %zu, teacher %zu", cka->student_layers[i], cka->teacher_layers[i]);
        print_similarity(name, cka->adapted.layers[i], cka->pretrained.layers[i], cka->has_pretrained);
    }
    if (isfinite(cka->delta)) printf("Delta-CKA of the output's CLS: %.2f %%\n", cka->delta);
}

static int print_result(const cli_session *session, const slad_eval_result *result)
{
    if (session->json) {
        char *text = NULL;
        int code = (int)slad_eval_result_json(session->context, &text, result);
        if (code == SLAD_OK && puts(text) < 0) code = SLAD_ERROR_WRITE;
        slad_text_free(text);
        return code;
    }
    printf("%llu images\n", (unsigned long long)result->student.images);
    print_model("student", &result->student);
    print_model("teacher", &result->teacher);
    if (result->student.measure == SLAD_MEASURE_MEAN_PER_CLASS)
        printf("this data set is measured by the mean per class\n");
    print_confusion(&result->student);
    print_cka(&result->cka);
    return SLAD_OK;
}

/* False for anything but on and off; not given is automatic. */
static bool read_cka(slad_cka_mode *mode, const char *text)
{
    *mode = !text ? SLAD_CKA_AUTO : strcmp(text, "on") == 0 ? SLAD_CKA_ON : SLAD_CKA_OFF;
    return !text || *mode == SLAD_CKA_ON || strcmp(text, "off") == 0;
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_eval_result result = {0};
    cli_data_options data = {0};
    slad_cka_mode cka;
    if (arguments->positional_count != 1 || !cli_value(arguments, "data"))
        return cli_usage("eval", "slad eval needs one RUN_OR_MODEL and --data PATH");
    if (!read_cka(&cka, cli_value(arguments, "cka"))) return cli_usage("eval", "--cka takes on or off");
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = cli_read_data_options(&session, &data, arguments, "eval");
    if (code == SLAD_OK) code = cli_session_open_device(&session);
    const slad_eval_options eval = {
        .model = arguments->positional[0],
        .data = cli_value(arguments, "data"),
        .predictions = cli_value(arguments, "predictions"),
        .batch = data.batch,
        .workers = data.workers,
        .image_size = data.image_size,
        .position_mode = data.position_mode,
        .strict_data = data.strict_data,
        .cka = cka,
    };
    if (code == SLAD_OK) code = (int)slad_run_eval(session.context, session.device, &result, &eval);
    if (code == SLAD_OK) code = print_result(&session, &result);
    slad_eval_result_free(&result);
    cli_session_close(&session);
    return code;
}

int cli_eval(int argc, char **argv)
{
    static const cli_manual manual = {
        "eval",
        "usage: slad eval RUN_OR_MODEL --data PATH [options]\n"
        "\n"
        "Top-1, mean per-class accuracy and confusion of a run's student and teacher, or of a model with a "
        "classifier;\n"
        "of a run with a teacher also CKA, the similarity of the two encoders' features. --json gives the confusion of "
        "at most\n"
        "1000 classes.\n"
        "\n",
    };
    return cli_run(&manual, argc, argv, options, option_count, run);
}
