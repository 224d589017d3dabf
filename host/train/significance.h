/* McNemar's test: whether two classifiers differ in accuracy on the same images. It looks only at the images that one
 * of them has right and the other wrong; if the classifiers were equally good, each such image would fall to either
 * with probability 1/2. */
#ifndef SLAD_TRAIN_SIGNIFICANCE_H
#define SLAD_TRAIN_SIGNIFICANCE_H

#include <stdbool.h>
#include <stddef.h>

/* With fewer images than this that only one has right, the p-value comes from the binomial distribution. */
enum { SLAD_MCNEMAR_EXACT_BELOW = 25 };

typedef struct slad_mcnemar {
    size_t only_first, only_second; /* images that only one has right */
    bool exact;                     /* p is of the binomial distribution, else of chi-squared */
    double statistic;               /* chi-squared of one degree of freedom, Edwards' correction; 0 where exact */
    double p;                       /* two-sided */
} slad_mcnemar;

slad_mcnemar slad_mcnemar_test(size_t only_first, size_t only_second);

#endif
