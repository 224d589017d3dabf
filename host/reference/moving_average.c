#include "reference/moving_average.h"

void slad_reference_moving_average(float *average, const float *values, double share, size_t elements)
{
    for (size_t i = 0; i < elements; i++)
        average[i] = (float)((double)average[i] + share * ((double)values[i] - (double)average[i]));
}
