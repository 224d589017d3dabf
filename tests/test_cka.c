/* CKA: against PyTorch in another form, its invariances, and what it refuses. */
#include "formula.h"

#include "train/cka.h"

static float *values_of(const char *name, size_t count, double shift)
{
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    formula_tensor(values, count, name, 1.0, shift);
    return values;
}

static double cka_of(scratch *own, const float *x, size_t p, const float *y, size_t q, size_t n)
{
    slad_cka cka = {0};
    assert_int_equal(slad_cka_add(own->context, &cka, x, p, y, q, n), SLAD_OK);
    return slad_cka_value(&cka);
}

/* The cases of tests/oracle/make_cka.py: n, p, q, minibatches. */
static void test_against_torch(void **state)
{
    static const size_t cases[][4] = {{4, 3, 5, 1}, {5, 1, 1, 3}, {16, 7, 3, 2}, {33, 65, 40, 2}, {64, 48, 96, 1}};
    scratch *own = *state;
    slad_safetensors *fixture;
    assert_int_equal(slad_safetensors_open(own->context, &fixture, SLAD_FIXTURES "/cka.safetensors"), SLAD_OK);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const size_t n = cases[c][0], p = cases[c][1], q = cases[c][2], batches = cases[c][3];
        char name[64];
        float *x = values_of("cka.x", batches * n * p, 0.5), *y = values_of("cka.y", batches * n * q, 0);
        for (size_t row = 0; row < batches * n; row++)
            for (size_t d = 0; d < p && d < q; d++) y[row * q + d] += x[row * p + d];
        slad_cka cka = {0};
        for (size_t b = 0; b < batches; b++)
            assert_int_equal(slad_cka_add(own->context, &cka, x + b * n * p, p, y + b * n * q, q, n), SLAD_OK);
        (void)snprintf(name, sizeof name, "%zu.%zu.%zu.%zu", n, p, q, batches);
        float *expected = fixture_read(own, fixture, name, NULL);
        if (!(fabs(slad_cka_value(&cka) - (double)expected[0]) < 1e-6))
            fail_msg("%s: %.9g, not %.9g", name, slad_cka_value(&cka), (double)expected[0]);
        free(expected);
        free(x);
        free(y);
    }
    slad_safetensors_close(fixture);
}

static void test_same_features(void **state)
{
    float *x = values_of("x", (size_t)20 * 9, 3);
    assert_true(fabs(cka_of(*state, x, 9, x, 9, 20) - 1) < 1e-12);
    free(x);
}

/* Rotation, scale, shift and padding of one side change nothing. */
static void test_invariances(void **state)
{
    enum { N = 12, P = 4, Q = 6 };
    scratch *own = *state;
    float *x = values_of("x", (size_t)N * P, 0), *y = values_of("y", (size_t)N * Q, 0);
    for (size_t i = 0; i < (size_t)N * P; i++) y[i / P * Q + i % P] += 2 * x[i];
    const double plain = cka_of(own, x, P, y, Q, N), angle = 0.7;
    float turned[N * P], scaled[N * P], shifted[N * P], padded[N * (P + 3)] = {0};
    for (size_t row = 0; row < N; row++) {
        const float *from = x + row * P;
        float *to = turned + row * P;
        to[0] = (float)(cos(angle) * (double)from[0] - sin(angle) * (double)from[2]);
        to[2] = (float)(sin(angle) * (double)from[0] + cos(angle) * (double)from[2]);
        to[1] = from[3];
        to[3] = -from[1];
        for (size_t d = 0; d < P; d++) {
            scaled[row * P + d] = -12.5f * from[d];
            shifted[row * P + d] = from[d] + 4;
            padded[row * (P + 3) + d + 1] = from[d];
        }
    }
    assert_true(plain > 0.2 && plain < 0.99);
    assert_true(fabs(cka_of(own, turned, P, y, Q, N) - plain) < 1e-6);
    assert_true(fabs(cka_of(own, scaled, P, y, Q, N) - plain) < 1e-6);
    assert_true(fabs(cka_of(own, shifted, P, y, Q, N) - plain) < 1e-6);
    assert_true(fabs(cka_of(own, padded, P + 3, y, Q, N) - plain) < 1e-12);
    assert_true(fabs(cka_of(own, y, Q, x, P, N) - plain) < 1e-12);
    free(x);
    free(y);
}

/* Minibatches are averaged before the ratio is taken, which is not the mean of their ratios. */
static void test_minibatches(void **state)
{
    enum { N = 8, P = 3 };
    scratch *own = *state;
    float *x = values_of("x", (size_t)2 * N * P, 0), *y = values_of("y", (size_t)2 * N * P, 0);
    for (size_t i = 0; i < (size_t)2 * N * P; i++) y[i] = 0.3f * y[i] + (i < (size_t)N * P ? 5 * x[i] : 0);
    slad_cka both = {0}, one = {0}, two = {0};
    assert_int_equal(slad_cka_add(own->context, &one, x, P, y, P, N), SLAD_OK);
    assert_int_equal(slad_cka_add(own->context, &two, x + N * P, P, y + N * P, P, N), SLAD_OK);
    assert_int_equal(slad_cka_add(own->context, &both, x, P, y, P, N), SLAD_OK);
    assert_int_equal(slad_cka_add(own->context, &both, x + N * P, P, y + N * P, P, N), SLAD_OK);
    const double expected = (one.cross + two.cross) / sqrt((one.first + two.first) * (one.second + two.second));
    assert_true(fabs(slad_cka_value(&both) - expected) < 1e-12);
    assert_true(fabs(slad_cka_value(&both) - (slad_cka_value(&one) + slad_cka_value(&two)) / 2) > 0.05);
    assert_int_equal(both.batches, 2);
    free(x);
    free(y);
}

static void test_refusals(void **state)
{
    scratch *own = *state;
    const float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}, constant[12] = {0};
    slad_cka cka = {0};
    assert_true(isnan(slad_cka_value(&cka)));
    assert_int_equal(slad_cka_add(own->context, &cka, x, 4, x, 4, 3), SLAD_ERROR_USAGE);
    assert_message(own, "four images");
    assert_true(isnan(cka_of(own, x, 3, constant, 3, 4)));
    for (uint64_t countdown = 1; countdown <= 4; countdown++) {
        slad_fault_arm(own->context, countdown);
        assert_int_equal(slad_cka_add(own->context, &cka, x, 3, x, 3, 4), SLAD_ERROR_OUT_OF_MEMORY);
    }
    slad_fault_arm(own->context, 0);
    assert_int_equal(cka.batches, 0);
}

static void test_delta(void **state)
{
    (void)state;
    assert_true(slad_cka_delta(0.8, 0.6) > 24.999999 && slad_cka_delta(0.8, 0.6) < 25.000001);
    assert_true(slad_cka_delta(0.5, 1) == -100);
    assert_true(isnan(slad_cka_delta(-0.01, 0.5)) && isnan(slad_cka_delta(0, 0)) && isnan(slad_cka_delta(NAN, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_torch, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_same_features, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_invariances, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_minibatches, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_refusals, scratch_begin, scratch_end),
        cmocka_unit_test(test_delta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
