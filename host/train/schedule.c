#include "train/schedule.h"
#include <math.h>

#define POLY_POWER 0.9
static const double pi = 3.14159265358979323846;

uint64_t slad_schedule_warmup_steps(double warmup, uint64_t total)
{
    return (uint64_t)ceil(warmup * (double)total - 1e-9);
}

double slad_schedule_factor(slad_schedule_kind kind, double warmup, uint64_t step, uint64_t total)
{
    const uint64_t rising = slad_schedule_warmup_steps(warmup, total);
    if (step < rising) return (double)step / (double)rising;
    const uint64_t span = total > rising ? total - rising : 1;
    const double done = step - rising < span ? (double)(step - rising) / (double)span : 1.0;
    if (kind == SLAD_SCHEDULE_COSINE) return 0.5 * (1.0 + cos(pi * done));
    if (kind == SLAD_SCHEDULE_POLY) return pow(1.0 - done, POLY_POWER);
    return 1.0;
}

double slad_schedule_average_share(double decay, uint64_t update)
{
    const double warm = (1.0 + (double)update) / (10.0 + (double)update);
    return update == 0 ? 1.0 : 1.0 - fmin(decay, warm);
}
