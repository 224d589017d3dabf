/* Default features of a device, from what it reports. */
#include "cl/discovery.h"

/* The largest power of two that is at most `limit` and at most `wanted` (a power of two). */
static unsigned clamp_power(unsigned wanted, uint64_t limit)
{
    while (wanted > 1 && wanted > limit) wanted /= 2;
    return wanted;
}

void slad_features_set_defaults(slad_device *device)
{
    enum { LANES = 64, GROUP = 64 };
    const slad_device_info *info = &device->info;
    const unsigned native = device->capabilities.native_float_width;
    /* A row reduction keeps a few floats a lane in local memory. */
    const uint64_t lanes_in_local_memory = info->local_memory / (4 * sizeof(cl_float));
    const unsigned lanes = clamp_power(LANES, info->max_work_group);
    const unsigned group = clamp_power(GROUP, info->max_work_group);

    slad_features features = {.vector_width = 4, .row_lanes = 1, .group_size = group, .block_group_size = 1};
    if (info->type == SLAD_DEVICE_GPU) {
        features.row_lanes = clamp_power(lanes, lanes_in_local_memory);
        features.block_group_size = group;
        features.use_clblast = true;
    } else if (info->type == SLAD_DEVICE_CPU) {
        features.vector_width = native >= 16 ? 16 : native >= 8 ? 8 : 4;
    }
    features.has_fma = device->capabilities.fma;
    features.pass_c_standard = true;
    features.cache_programs = true;
    device->features = features;
}
