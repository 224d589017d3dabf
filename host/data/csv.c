/* CSV lists (RFC 4180: quoted fields, doubled quotes, line breaks in quotes; LF or CRLF) with the columns path, label
 * and split, in any order and among others. */
#include "data/dataset_internal.h"

#include "base/files.h"
#include "base/memory.h"
#include <string.h>

enum { COLUMN_PATH, COLUMN_LABEL, COLUMN_SPLIT, COLUMNS };

#define FILE_LIMIT ((size_t)1 << 30)

static const char *const column_names[COLUMNS] = {"path", "label", "split"};

/* The text of a file, which is cut into fields where it lies. */
typedef struct csv_text {
    const char *path;
    char *next, *end; /* *end is a NUL */
    size_t line;      /* of the next field, from 1 */
} csv_text;

typedef struct csv_row {
    char *fields[COLUMNS]; /* in the text of the file */
    slad_split split;
    size_t line;
} csv_row;

typedef struct csv_list {
    csv_row *rows;
    size_t count, capacity;
} csv_list;

static void skip_blanks(csv_text *text)
{
    while (text->next < text->end && (*text->next == ' ' || *text->next == '\t')) text->next++;
}

static bool ends_field(const csv_text *text)
{
    return text->next >= text->end || *text->next == ',' || *text->next == '\r' || *text->next == '\n';
}

/* Leaves text->next behind the closing quote, and *end at the end of the decoded field, which is before that. */
static slad_status read_quoted(slad_context *context, char **field, char **end, csv_text *text)
{
    slad_status status = SLAD_OK;
    const size_t line = text->line;
    char *from = text->next + 1, *to = from;
    *field = to;
    for (; from < text->end; from++) {
        if (*from == '"' && from[1] != '"') break;
        if (*from == '"') from++;
        if (*from == '\n') text->line++;
        *to++ = *from;
    }
    SLAD_FAIL_IF(from >= text->end, SLAD_ERROR_DATA, "%s:%zu: a quoted field has no closing quote", text->path, line);
    *end = to;
    text->next = from + 1;
    skip_blanks(text);
    SLAD_FAIL_IF(!ends_field(text), SLAD_ERROR_DATA,
                 "%s:%zu: after a closing quote there must be a comma or the end of the line", text->path, line);
cleanup:
    return status;
}

static void read_plain(char **field, char **end, csv_text *text)
{
    *field = text->next;
    while (!ends_field(text)) text->next++;
    *end = text->next;
    while (*end > *field && ((*end)[-1] == ' ' || (*end)[-1] == '\t')) (*end)--;
}

/* Reads one field without the blanks around it, ends it with a NUL and moves behind its comma or line end. */
static slad_status read_field(slad_context *context, char **field, bool *last, csv_text *text)
{
    slad_status status = SLAD_OK;
    char *end = NULL;
    skip_blanks(text);
    if (text->next < text->end && *text->next == '"')
        SLAD_TRY(read_quoted(context, field, &end, text));
    else
        read_plain(field, &end, text);
    *last = *text->next != ',';
    if (text->next[0] == '\r' && text->next[1] == '\n') text->next++;
    if (text->next < text->end) {
        if (*last) text->line++;
        text->next++;
    }
    *end = '\0';
cleanup:
    return status;
}

/* Which column each field of the header is; COLUMNS for one that is not needed. */
static slad_status read_header(slad_context *context, int **kinds, size_t *count, csv_text *text)
{
    slad_status status = SLAD_OK;
    size_t capacity = 0;
    bool last = false, found[COLUMNS] = {false};
    if (strncmp(text->next, "\xEF\xBB\xBF", 3) == 0) text->next += 3; /* byte-order mark */
    while (!last) {
        char *field = NULL;
        SLAD_TRY(read_field(context, &field, &last, text));
        SLAD_TRY(slad_grow(context, kinds, &capacity, *count + 1, sizeof **kinds, "CSV columns"));
        int kind = 0;
        while (kind < COLUMNS && strcmp(field, column_names[kind]) != 0) kind++;
        SLAD_FAIL_IF(kind < COLUMNS && found[kind], SLAD_ERROR_DATA, "%s: the column \"%s\" stands twice", text->path,
                     field);
        if (kind < COLUMNS) found[kind] = true;
        (*kinds)[(*count)++] = kind;
    }
    for (int kind = 0; kind < COLUMNS; kind++)
        SLAD_FAIL_IF(!found[kind], SLAD_ERROR_DATA,
                     "%s: the first line must name the columns path,label,split; \"%s\" is missing", text->path,
                     column_names[kind]);
cleanup:
    return status;
}

static bool is_blank_line(csv_text *text)
{
    const char *c = text->next;
    if (*c == '\r') c++;
    if (*c != '\n') return false;
    text->next += c - text->next + 1;
    text->line++;
    return true;
}

