/* Philox against its published values, and the distributions made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first. */
#include <cmocka.h>

#include "base/random.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* "philox4x32 10" of the known-answer file of Random123, the authors' own library. */
static void blocks_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], block[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t block[4] = {0};
        slad_philox(block, known[i].counter, known[i].key);
        assert_memory_equal(block, known[i].block, sizeof block);
    }
}

static void sequences_depend_on_all_that_names_them(void **state)
{
    (void)state;
    slad_random sequences[] = {
        slad_random_start(1, SLAD_RANDOM_HEAD, 2, 3),
        slad_random_start(1, SLAD_RANDOM_HEAD, 2, 3),
        slad_random_start(2, SLAD_RANDOM_HEAD, 2, 3),
        slad_random_start(1 + ((uint64_t)1 << 32), SLAD_RANDOM_HEAD, 2, 3),
        slad_random_start(1, SLAD_RANDOM_ADAPTER, 2, 3),
        slad_random_start(1, SLAD_RANDOM_HEAD, 3, 3),
        slad_random_start(1, SLAD_RANDOM_HEAD, 2, 4),
    };
    enum { COUNT = sizeof sequences / sizeof sequences[0], WORDS = 10 };
    uint32_t words[COUNT][WORDS];
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < WORDS; j++) words[i][j] = slad_random_u32(&sequences[i]);
    }
    assert_memory_equal(words[0], words[1], sizeof words[0]);
    for (size_t i = 2; i < COUNT; i++) {
        for (size_t k = 0; k < i; k++) {
            if (k != 1) assert_memory_not_equal(words[i], words[k], sizeof words[0]);
        }
    }
    /* The first block of a sequence is the block of its counter. */
    const uint32_t counter[4] = {0, 2, 3, SLAD_RANDOM_HEAD}, key[2] = {1, 0};
    uint32_t block[4];
    slad_philox(block, counter, key);
    assert_memory_equal(words[0], block, sizeof block);
}

static void uniform_numbers_fill_their_interval(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    slad_random random = slad_random_start(7, SLAD_RANDOM_VERIFY, 0, 0);
    double sum = 0, squares = 0;
    float lowest = 1, highest = 0;
    for (int i = 0; i < COUNT; i++) {
        const float value = slad_random_uniform(&random);
        assert_true(value >= 0.0f && value < 1.0f);
        sum += value;
        squares += (double)value * value;
        lowest = value < lowest ? value : lowest;
        highest = value > highest ? value : highest;
    }
    const double mean = sum / COUNT;
    assert_true(fabs(mean - 0.5) < 0.004); /* four standard errors */
    assert_true(fabs(squares / COUNT - mean * mean - 1.0 / 12.0) < 0.001);
    assert_true(lowest < 0.001f && highest > 0.999f);
}

static void bounded_numbers_have_no_bias(void **state)
{
    (void)state;
    enum { BOUND = 7, COUNT = 70000 };
    slad_random random = slad_random_start(8, SLAD_RANDOM_SHUFFLE, 0, 0);
    unsigned counts[BOUND] = {0};
    for (int i = 0; i < COUNT; i++) {
        const uint32_t value = slad_random_below(&random, BOUND);
        assert_true(value < BOUND);
        counts[value]++;
    }
    for (int i = 0; i < BOUND; i++) assert_in_range(counts[i], 9600, 10400);
    assert_int_equal(slad_random_below(&random, 1), 0);
    /* With 3 * 2^30, a plain remainder would give the first third twice as often. */
    unsigned low = 0;
    for (int i = 0; i < 30000; i++) low += slad_random_below(&random, 0xC0000000u) < 0x40000000u;
    assert_in_range(low, 9600, 10400);
}

static void normal_numbers_are_normal(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    slad_random random = slad_random_start(9, SLAD_RANDOM_ADAPTER, 0, 0);
    double sum = 0, squares = 0, fourth = 0;
    for (int i = 0; i < COUNT; i++) {
        const double value = (double)slad_random_normal(&random);
        assert_true(isfinite(value));
        sum += value;
        squares += value * value;
        fourth += value * value * value * value;
    }
    assert_true(fabs(sum / COUNT) < 0.013);
    assert_true(fabs(squares / COUNT - 1.0) < 0.02);
    assert_true(fabs(fourth / COUNT - 3.0) < 0.15);
}

/* Mean 1/2, variance 1 / (4 (2 alpha + 1)), and for alpha 1 the uniform distribution. */
static void beta_numbers_have_their_moments(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    static const double alphas[] = {0.01, 0.2, 1, 2.5, 100};
    for (size_t a = 0; a < sizeof alphas / sizeof *alphas; a++) {
        slad_random random = slad_random_start(11, SLAD_RANDOM_MIX, (uint32_t)a, 0);
        double sum = 0, squares = 0;
        unsigned tenths[11] = {0};
        for (int i = 0; i < COUNT; i++) {
            const double value = slad_random_beta(&random, alphas[a]);
            assert_true(value >= 0 && value <= 1);
            sum += value;
            squares += (value - 0.5) * (value - 0.5);
            tenths[(int)(10 * value)]++;
        }
        const double variance = 0.25 / (2 * alphas[a] + 1);
        assert_true(fabs(sum / COUNT - 0.5) < 4 * sqrt(variance / COUNT));
        assert_true(fabs(squares / COUNT / variance - 1) < 0.012);
        for (int t = 0; t < 10 && alphas[a] == 1; t++) assert_in_range(tenths[t], 19450, 20550);
    }
}

static void permutations_hold_each_number_once(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    uint32_t order[COUNT + 1], again[COUNT + 1];
    order[COUNT] = again[COUNT] = 4242;
    slad_random random = slad_random_start(10, SLAD_RANDOM_SHUFFLE, 5, 0);
    slad_random_permutation(order, COUNT, &random);
    bool seen[COUNT] = {false};
    unsigned fixed = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(order[i] < COUNT);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        fixed += order[i] == i;
    }
    assert_true(fixed < 10);
    random = slad_random_start(10, SLAD_RANDOM_SHUFFLE, 5, 0);
    slad_random_permutation(again, COUNT, &random);
    assert_memory_equal(order, again, sizeof order);
    assert_int_equal(order[COUNT], 4242);
    slad_random_permutation(order, 0, &random);
}

/* Each of the six orders of three things comes up about equally often. */
static void permutations_are_fair(void **state)
{
    (void)state;
    unsigned counts[27] = {0};
    slad_random random = slad_random_start(11, SLAD_RANDOM_SHUFFLE, 0, 0);
    for (int i = 0; i < 60000; i++) {
        uint32_t order[3];
        slad_random_permutation(order, 3, &random);
        counts[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    unsigned orders = 0;
    for (int i = 0; i < 27; i++) {
        if (counts[i] == 0) continue;
        orders++;
        assert_in_range(counts[i], 9600, 10400);
    }
    assert_int_equal(orders, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_the_published_ones),
        cmocka_unit_test(sequences_depend_on_all_that_names_them),
        cmocka_unit_test(uniform_numbers_fill_their_interval),
        cmocka_unit_test(bounded_numbers_have_no_bias),
        cmocka_unit_test(normal_numbers_are_normal),
        cmocka_unit_test(beta_numbers_have_their_moments),
        cmocka_unit_test(permutations_hold_each_number_once),
        cmocka_unit_test(permutations_are_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
