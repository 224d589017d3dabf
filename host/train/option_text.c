/* Training options as text: setting and reading them by the names of the command line. */
#include "base/error.h"
#include "base/number.h"
#include "train/option_table.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Choices are copied as int into enumerations. */
_Static_assert(sizeof(slad_share) == sizeof(int) && sizeof(slad_share_map) == sizeof(int) &&
                   sizeof(slad_head_kind) == sizeof(int) && sizeof(slad_schedule_kind) == sizeof(int) &&
                   sizeof(slad_augment_kind) == sizeof(int) && sizeof(slad_position_mode) == sizeof(int) &&
                   sizeof(slad_adapt) == sizeof(int) && sizeof(slad_keep) == sizeof(int),
               "enumerations of the options have the size of int");

static const slad_option_row *find_row(const char *name)
{
    for (size_t i = 0; i < slad_option_row_count; i++)
        if (strcmp(slad_option_rows[i].option.name, name) == 0) return &slad_option_rows[i];
    return NULL;
}

static bool parse_number(double *value, const char *text, char end)
{
    const char *rest;
    *value = slad_number_read(text, &rest);
    return rest != text && *rest == end && isfinite(*value);
}

static bool parse_whole(uint64_t *value, const char *text, uint64_t most)
{
    char *rest;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *value = strtoull(text, &rest, 10);
    return *rest == '\0' && errno == 0 && *value <= most;
}

static bool parse_choice(int *value, const slad_option_row *row, const char *text)
{
    for (*value = 0; row->choices[*value]; ++*value)
        if (strcmp(row->choices[*value], text) == 0) return true;
    return false;
}

static bool set_pair(double *pair, const char *text)
{
    const char *comma = strchr(text, ',');
    return comma && parse_number(&pair[0], text, ',') && parse_number(&pair[1], comma + 1, '\0');
}

static bool set_switch(bool *field, const char *text)
{
    *field = strcmp(text, "on") == 0;
    return *field || strcmp(text, "off") == 0;
}

/* A layer map by name, or as a list of teacher layers: "0,2,-1,4". */
static bool set_map(slad_train_options *options, const slad_option_row *row, const char *text)
{
    int choice = 0;
    uint32_t count = 0;
    if (parse_choice(&choice, row, text)) {
        options->share_map = (slad_share_map)choice;
        return true;
    }
    for (const char *rest = text;; count++) {
        char *end;
        errno = 0;
        const long layer = strtol(rest, &end, 10);
        if (end == rest || errno || layer < -1 || layer > INT16_MAX || count == SLAD_SHARE_LIST) return false;
        options->share_list[count] = (int16_t)layer;
        if (*end == '\0') break;
        if (*end != ',') return false;
        rest = end + 1;
    }
    options->share_list_count = count + 1;
    options->share_map = SLAD_MAP_LIST;
    return true;
}

/* "N": steps; "Nm": minutes; 0: none. */
static bool set_interval(slad_train_options *options, const char *text)
{
    double minutes;
    uint64_t steps;
    if (parse_whole(&steps, text, UINT64_MAX)) {
        options->checkpoint_steps = steps;
        options->checkpoint_minutes = 0;
        return true;
    }
    const size_t length = strlen(text);
    if (length < 2 || text[length - 1] != 'm' || !parse_number(&minutes, text, 'm') || minutes <= 0) return false;
    options->checkpoint_steps = 0;
    options->checkpoint_minutes = minutes;
    return true;
}

/* "N": MiB; "NG": GiB; "auto": 0. */
static bool set_mebibytes(uint32_t *field, const char *text)
{
    char digits[16];
    uint64_t whole = 0;
    const size_t length = strlen(text);
    const bool gibibytes = length > 0 && text[length - 1] == 'G';
    if (length >= sizeof digits) return false;
    (void)snprintf(digits, sizeof digits, "%.*s", (int)(length - gibibytes), text);
    if (strcmp(text, "auto") != 0 && (!parse_whole(&whole, digits, UINT32_MAX / 1024) || whole == 0)) return false;
    *field = (uint32_t)(gibibytes ? whole * 1024 : whole);
    return true;
}

