/* The learning-rate schedule against values worked out by hand, and the option table. */
#include "scratch.h"

#include "train/schedule.h"
#include <locale.h>
#include <math.h>

static void assert_near(double measured, double expected)
{
    if (!(fabs(measured - expected) <= 1e-12)) fail_msg("%.15g is not %.15g", measured, expected);
}

static void test_cosine(void **state)
{
    (void)state;
    assert_int_equal(slad_schedule_warmup_steps(0.05, 20), 1);
    assert_int_equal(slad_schedule_warmup_steps(0.05, 21), 2);
    assert_int_equal(slad_schedule_warmup_steps(0, 100), 0);
    assert_int_equal(slad_schedule_warmup_steps(0.1, 30), 3); /* not 4: 0.1 * 30 is a little above 3 in double */
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 0.2, 0, 10), 0);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 0.2, 1, 10), 0.5);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 0.2, 2, 10), 1);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 0.2, 6, 10), 0.5);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 0.2, 10, 10), 0);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 0, 0, 1), 1);
}

static void test_others(void **state)
{
    (void)state;
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_CONSTANT, 0.5, 1, 4), 0.5);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_CONSTANT, 0.5, 3, 4), 1);
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_POLY, 0, 5, 10), pow(0.5, 0.9));
    assert_near(slad_schedule_factor(SLAD_SCHEDULE_COSINE, 1, 3, 4), 0.75); /* all of it warm-up */
}

/* The usual warm-up of an average, until the decay that was asked for. */
static void test_average(void **state)
{
    (void)state;
    assert_near(slad_schedule_average_share(0.9, 0), 1);
    assert_near(slad_schedule_average_share(0.9, 1), 1 - 2.0 / 11);
    assert_near(slad_schedule_average_share(0.9, 79), 1 - 80.0 / 89);
    assert_near(slad_schedule_average_share(0.9, 80), 0.1);
    assert_near(slad_schedule_average_share(0.9, 1000), 0.1);
    assert_near(slad_schedule_average_share(0.1, 1), 0.9);
}

/* Every option of this version reads back what was set, and its default is in range. */
static void test_option_table(void **state)
{
    scratch *own = *state;
    slad_train_options options = slad_train_options_default();
    char text[SLAD_OPTION_TEXT], again[SLAD_OPTION_TEXT];
    size_t available = 0;
    assert_int_equal(slad_train_options_check(own->context, &options), SLAD_OK);
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const slad_option *option = slad_train_option_at(i);
        assert_int_equal(slad_train_options_get(&options, option->name, text), option->available);
        if (!option->available) {
            assert_int_equal(slad_train_options_set(own->context, &options, option->name, "1"), SLAD_ERROR_USAGE);
            assert_message(own, option->name);
            continue;
        }
        available++;
        assert_int_equal(slad_train_options_set(own->context, &options, option->name, text), SLAD_OK);
        assert_true(slad_train_options_get(&options, option->name, again));
        assert_string_equal(text, again);
        assert_int_equal(slad_train_options_set(own->context, &options, option->name, "no such value"),
                         SLAD_ERROR_USAGE);
        assert_message(own, option->name);
    }
    assert_true(available >= 25);
}

static void test_presets(void **state)
{
    scratch *own = *state;
    slad_train_options options = slad_train_options_default();
    assert_int_equal(options.share, SLAD_SHARE_BOTH);
    assert_int_equal(slad_train_options_set(own->context, &options, "method", "joint"), SLAD_OK);
    assert_int_equal(options.share, SLAD_SHARE_NONE);
    assert_int_equal(slad_train_options_set(own->context, &options, "share", "both"), SLAD_OK);
    assert_int_equal(slad_train_options_check(own->context, &options), SLAD_OK);
    assert_int_equal(slad_train_options_set(own->context, &options, "method", "lora"), SLAD_OK);
    assert_int_equal(slad_train_options_set(own->context, &options, "share", "both"), SLAD_OK);
    assert_int_equal(slad_train_options_check(own->context, &options), SLAD_ERROR_USAGE);
    assert_message(own, "--share");
}

