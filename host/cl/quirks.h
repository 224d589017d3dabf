/* The quirk table: what is known of certain drivers that they do not say themselves. platforms/quirks.def holds the rows. */
#ifndef SLAD_CL_QUIRKS_H
#define SLAD_CL_QUIRKS_H

#include "cl/device.h"

typedef struct slad_quirk {
    const char *platform; /* glob over the platform's name, case ignored */
    const char *vendor;   /* glob over the device's vendor string */
    const char *device;   /* glob over the device's name */
    const char *driver_from, *driver_to; /* range of dotted versions, from <= driver < to; "" open */
    const char *feature;  /* a field of slad_features, or "unusable" */
    int value;
    const char *reason, *evidence; /* for people; evidence is a link or a measurement that anyone can repeat */
} slad_quirk;

extern const slad_quirk slad_quirk_table[];
extern const size_t slad_quirk_count;

/* Applies each matching row of `table` to features, in order, and notes it in the device. A row that says "unusable"
 * sets info.usable and info.reason. */
void slad_quirks_apply(slad_device *device, const slad_quirk *table, size_t count);

#endif
