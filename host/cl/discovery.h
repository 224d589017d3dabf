/* Finding the devices of this machine, and choosing one. Private to this room. */
#ifndef SLAD_CL_DISCOVERY_H
#define SLAD_CL_DISCOVERY_H

#include "cl/device.h"

/* Devices as discovery leaves them: info, capabilities, features (quirks applied), platform and id; not opened. */
typedef struct slad_discovery {
    slad_device *devices;
    size_t count, capacity;
    slad_platform_info *platforms;
    size_t platform_count;
} slad_discovery;

/* Asks every platform. What fails is logged and leaves a device unusable with its reason, or a platform empty. */
slad_status slad_discovery_run(slad_context *context, slad_discovery *discovery);
void slad_discovery_free(slad_discovery *discovery);

/* Fills info and capabilities of one device by asking its driver; the first query that fails, and everything that slad
 * cannot do without, ends up in info.reason. */
slad_status slad_device_query(slad_device *device);
/* Default features from type, limits and native vector width. */
void slad_features_set_defaults(slad_device *device);

/* The device that answers a spec (see slad_device_options.spec). Errors: SLAD_ERROR_NO_DEVICE, listing what is there.
 */
slad_status slad_discovery_select(slad_context *context, const slad_device **chosen, const slad_discovery *discovery,
                                  const char *spec);

#endif