static slad_status read_split(slad_context *context, slad_split *split, const csv_text *text, const csv_row *row)
{
    static const char *const held_out[] = {"val", "valid", "validation", "test"};
    slad_status status = SLAD_OK;
    const char *word = row->fields[COLUMN_SPLIT];
    *split = SLAD_SPLIT_VALIDATION;
    for (size_t i = 0; i < sizeof held_out / sizeof *held_out; i++)
        if (strcmp(word, held_out[i]) == 0) return SLAD_OK;
    SLAD_FAIL_IF(strcmp(word, "train") != 0, SLAD_ERROR_DATA,
                 "%s:%zu: the split is \"%s\"; it must be train, val, valid, validation or test", text->path, row->line,
                 word);
    *split = SLAD_SPLIT_TRAIN;
cleanup:
    return status;
}

static slad_status read_row(slad_context *context, csv_row *row, csv_text *text, const int *kinds, size_t count)
{
    slad_status status = SLAD_OK;
    bool last = false;
    size_t fields = 0;
    *row = (csv_row){.line = text->line};
    while (!last) {
        char *field = NULL;
        SLAD_TRY(read_field(context, &field, &last, text));
        if (fields < count && kinds[fields] < COLUMNS) row->fields[kinds[fields]] = field;
        fields++;
    }
    SLAD_FAIL_IF(fields != count, SLAD_ERROR_DATA, "%s:%zu: %zu fields, but the first line names %zu columns",
                 text->path, row->line, fields, count);
    for (int kind = 0; kind < COLUMNS; kind++)
        SLAD_FAIL_IF(!row->fields[kind] || row->fields[kind][0] == '\0', SLAD_ERROR_DATA, "%s:%zu: the %s is empty",
                     text->path, row->line, column_names[kind]);
    SLAD_TRY(read_split(context, &row->split, text, row));
cleanup:
    return status;
}

static slad_status read_rows(slad_context *context, csv_list *list, csv_text *text)
{
    slad_status status = SLAD_OK;
    int *kinds = NULL;
    size_t columns = 0;
    SLAD_FAIL_IF(memchr(text->next, '\0', (size_t)(text->end - text->next)), SLAD_ERROR_DATA,
                 "%s: the file holds NUL bytes, so it is not a CSV text; save it as UTF-8", text->path);
    SLAD_TRY(read_header(context, &kinds, &columns, text));
    while (text->next < text->end) {
        if (is_blank_line(text)) continue;
        SLAD_TRY(slad_grow(context, &list->rows, &list->capacity, list->count + 1, sizeof *list->rows, "CSV rows"));
        SLAD_TRY(read_row(context, &list->rows[list->count], text, kinds, columns));
        list->count++;
    }
cleanup:
    slad_release(kinds);
    return status;
}

/* The distinct labels of the training rows, in byte order. */
static slad_status collect_classes(slad_context *context, slad_dataset *dataset, const csv_list *list)
{
    slad_status status = SLAD_OK;
    const char **labels = NULL;
    size_t count = 0;
    SLAD_TRY(slad_allocate(context, &labels, list->count, sizeof *labels, "labels"));
    for (size_t i = 0; i < list->count; i++)
        if (list->rows[i].split == SLAD_SPLIT_TRAIN) labels[count++] = list->rows[i].fields[COLUMN_LABEL];
    SLAD_TRY(slad_dataset_collect_classes(context, dataset, labels, count));
cleanup:
    slad_release((void *)labels);
    return status;
}

slad_status slad_dataset_read_csv(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    char *bytes = NULL;
    size_t size = 0;
    csv_list list = {0};
    const char *slash = strrchr(path, '/');
    SLAD_TRY(slad_format(context, &dataset->root, "%.*s", slash ? (int)(slash - path + 1) : 0, path));
    SLAD_TRY(slad_file_read_all(context, &bytes, &size, path, FILE_LIMIT));
    csv_text text = {path, bytes, bytes + size, 1};
    SLAD_TRY(read_rows(context, &list, &text));
    SLAD_TRY(collect_classes(context, dataset, &list));
    for (size_t i = 0; i < list.count; i++) {
        const csv_row *row = &list.rows[i];
        const char *name = row->fields[COLUMN_LABEL];
        const int32_t label = slad_dataset_find_sorted_class(dataset, name);
        SLAD_FAIL_IF(label < 0, SLAD_ERROR_DATA, "%s:%zu: no training image has the label \"%s\"", path, row->line,
                     name);
        SLAD_TRY(slad_dataset_add_file(context, dataset, row->split, row->fields[COLUMN_PATH], label));
    }
cleanup:
    slad_release(list.rows);
    slad_release(bytes);
    return status;
}
