#include "base/rates.h"
#include <stdlib.h>

void slad_rates_add(slad_rates *rates, double rate)
{
    if (rates->count < SLAD_MOST_RATES) rates->all[rates->count++] = rate;
}

static int compare_rates(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

slad_measured slad_rates_measured(const slad_rates *rates)
{
    slad_rates sorted = *rates;
    if (rates->count == 0) return (slad_measured){0};
    qsort(sorted.all, sorted.count, sizeof sorted.all[0], compare_rates);
    return (slad_measured){
        .median = sorted.all[sorted.count / 2],
        .least = sorted.all[0],
        .greatest = sorted.all[sorted.count - 1],
        .count = sorted.count,
    };
}

double slad_rates_best(const slad_rates *rates)
{
    return slad_rates_measured(rates).greatest;
}

double slad_rates_median(const slad_rates *rates)
{
    return slad_rates_measured(rates).median;
}
