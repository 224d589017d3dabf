/* Numbers as text: the digits, and that no locale changes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first. */
#include <cmocka.h>

#include "base/number.h"
#include <locale.h>
#include <math.h>
#include <string.h>

static void check_all(void)
{
    char text[SLAD_NUMBER_SIZE];
    const char *end;
    slad_number_text(text, 9, 0.123456789);
    assert_string_equal(text, "0.123456789");
    slad_number_text(text, 3, -1234567.0);
    assert_string_equal(text, "-1.23e+06");
    slad_number_text(text, 17, -1.0 / 3e-300);
    assert_true(slad_number_read(text, &end) == -1.0 / 3e-300 && *end == '\0');
    slad_number_text(text, 4, NAN);
    assert_non_null(strstr(text, "nan"));
    slad_number_fixed(text, 2, 12.345);
    assert_string_equal(text, "12.35");
    slad_number_fixed(text, 0, 7);
    assert_string_equal(text, "7");
    slad_number_fixed(text, 2, 1e300);
    assert_string_equal(text, "1.0000000000000001e+300");
    assert_true(slad_number_read("0.35,1", &end) == 0.35);
    assert_string_equal(end, ",1");
    assert_true(slad_number_read("2.5e-3", &end) == 2.5e-3 && *end == '\0');
    assert_true(slad_number_read("-3", &end) == -3 && *end == '\0');
    assert_true(slad_number_read("1,5", &end) == 1);
    assert_string_equal(end, ",5");
    assert_true(slad_number_read("1.2.3", &end) == 1.2);
    assert_string_equal(end, ".3");
    static const char *const none[] = {"", "abc", ".", "e5", "inf", "nan", "0x"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        slad_number_read(none[i], &end);
        if (strcmp(none[i], "0x") == 0)
            assert_ptr_equal(end, none[i] + 1);
        else
            assert_ptr_equal(end, none[i]);
    }
}

static void test_plain(void **state)
{
    (void)state;
    check_all();
}

/* In a locale with a decimal comma; skipped where the system has none. */
static void test_comma(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "es_ES.UTF-8", "ps_AF.UTF-8"};
    size_t tried = 0;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!setlocale(LC_NUMERIC, names[i])) continue;
        check_all();
        tried++;
    }
    (void)setlocale(LC_NUMERIC, "C");
    if (tried == 0) skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_comma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
