/* Repeated measurements of one thing, and what is told of them. */
#ifndef SLAD_BASE_RATES_H
#define SLAD_BASE_RATES_H

#include <stddef.h>

enum { SLAD_MOST_RATES = 1024 };

typedef struct slad_rates {
    double all[SLAD_MOST_RATES];
    size_t count;
} slad_rates;

/* Adds a measurement, or nothing when there is no more room. */
void slad_rates_add(slad_rates *rates, double rate);

/* All 0 if there are no measurements. */
typedef struct slad_measured {
    double median, least, greatest;
    size_t count;
} slad_measured;
slad_measured slad_rates_measured(const slad_rates *rates);

/* The greatest, and the one in the middle. */
double slad_rates_best(const slad_rates *rates);
double slad_rates_median(const slad_rates *rates);

#endif