/* Parses text into the row's field; false if it is no such value. */
static bool set_field(slad_train_options *options, const slad_option_row *row, const char *text)
{
    char *field = (char *)options + row->offset;
    uint64_t whole = 0;
    int choice = 0;
    switch (row->kind) {
    case KIND_AUTO_U32:
    case KIND_U32:
        if (!(row->kind == KIND_AUTO_U32 && strcmp(text, "auto") == 0) && !parse_whole(&whole, text, UINT32_MAX))
            return false;
        *(uint32_t *)(void *)field = (uint32_t)whole;
        return true;
    case KIND_MEBIBYTES:
        return set_mebibytes((uint32_t *)(void *)field, text);
    case KIND_U64:
        return parse_whole((uint64_t *)(void *)field, text, UINT64_MAX);
    case KIND_NUMBER:
        return parse_number((double *)(void *)field, text, '\0');
    case KIND_PAIR:
        return set_pair((double *)(void *)field, text);
    case KIND_SWITCH:
        return set_switch((bool *)(void *)field, text);
    case KIND_METHOD:
        if (!parse_choice(&choice, row, text)) return false;
        slad_train_options_set_method(options, (slad_method)choice);
        return true;
    case KIND_CHOICE:
        if (!parse_choice(&choice, row, text)) return false;
        memcpy(field, &choice, sizeof choice); /* every enumeration of the options has the size of int */
        return true;
    case KIND_MAP:
        return set_map(options, row, text);
    case KIND_INTERVAL:
        return set_interval(options, text);
    case KIND_ABSENT:
        break;
    }
    return false;
}

slad_status slad_train_options_set(slad_context *context, slad_train_options *options, const char *name,
                                   const char *text)
{
    slad_status status = SLAD_OK;
    const slad_option_row *row = find_row(name);
    SLAD_FAIL_IF(!row, SLAD_ERROR_USAGE, "There is no option --%s; see slad train --help", name);
    SLAD_FAIL_IF(!row->option.available, SLAD_ERROR_USAGE, "Option --%s is not available in this version of slad",
                 name);
    SLAD_FAIL_IF(!set_field(options, row, text), SLAD_ERROR_USAGE,
                 "\"%s\" is no value of --%s in this version of slad; it takes %s", text, name, row->option.values);
cleanup:
    return status;
}

static bool map_text(const slad_train_options *options, const slad_option_row *row, char *text)
{
    size_t used = 0;
    if (options->share_map != SLAD_MAP_LIST)
        return snprintf(text, SLAD_OPTION_TEXT, "%s", row->choices[options->share_map]) > 0;
    for (uint32_t i = 0; i < options->share_list_count && used < SLAD_OPTION_TEXT; i++)
        used += (size_t)snprintf(text + used, SLAD_OPTION_TEXT - used, "%s%d", i ? "," : "", options->share_list[i]);
    return used > 0;
}

static bool interval_text(const slad_train_options *options, char *text)
{
    char minutes[SLAD_NUMBER_SIZE];
    slad_number_text(minutes, 9, options->checkpoint_minutes);
    if (options->checkpoint_minutes > 0) return snprintf(text, SLAD_OPTION_TEXT, "%sm", minutes) > 0;
    return snprintf(text, SLAD_OPTION_TEXT, "%llu", (unsigned long long)options->checkpoint_steps) > 0;
}

static const char *choice_text(const slad_train_options *options, const slad_option_row *row)
{
    int choice;
    memcpy(&choice, (const char *)options + row->offset, sizeof choice);
    return row->choices[choice];
}

bool slad_train_options_get(const slad_train_options *options, const char *name, char *text)
{
    const slad_option_row *row = find_row(name);
    if (!row || !row->option.available) return false;
    const void *field = (const char *)options + row->offset;
    const double *numbers = field;
    char first[SLAD_NUMBER_SIZE], second[SLAD_NUMBER_SIZE];
    switch (row->kind) {
    case KIND_MEBIBYTES:
    case KIND_AUTO_U32:
        if (*(const uint32_t *)field == 0) return snprintf(text, SLAD_OPTION_TEXT, "auto") > 0;
        return snprintf(text, SLAD_OPTION_TEXT, "%u", *(const uint32_t *)field) > 0;
    case KIND_U32:
        return snprintf(text, SLAD_OPTION_TEXT, "%u", *(const uint32_t *)field) > 0;
    case KIND_U64:
        return snprintf(text, SLAD_OPTION_TEXT, "%llu", (unsigned long long)*(const uint64_t *)field) > 0;
    case KIND_NUMBER:
        slad_number_text(text, 9, numbers[0]);
        return true;
    case KIND_PAIR:
        slad_number_text(first, 9, numbers[0]);
        slad_number_text(second, 9, numbers[1]);
        return snprintf(text, SLAD_OPTION_TEXT, "%s,%s", first, second) > 0;
    case KIND_SWITCH:
        return snprintf(text, SLAD_OPTION_TEXT, "%s", *(const bool *)field ? "on" : "off") > 0;
    case KIND_METHOD:
    case KIND_CHOICE:
        return snprintf(text, SLAD_OPTION_TEXT, "%s", choice_text(options, row)) > 0;
    case KIND_MAP:
        return map_text(options, row, text);
    case KIND_INTERVAL:
        return interval_text(options, text);
    case KIND_ABSENT:
        break;
    }
    return false;
}