static void refuse(scratch *own, slad_train_options options, const char *part)
{
    assert_int_equal(slad_train_options_check(own->context, &options), SLAD_ERROR_USAGE);
    assert_message(own, part);
}

/* The convex loss shares a weight of 1 between labels and teacher: nothing else may claim to weigh them. */
static void test_convex(void **state)
{
    scratch *own = *state;
    slad_train_options options = slad_train_options_default(), other;
    assert_int_equal(slad_train_options_set(own->context, &options, "loss", "convex"), SLAD_OK);
    assert_int_equal(slad_train_options_set(own->context, &options, "alpha-kl", "0.3"), SLAD_OK);
    assert_int_equal(slad_train_options_check(own->context, &options), SLAD_OK);
    other = options;
    other.alpha_kl = 1.5;
    refuse(own, other, "--alpha-kl must lie in 0 to 1");
    other = options;
    other.alpha_student = 0.5;
    refuse(own, other, "--alpha-student");
    other = options;
    slad_train_options_set_method(&other, SLAD_METHOD_LORA);
    refuse(own, other, "--loss convex");
    other = slad_train_options_default();
    other.label_smoothing = 1.01;
    refuse(own, other, "--label-smoothing");
}

/* Whatever the method, some loss must reach what is trained. */
static void test_no_loss(void **state)
{
    scratch *own = *state;
    static const struct {
        slad_method method;
        double student, teacher, kl;
        const char *part; /* NULL: allowed */
    } cases[] = {
        {SLAD_METHOD_SLAD, 0, 0, 0, "Nothing would be trained"},
        {SLAD_METHOD_SLAD, 0, 1, 0, NULL},
        {SLAD_METHOD_SLAD, 0, 0, 1, NULL},
        {SLAD_METHOD_LORA, 0, 1, 1, "--alpha-student"},
        {SLAD_METHOD_PROBE, 0, 1, 1, "--alpha-student"},
        {SLAD_METHOD_KD_LORA, 1, 0, 1, "teacher's stage"},
        {SLAD_METHOD_KD_LORA, 0, 1, 0, "student's stage"},
        {SLAD_METHOD_KD_LORA, 0, 1, 1, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slad_train_options options = slad_train_options_default();
        slad_train_options_set_method(&options, cases[i].method);
        options.alpha_student = cases[i].student;
        options.alpha_teacher = cases[i].teacher;
        options.alpha_kl = cases[i].kl;
        if (cases[i].part)
            refuse(own, options, cases[i].part);
        else
            assert_int_equal(slad_train_options_check(own->context, &options), SLAD_OK);
        options.feature_loss = SLAD_FEATURE_LOSS_CLS;
        if (i == 0) assert_int_equal(slad_train_options_check(own->context, &options), SLAD_OK);
        options.alpha_feature = 0;
        if (i == 0) refuse(own, options, cases[i].part);
    }
}

/* Options are read and told with a point where the program's locale has a comma; skipped without such a locale. */
static void test_locale(void **state)
{
    scratch *own = *state;
    slad_train_options options = slad_train_options_default();
    char text[SLAD_OPTION_TEXT];
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) skip();
    const slad_status number = slad_train_options_set(own->context, &options, "tau", "2.5");
    const slad_status pair = slad_train_options_set(own->context, &options, "crop-scale", "0.5,0.75");
    const bool told = slad_train_options_get(&options, "crop-scale", text);
    (void)setlocale(LC_NUMERIC, "C");
    assert_int_equal(number, SLAD_OK);
    assert_int_equal(pair, SLAD_OK);
    assert_true(told && options.tau == 2.5 && options.crop_scale[1] == 0.75);
    assert_string_equal(text, "0.5,0.75");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_average),
        cmocka_unit_test_setup_teardown(test_option_table, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_presets, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_convex, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_no_loss, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_locale, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
