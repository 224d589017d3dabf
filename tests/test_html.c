/* Pages: escaping, numbers, pictures, charts; and what happens without memory. */
#include "scratch.h"

#include "io/chart.h"
#include <math.h>

static void assert_page(const slad_html *page, const char *part)
{
    if (!strstr(page->text, part)) fail_msg("the page lacks \"%s\": %s", part, page->text);
}

static void test_text(void **state)
{
    scratch *own = *state;
    slad_html page;
    slad_html_begin(&page, own->context, "<script>\"&\"</script>");
    assert_page(&page, "<title>&lt;script&gt;&quot;&amp;&quot;&lt;/script&gt;</title>");
    assert_null(strstr(page.text, "<script"));
    page.length = 0;
    slad_html_text(&page,
                   "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80|\xff|\xc3|\xed\xa0\x80|\xc0\xaf|\n\x01\x7f|");
    assert_string_equal(page.text, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80|\xef\xbf\xbd|\xef\xbf\xbd|"
                                   "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|   |");
    slad_html_free(&page);
}

static void test_numbers(void **state)
{
    scratch *own = *state;
    slad_html page;
    slad_html_begin(&page, own->context, "numbers");
    page.length = 0;
    slad_html_number(&page, 0.000123456, 3);
    slad_html_add(&page, "|");
    slad_html_fixed(&page, 99.995, 1);
    slad_html_add(&page, "|");
    slad_html_fixed(&page, NAN, 1);
    slad_html_add(&page, "|");
    slad_html_count(&page, 1234567);
    slad_html_add(&page, "|");
    slad_html_count(&page, -1);
    slad_html_add(&page, "|");
    slad_html_bytes(&page, 1536);
    slad_html_add(&page, "|");
    slad_html_seconds(&page, 4.25);
    slad_html_add(&page, "|");
    slad_html_seconds(&page, 3725);
    slad_html_add(&page, "|");
    slad_html_seconds(&page, 65);
    assert_string_equal(page.text, "0.000123|100.0|–|1&#8239;234&#8239;567|–|1.5 KiB|4.25 s|1 h 02 min|1 min 05 s");
    slad_html_free(&page);
}

static void test_picture(void **state)
{
    static const struct {
        const char *bytes;
        const char *base64;
    } cases[] = {{"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    scratch *own = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slad_html page;
        char expected[128];
        slad_html_begin(&page, own->context, "picture");
        page.length = 0;
        slad_html_picture(&page, (const unsigned char *)cases[i].bytes, strlen(cases[i].bytes), "a \"b\"");
        (void)snprintf(expected, sizeof expected, "<img alt=\"a &quot;b&quot;\" src=\"data:image/png;base64,%s\">",
                       cases[i].base64);
        assert_string_equal(page.text, expected);
        slad_html_free(&page);
    }
}

/* Series with gaps, of one value, of none, of many values, and of equal ones. */
static void test_charts(void **state)
{
    enum { MANY = 5000 };
    scratch *own = *state;
    slad_html page;
    const slad_chart chart = {"<Loss>", "step", true, "", NULL, 0};
    const double x[] = {0, 1, 2, 3}, gap[] = {1, NAN, 2, INFINITY}, none[] = {NAN, NAN, NAN, NAN},
                 same[] = {3, 3, 3, 3};
    double *long_x = malloc(MANY * sizeof *long_x), *long_y = malloc(MANY * sizeof *long_y);
    assert_non_null(long_x);
    assert_non_null(long_y);
    for (int i = 0; i < MANY; i++) {
        long_x[i] = i;
        long_y[i] = 1.0 / (1 + i);
    }
    const slad_series series[] = {{"gap", x, gap, 4, true}, {"none", x, none, 4, true}, {"same", x, same, 4, false}};
    const slad_series many[] = {{"many", long_x, long_y, MANY, true}}, one[] = {{"one", x, x, 1, true}};
    slad_html_begin(&page, own->context, "charts");
    const size_t length = page.length;
    slad_chart_draw(&page, &chart, &series[1], 1);
    assert_int_equal(page.length, length);
    slad_chart_draw(&page, &chart, series, 3);
    assert_page(&page, "&lt;Loss&gt;");
    assert_page(&page, "same");
    assert_null(strstr(page.text, "none</span>"));
    assert_null(strstr(page.text, "nan"));
    slad_chart_draw(&page, &chart, one, 1);
    const size_t before = page.length;
    slad_chart_draw(&page, &chart, many, 1);
    assert_true(page.length - before < 8000);
    assert_int_equal(page.status, SLAD_OK);
    slad_html_free(&page);
    free(long_x);
    free(long_y);
}

static void test_failures(void **state)
{
    scratch *own = *state;
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_html page;
        slad_fault_arm(own->context, countdown);
        slad_html_begin(&page, own->context, "t");
        slad_html_format(&page, "%d", 5);
        const slad_status status = slad_html_write(&page, scratch_path(own, "page.html"));
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_html_free(&page);
        assert_true(countdown < 100);
    }
    slad_html page;
    slad_html_begin(&page, own->context, "t");
    assert_int_equal(slad_html_write(&page, scratch_path(own, "no/page.html")), SLAD_ERROR_WRITE);
    slad_html_free(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_numbers, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_picture, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_charts, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_failures, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
