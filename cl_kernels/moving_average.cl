/* The moving average of all that is trained, and its exchange with the values themselves. Slabs are whole vectors.
 * Dimension 0: VECTOR_WIDTH elements. */
#include "common.h"

/* As in host/ops/step_values.h. */
#define STEP_AVERAGE   5
#define REPORT_SKIPPED 9

/* average += share * (values - average), unless the report says that the step moved nothing. */
__kernel void moving_average(__global float *restrict average, const uint average_offset,
                             __global const float *restrict values, const uint values_offset,
                             __global const float *restrict step_values, const uint step_values_offset,
                             __global const float *restrict report, const uint report_offset, const uint elements)
{
    const uint place = (uint)get_global_id(0);
    if (place >= elements / VECTOR_WIDTH || report[report_offset + REPORT_SKIPPED] != 0.0f) return;
    const float share = step_values[step_values_offset + STEP_AVERAGE];
    const floatv old = vloadv(place, average + average_offset), value = vloadv(place, values + values_offset);
    vstorev(old + share * (value - old), place, average + average_offset);
}

__kernel void moving_average_exchange(__global float *restrict average, const uint average_offset,
                                      __global float *restrict values, const uint values_offset, const uint elements)
{
    const uint place = (uint)get_global_id(0);
    if (place >= elements / VECTOR_WIDTH) return;
    const floatv old = vloadv(place, average + average_offset), value = vloadv(place, values + values_offset);
    vstorev(value, place, average + average_offset);
    vstorev(old, place, values + values_offset);
}
