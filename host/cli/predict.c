/* slad predict */
#include "cli/session.h"
#include <stdio.h>
#include <string.h>

static const cli_option options[] = {
    {"top", "N", "classes shown of each image, most probable first (default: 3)"},
    {"sheet", "FILE.html", "page that receives the pictures with their classes"},
};
static const size_t option_count = sizeof options / sizeof *options;

static void print_text(const slad_predictions *predictions, const char *const *paths, unsigned top)
{
    for (size_t i = 0; i < predictions->images; i++) {
        size_t index = predictions->classes;
        printf("%s:", paths[i]);
        for (unsigned place = 0; place < top; place++) {
            index = slad_predictions_next(predictions, i, index);
            printf("%s ", place ? "," : "");
            cli_print_text(stdout, predictions->class_names[index], false);
            printf(" %.1f %%", 100 * (double)predictions->probabilities[i * predictions->classes + index]);
        }
        printf("\n");
    }
}

static int print_predictions(const cli_session *session, const slad_predictions *predictions, const char *const *paths,
                             unsigned top)
{
    char *text = NULL;
    if (top > predictions->classes) top = (unsigned)predictions->classes;
    if (!session->json) {
        print_text(predictions, paths, top);
        return SLAD_OK;
    }
    int code = (int)slad_predictions_json(session->context, &text, predictions, paths, top);
    if (code == SLAD_OK && puts(text) < 0) code = SLAD_ERROR_WRITE;
    slad_text_free(text);
    return code;
}

/* Pictures with their classes need letters, which an HTML page has and a PNG would have to be given. */
static bool is_page(const char *path)
{
    const size_t length = strlen(path);
    return (length > 5 && strcmp(path + length - 5, ".html") == 0) ||
           (length > 4 && strcmp(path + length - 4, ".htm") == 0);
}

static int run(cli_arguments *arguments)
{
    cli_session session;
    slad_predictions predictions = {0};
    unsigned top = 3;
    if (arguments->positional_count < 2)
        return cli_usage("predict", "slad predict needs a MODEL and at least one IMAGE");
    if (!cli_whole(arguments, &top, "top", 1, 100000)) return cli_usage("predict", arguments->message);
    const char *const *paths = arguments->positional + 1, *sheet = cli_value(arguments, "sheet");
    if (sheet && !is_page(sheet))
        return cli_usage("predict", "--sheet writes an HTML page: give it a name that ends in .html");
    int code = cli_session_open(&session, arguments);
    if (code == SLAD_OK) code = cli_session_open_device(&session);
    if (code == SLAD_OK)
        code = (int)slad_run_predict(session.context, session.device, &predictions, arguments->positional[0], paths,
                                     arguments->positional_count - 1);
    if (code == SLAD_OK && sheet) code = (int)slad_predictions_sheet(session.context, &predictions, paths, top, sheet);
    if (code == SLAD_OK) code = print_predictions(&session, &predictions, paths, top);
    slad_predictions_free(&predictions);
    cli_session_close(&session);
    return code;
}

int cli_predict(int argc, char **argv)
{
    static const cli_manual manual = {
        "predict",
        "usage: slad predict MODEL IMAGE... [options]\n"
        "\n"
        "MODEL is a run, or a Hugging Face folder with a classifier.\n"
        "\n",
    };
    return cli_run(&manual, argc, argv, options, option_count, run);
}
