/* The moving average of trained values in plain C. */
#ifndef SLAD_REFERENCE_MOVING_AVERAGE_H
#define SLAD_REFERENCE_MOVING_AVERAGE_H

#include <stddef.h>

/* average += share * (values - average), share = 1 - decay. */
void slad_reference_moving_average(float *average, const float *values, double share, size_t elements);

#endif
