/* slad predict */
#include "cli/session.h"
#include <stdio.h>

static const cli_option options[] = {
    {"top", "N", "classes shown of each image, most probable first (default: 3)"},
};
static const size_t option_count = sizeof options / sizeof *options;

/* Whether class a comes before class b: it is more probable, or as probable and earlier. */
static bool comes_before(const float *row, size_t a, size_t b)
{
    return row[a] > row[b] || (row[a] == row[b] && a < b);
}

/* The class that follows `previous` in that order; the first of all where previous is `classes`. */
static size_t next_class(const float *row, size_t classes, size_t previous)
{
    size_t best = classes;
    for (size_t c = 0; c < classes; c++) {
        if (previous < classes && !comes_before(row, previous, c)) continue;
        if (best == classes || comes_before(row, c, best)) best = c;
    }
    return best < classes ? best : 0;
}

static cJSON *image_json(const slad_predictions *predictions, const char *path, const float *row, unsigned top)
{
    cJSON *image = cJSON_CreateObject(), *list = cJSON_CreateArray();
    size_t index = predictions->classes;
    cJSON_AddStringToObject(image, "image", path);
    for (unsigned place = 0; place < top; place++) {
        index = next_class(row, predictions->classes, index);
        cJSON *entry = cJSON_CreateObject();
        cJSON_AddNumberToObject(entry, "index", (double)index);
        cJSON_AddStringToObject(entry, "class", predictions->class_names[index]);
        cJSON_AddNumberToObject(entry, "probability", (double)row[index]);
        cJSON_AddItemToArray(list, entry);
    }
    cJSON_AddItemToObject(image, "classes", list);
    return image;
}

static int print_predictions(const cli_session *session, const slad_predictions *predictions, const char *const *paths,
                             unsigned top)
{
    cJSON *images = cJSON_CreateArray();
    if (top > predictions->classes) top = (unsigned)predictions->classes;
    for (size_t i = 0; i < predictions->images; i++) {
        const float *row = predictions->probabilities + i * predictions->classes;
        if (session->json) {
            cJSON_AddItemToArray(images, image_json(predictions, paths[i], row, top));
            continue;
        }
        printf("%s:", paths[i]);
        size_t index = predictions->classes;
        for (unsigned place = 0; place < top; place++) {
            index = next_class(row, predictions->classes, index);
            printf("%s %s %.1f %%", place ? "," : "", predictions->class_names[index], 100 * (double)row[index]);
        }
        printf("\n");
    }
    if (!session->json) {
        cJSON_Delete(images);
        return SLAD_OK;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "predictions", images);
    return cli_print_json(json);
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_predictions predictions = {0};
    unsigned top = 3;
    if (arguments->positional_count < 2)
        return cli_usage("predict", "slad predict needs a MODEL and at least one IMAGE");
    if (!cli_whole(arguments, &top, "top", 1, 100000)) return cli_usage("predict", arguments->message);
    const char *const *paths = arguments->positional + 1;
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = cli_session_open_device(&session);
    if (code == SLAD_OK)
        code = (int)slad_run_predict(session.context, session.device, &predictions, arguments->positional[0], paths,
                                     arguments->positional_count - 1);
    if (code == SLAD_OK) code = print_predictions(&session, &predictions, paths, top);
    slad_predictions_free(&predictions);
    cli_session_close(&session);
    return code;
}

int cli_predict(int argc, char **argv)
{
    cli_arguments arguments;
    int code = SLAD_OK;
    if (!cli_parse(&arguments, argc, argv, options, option_count, NULL))
        code = cli_usage("predict", arguments.message);
    else if (arguments.help) {
        printf("usage: slad predict MODEL IMAGE... [options]\n\nMODEL is a run, or a Hugging Face folder with a "
               "classifier.\n\n");
        cli_print_options(options, option_count);
        cli_print_common_options();
    } else
        code = run(&arguments);
    cli_arguments_free(&arguments);
    return code;
}
