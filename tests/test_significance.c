/* McNemar's test against known values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first. */
#include <cmocka.h>

#include "train/significance.h"
#include <math.h>

static void check(size_t only_first, size_t only_second, bool exact, double statistic, double p)
{
    const slad_mcnemar test = slad_mcnemar_test(only_first, only_second),
                       other = slad_mcnemar_test(only_second, only_first);
    assert_int_equal(test.only_first, only_first);
    assert_int_equal(test.only_second, only_second);
    assert_int_equal(test.exact, exact);
    assert_true(fabs(test.statistic - statistic) <= 1e-4 * (1 + statistic));
    assert_true(fabs(test.p - p) <= 2e-4 * p);
    assert_true(test.p == other.p && test.statistic == other.statistic);
}

/* Binomial probabilities that can be counted by hand. */
static void test_exact(void **state)
{
    (void)state;
    check(0, 0, true, 0, 1);
    check(1, 0, true, 0, 1);
    check(5, 0, true, 0, 2.0 / 32);
    check(3, 1, true, 0, 10.0 / 16);
    check(1, 10, true, 0, 24.0 / 2048);
    check(12, 12, true, 0, 1);
    check(4, 20, true, 0, 2.0 * (1 + 24 + 276 + 2024 + 10626) / 16777216);
}

/* 86 and 150: the approval ratings of Agresti's Categorical Data Analysis, as R's mcnemar.test computes them
 * (chi-squared 16.82, p 4.115e-05); 121 and 59: the example of Wikipedia's page with the correction (20.67). */
static void test_chi_squared(void **state)
{
    (void)state;
    check(86, 150, false, 16.8178, 4.1148e-5);
    check(121, 59, false, 20.6722, 5.4502e-6);
    check(13, 13, false, 0, 1);
    check(12, 13, false, 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_chi_squared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
