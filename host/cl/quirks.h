/* The quirk table: what is known of certain drivers that they do not say themselves. platforms/quirks.def holds the
 * rows. */
#ifndef SLAD_CL_QUIRKS_H
#define SLAD_CL_QUIRKS_H

#include "cl/device.h"

typedef struct slad_quirk {
    const char *platform;                /* glob over the platform's name, case ignored */
    const char *vendor;                  /* glob over the device's vendor string */
    const char *device;                  /* glob over the device's name */
    const char *driver_from, *driver_to; /* range of dotted versions, from <= driver < to; "" open */
    const char *feature;                 /* a field of slad_features, or "unusable" */
    int value;
    const char *reason, *evidence; /* for people; evidence is a link or a measurement that anyone can repeat */
} slad_quirk;

extern const slad_quirk slad_quirk_table[];
extern const size_t slad_quirk_count;

/* Applies each matching row of `table` to features, in order, and notes it in the device. A row that says "unusable"
 * sets info.usable and info.reason. */
void slad_quirks_apply(slad_device *device, const slad_quirk *table, size_t count);

/* Sets one field of features by its name; false if there is none of that name. */
bool slad_features_set(slad_features *features, const char *name, int value);
/* Lists all fields by name; the array has room for SLAD_MAX_FEATURES. Returns how many there are. */
size_t slad_features_list(slad_device_feature *list, const slad_features *features);
/* Whether the whole text matches: * any letters, ? one letter, case ignored. */
bool slad_glob_matches(const char *glob, const char *text);
/* Below, at or above 0 as a < b, a == b, a > b. Dotted numbers from the first digit on; what follows them is ignored,
 * and missing numbers count as 0: "E031.41" = "31.41.0". */
int slad_version_compare(const char *a, const char *b);

#endif
