/* Applying the quirk table. */
#include "cl/quirks.h"
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const slad_quirk slad_quirk_table[] = {
#define QUIRK(platform, vendor, device, from, to, feature, value, reason, evidence)                                    \
    {platform, vendor, device, from, to, feature, value, reason, evidence},
#include "quirks.def"
#undef QUIRK
};
const size_t slad_quirk_count = sizeof slad_quirk_table / sizeof slad_quirk_table[0];

static int lower(char letter)
{
    return tolower((unsigned char)letter);
}

bool slad_glob_matches(const char *glob, const char *text)
{
    /* Where the last * was seen, to try again with one more letter taken by it. */
    const char *star = NULL, *taken = NULL;
    while (*text) {
        if (*glob == '*') {
            star = glob++;
            taken = text;
        } else if (*glob == '?' || (*glob && lower(*glob) == lower(*text))) {
            glob++;
            text++;
        } else if (star) {
            glob = star + 1;
            text = ++taken;
        } else {
            return false;
        }
    }
    while (*glob == '*') glob++;
    return !*glob;
}

/* The next number of a dotted version, moving *text behind it; 0 at its end. */
static unsigned long next_number(const char **text)
{
    if (!isdigit((unsigned char)**text)) return 0;
    char *end = NULL;
    const unsigned long number = strtoul(*text, &end, 10);
    *text = end[0] == '.' && isdigit((unsigned char)end[1]) ? end + 1 : "";
    return number;
}

int slad_version_compare(const char *a, const char *b)
{
    a += strcspn(a, "0123456789");
    b += strcspn(b, "0123456789");
    while (*a || *b) {
        const unsigned long left = next_number(&a), right = next_number(&b);
        if (left != right) return left < right ? -1 : 1;
    }
    return 0;
}

static bool applies(const slad_quirk *row, const slad_device_info *info)
{
    if (!slad_glob_matches(row->platform, info->platform) || !slad_glob_matches(row->vendor, info->vendor) ||
        !slad_glob_matches(row->device, info->name))
        return false;
    const bool has_version = info->driver[strcspn(info->driver, "0123456789")] != '\0';
    if ((row->driver_from[0] || row->driver_to[0]) && !has_version) return false;
    return (!row->driver_from[0] || slad_version_compare(info->driver, row->driver_from) >= 0) &&
           (!row->driver_to[0] || slad_version_compare(info->driver, row->driver_to) < 0);
}

typedef struct feature_field {
    const char *name;
    size_t offset;
    bool is_flag;
} feature_field;

#define NUMBER(field)                                                                                                  \
    {                                                                                                                  \
#field, offsetof(slad_features, field), false                                                                  \
    }
#define FLAG(field)                                                                                                    \
    {                                                                                                                  \
#field, offsetof(slad_features, field), true                                                                   \
    }
static const feature_field feature_fields[] = {
    NUMBER(vector_width),           NUMBER(row_lanes),     NUMBER(group_size), NUMBER(block_group_size),
    NUMBER(max_groups_per_enqueue), FLAG(has_fma),         FLAG(use_clblast),  FLAG(pass_c_standard),
    FLAG(cache_programs),           FLAG(whole_transfers),
};
_Static_assert(sizeof feature_fields / sizeof feature_fields[0] <= SLAD_MAX_FEATURES,
               "slad_device_details has room for all features");

bool slad_features_set(slad_features *features, const char *name, int value)
{
    for (size_t i = 0; i < sizeof feature_fields / sizeof feature_fields[0]; i++) {
        if (strcmp(feature_fields[i].name, name) != 0) continue;
        void *field = (char *)features + feature_fields[i].offset;
        if (feature_fields[i].is_flag) {
            *(bool *)field = value != 0;
        } else {
            *(unsigned *)field = (unsigned)value;
        }
        return true;
    }
    return false;
}

size_t slad_features_list(slad_device_feature *list, const slad_features *features)
{
    const size_t count = sizeof feature_fields / sizeof feature_fields[0];
    for (size_t i = 0; i < count; i++) {
        const void *field = (const char *)features + feature_fields[i].offset;
        list[i].name = feature_fields[i].name;
        list[i].value = feature_fields[i].is_flag ? *(const bool *)field : *(const unsigned *)field;
    }
    return count;
}

void slad_quirks_apply(slad_device *device, const slad_quirk *table, size_t count)
{
    slad_device_info *info = &device->info;
    const size_t room = sizeof device->quirks / sizeof device->quirks[0];
    for (size_t i = 0; i < count && device->quirk_count < room; i++) {
        const slad_quirk *row = &table[i];
        if (!applies(row, info)) continue;
        if (strcmp(row->feature, "unusable") == 0) {
            if (info->usable) (void)snprintf(info->reason, sizeof info->reason, "%s", row->reason);
            info->usable = false;
        } else if (!slad_features_set(&device->features, row->feature, row->value)) {
            slad_log(device->context, SLAD_LOG_ERROR, "the quirk table names an unknown feature \"%s\"", row->feature);
            continue;
        }
        device->quirks[device->quirk_count++] = row;
    }
}
