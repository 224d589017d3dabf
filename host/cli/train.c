/* slad train */
#include "cli/session.h"
#include <stdio.h>
#include <string.h>

static const cli_option own_options[] = {
    {"teacher", "DIR", "pre-trained teacher, where the method has one: a folder, or a file of hub or timm"},
    {"student", "DIR", "pre-trained student, likewise"},
    {"data", "PATH", "folder with train/ and val/, CSV, IDX folder, or tensor file(s)"},
    {"out", "RUN", "folder of this run"},
    {"init", "FILE", "safetensors of trained tensors to start from"},
    {"teacher-adapter", "DIR", "PEFT folder whose adapters the teacher starts from"},
    {"student-adapter", "DIR", "PEFT folder whose adapters the student starts from"},
    {"unlabelled", "DIR", "images without labels, which count in the distillation loss only"},
    {"resume", NULL, "go on with the stopped run in --out; all other options are those it was started with"},
    {"overwrite", NULL, "replace the run that --out already holds"},
    {"strict-data", NULL, "stop at a broken image instead of skipping it"},
    {"cka", "on|off",
     "similarity of teacher and student in the report, a last walk over the validation part (default: on)"},
};
static const size_t option_count = sizeof own_options / sizeof *own_options;

static bool is_train_option(const char *name, bool *takes_value)
{
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const slad_option *option = slad_train_option_at(i);
        if (strcmp(option->name, name) != 0) continue;
        *takes_value = option->values[0] != '\0';
        return true;
    }
    return false;
}

/* The default as help shows it: that of a switch which --method sets is the method's. */
static const char *default_text(const char *name, const char *value)
{
    static const char *const switches[] = {"teacher-adapt", "student-adapt", "stages", "share"};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcmp(name, switches[i]) == 0) return "as --method says";
    return value;
}

static void print_help(void)
{
    const slad_train_options defaults = slad_train_options_default();
    const char *group = "";
    char line[SLAD_OPTION_TEXT + 256], value[SLAD_OPTION_TEXT];
    printf("usage: slad train --teacher DIR --student DIR --data PATH --out RUN [options]\n\n"
           "Trains a student on labelled images, most methods with a teacher beside or before it. The merged student "
           "ends\n"
           "up in RUN/student, a folder that transformers loads.\n\nInput and output:\n");
    cli_print_options(own_options, option_count);
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const slad_option *option = slad_train_option_at(i);
        if (!option->available || strcmp(option->name, "seed") == 0) continue; /* --seed is of every command */
        if (strcmp(group, option->group) != 0) printf("\n%s:\n", option->group);
        group = option->group;
        slad_train_options_get(&defaults, option->name, value);
        snprintf(line, sizeof line, "%s (default: %s)", option->help, default_text(option->name, value));
        cli_print_option(option->name, option->values, line);
    }
    cli_print_common_options();
    printf("\nExit codes: 0 done, 2 usage, 3 model or data, 4 no device, 5 kernel build, 6 self-test, 7 memory,\n"
           "8 writing, 9 diverged, 70 internal error, 130 interrupted (a checkpoint was written).\n");
}

/* The method first, since it sets what others may then change. */
static slad_status set_options(cli_session *session, slad_train_options *train, const cli_arguments *arguments)
{
    slad_status status = SLAD_OK;
    const char *method = cli_value(arguments, "method");
    char name[64];
    if (method) status = slad_train_options_set(session->context, train, "method", method);
    for (size_t i = 0; status == SLAD_OK && i < arguments->count; i++) {
        bool takes_value;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(arguments->names[i], "="), arguments->names[i]);
        if (strcmp(name, "method") == 0 || !is_train_option(name, &takes_value)) continue;
        status =
            slad_train_options_set(session->context, train, name, arguments->values[i] ? arguments->values[i] : "");
    }
    return status;
}

/* The values of the command's own options, where they were given. */
static void set_inputs(slad_run_options *options, const cli_arguments *arguments)
{
    const struct {
        const char *name, **value;
    } inputs[] = {
        {"teacher", &options->teacher},
        {"student", &options->student},
        {"data", &options->data},
        {"init", &options->init},
        {"teacher-adapter", &options->teacher_adapter},
        {"student-adapter", &options->student_adapter},
        {"unlabelled", &options->unlabelled},
    };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (cli_value(arguments, inputs[i].name)) *inputs[i].value = cli_value(arguments, inputs[i].name);
    if (cli_value(arguments, "overwrite")) options->overwrite = true;
    if (cli_value(arguments, "strict-data")) options->strict_data = true;
    options->out = cli_value(arguments, "out");
}

static int check_inputs(const slad_run_options *options)
{
    const bool has_teacher = options->train.teacher_adapt != SLAD_ADAPT_NONE;
    if (!options->student || !options->data) return cli_usage("train", "slad train needs --student, --data and --out");
    if (has_teacher && !options->teacher)
        return cli_usage("train", "This method has a teacher beside the student: give --teacher DIR");
    if (!has_teacher && options->teacher)
        return cli_usage("train", "This method trains the student alone: leave --teacher out");
    return SLAD_OK;
}

static int train(cli_session *session, cli_arguments *arguments, slad_run_options *options, slad_run_start **start)
{
    slad_context *context = session->context;
    const char *out = cli_value(arguments, "out");
    int code = out ? SLAD_OK : cli_usage("train", "slad train needs --student, --data and --out");
    if (code == SLAD_OK && cli_value(arguments, "resume"))
        code = (int)slad_run_start_read(context, start, options, out);
    if (code == SLAD_OK) set_inputs(options, arguments);
    if (code == SLAD_OK) code = (int)set_options(session, &options->train, arguments);
    if (code == SLAD_OK) code = (int)slad_train_options_check(context, &options->train);
    if (code == SLAD_OK) code = check_inputs(options);
    if (code == SLAD_OK) code = cli_session_open_device(session);
    if (code == SLAD_OK) code = (int)slad_run_train(context, session->device, options);
    return code;
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    const char *cka = cli_value(arguments, "cka");
    slad_run_options options = {.skip_cka = cka && strcmp(cka, "off") == 0, .train = slad_train_options_default()};
    slad_run_start *start = NULL;
    if (arguments->positional_count) return cli_usage("train", "slad train takes options only");
    if (cka && strcmp(cka, "on") != 0 && strcmp(cka, "off") != 0) return cli_usage("train", "--cka takes on or off");
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = train(&session, arguments, &options, &start);
    if (code == SLAD_OK && session.json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "run", options.out);
        code = cli_print_json(json);
    }
    slad_run_start_free(start);
    cli_session_close(&session);
    return code;
}

int cli_train(int argc, char **argv)
{
    cli_arguments arguments;
    int code = SLAD_OK;
    if (!cli_parse(&arguments, argc, argv, own_options, option_count, is_train_option))
        code = cli_usage("train", arguments.message);
    else if (arguments.help)
        print_help();
    else
        code = run(&arguments);
    cli_arguments_free(&arguments);
    return code;
}
