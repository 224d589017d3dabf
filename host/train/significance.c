#include "train/significance.h"
#include <math.h>

/* Twice the probability of at most `fewer` of n tosses of a fair coin. n is small: no term leaves a double's range. */
static double binomial_p(size_t fewer, size_t n)
{
    double term = pow(0.5, (double)n), sum = 0;
    for (size_t k = 0; k <= fewer; k++) {
        sum += term;
        term *= (double)(n - k) / (double)(k + 1);
    }
    return fmin(1, 2 * sum);
}

slad_mcnemar slad_mcnemar_test(size_t only_first, size_t only_second)
{
    const size_t n = only_first + only_second, fewer = only_first < only_second ? only_first : only_second;
    slad_mcnemar test = {.only_first = only_first, .only_second = only_second, .exact = n < SLAD_MCNEMAR_EXACT_BELOW};
    if (test.exact) {
        test.p = binomial_p(fewer, n);
        return test;
    }
    const double difference = fmax(0, (double)(n - 2 * fewer) - 1);
    test.statistic = difference * difference / (double)n;
    test.p = erfc(sqrt(test.statistic / 2)); /* of chi-squared with one degree of freedom: a normal, squared */
    return test;
}
