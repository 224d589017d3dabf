/* Reading JSON that may be hostile. */
#include "scratch.h"

#include "base/json.h"
#include "base/json_scan.h"

/* Text with its length, so that it may hold NUL. */
#define TEXT(literal) literal, sizeof(literal) - 1

static slad_status parse(scratch *own, const char *bytes, size_t size)
{
    cJSON *json = NULL;
    /* A copy of just that size, so that the sanitizer sees any read past the end. */
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    const slad_status status = slad_json_parse(own->context, &json, copy, size, "origin.json");
    free(copy);
    assert_true((status == SLAD_OK) == (json != NULL));
    if (status != SLAD_OK) assert_message(own, "origin.json");
    cJSON_Delete(json);
    return status;
}

static void valid_texts_are_read(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } texts[] = {
        {TEXT("{}")},
        {TEXT(" \t\r\n{ } \n")},
        {TEXT("{\"a\":1,\"b\":[1,2.5,-3e-2,0,-0,1E+5],\"c\":{\"a\":null},\"d\":true,\"e\":false}")},
        {TEXT("{\"\":\"\"}")},
        {TEXT("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"}")},
        {TEXT("{\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\":\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"}")},
        {TEXT("{\"a\":{\"x\":1},\"b\":{\"x\":1}}")},
        {TEXT("{\"a\":1,\"A\":2}")},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(parse(*state, texts[i].bytes, texts[i].size), SLAD_OK);
}

static void broken_texts_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } texts[] = {
        {TEXT(""), "object"},
        {TEXT("[]"), "object"},
        {TEXT("1"), "object"},
        {TEXT("\xef\xbb\xbf{}"), "object"},
        {TEXT("{"), "string"},
        {TEXT("{\"a\""), "':'"},
        {TEXT("{\"a\":"), "value"},
        {TEXT("{\"a\":1"), "closing"},
        {TEXT("{\"a\":1,}"), "string"},
        {TEXT("{\"a\":[1,]}"), "value"},
        {TEXT("{\"a\":[1}"), "closing"},
        {TEXT("{a:1}"), "string"},
        {TEXT("{'a':1}"), "string"},
        {TEXT("{\"a\":01}"), "starts with 0"},
        {TEXT("{\"a\":+1}"), "value"},
        {TEXT("{\"a\":.5}"), "value"},
        {TEXT("{\"a\":1.}"), "digit"},
        {TEXT("{\"a\":1e}"), "digit"},
        {TEXT("{\"a\":NaN}"), "value"},
        {TEXT("{\"a\":Infinity}"), "value"},
        {TEXT("{\"a\":0x10}"), "closing"},
        {TEXT("{\"a\":1-2}"), "closing"},
        {TEXT("{\"a\":tru}"), "value"},
        {TEXT("{\"a\":1}x"), "behind"},
        {TEXT("{}{}"), "behind"},
        {TEXT("{}\0"), "behind"},
        {TEXT("{\"a\0b\":1}"), "control"},
        {TEXT("{\"a\\u0000b\":1}"), "NUL"},
        {TEXT("{\"a\nb\":1}"), "control"},
        {TEXT("{\"a\\x\":1}"), "escape"},
        {TEXT("{\"\\u12g4\":1}"), "hexadecimal"},
        {TEXT("{\"\\ud800\":1}"), "surrogate"},
        {TEXT("{\"\\udc00\":1}"), "surrogate"},
        {TEXT("{\"\\ud800\\u0041\":1}"), "surrogate"},
        {TEXT("{\"\xff\":1}"), "UTF-8"},
        {TEXT("{\"\xc0\x80\":1}"), "UTF-8"},         /* overlong NUL */
        {TEXT("{\"\xe0\x80\x80\":1}"), "UTF-8"},     /* overlong */
        {TEXT("{\"\xed\xa0\x80\":1}"), "UTF-8"},     /* surrogate */
        {TEXT("{\"\xf4\x90\x80\x80\":1}"), "UTF-8"}, /* above U+10FFFF */
        {TEXT("{\"\xe2\x82"), "UTF-8"},
        {TEXT("{\"a"), "inside a string"},
        {TEXT("{\"a\\"), "escape"},
        {TEXT("{\"a\":1111111111222222222233333333334444444444555555555566666666667777777777}"), "digits"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (parse(*state, texts[i].bytes, texts[i].size) != SLAD_ERROR_DATA) fail_msg("accepted: %s", texts[i].bytes);
        assert_message(*state, texts[i].message);
    }
}

static void duplicate_keys_are_refused_at_any_depth(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } texts[] = {
        {TEXT("{\"k\":1,\"k\":1}")},
        {TEXT("{\"k\":1,\"b\":2,\"k\":3}")},
        {TEXT("{\"a\":{\"k\":1,\"b\":2,\"k\":3}}")},
        {TEXT("{\"a\":[0,[{\"k\":1,\"k\":3}]]}")},
        {TEXT("{\"k\":1,\"\\u006b\":2}")},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(parse(*state, texts[i].bytes, texts[i].size), SLAD_ERROR_DATA);
        assert_message(*state, "\"k\"");
    }
}

static void nesting_is_limited(void **state)
{
    char text[5000];
    for (size_t depth = 1; depth < 2000; depth += depth < 80 ? 1 : depth / 4) {
        (void)snprintf(text, sizeof text, "{\"a\":");
        memset(text + 5, '[', depth);
        memset(text + 5 + depth, ']', depth);
        text[5 + 2 * depth] = '}';
        assert_int_equal(parse(*state, text, 6 + 2 * depth), depth <= 63 ? SLAD_OK : SLAD_ERROR_DATA);
    }
    (void)snprintf(text, sizeof text, "{\"a\":");
    memset(text + 5, '[', sizeof text - 5);
    assert_int_equal(parse(*state, text, sizeof text), SLAD_ERROR_DATA);
}

static void scan_can_ask_for_plain_numbers(void **state)
{
    scratch *own = *state;
    assert_int_equal(slad_json_scan(own->context, TEXT("{\"a\":[0,12]}"), true, "origin"), SLAD_OK);
    assert_int_equal(slad_json_scan(own->context, TEXT("{\"a\":1.0}"), true, "origin"), SLAD_ERROR_DATA);
    assert_int_equal(slad_json_scan(own->context, TEXT("{\"a\":1e3}"), true, "origin"), SLAD_ERROR_DATA);
    assert_int_equal(slad_json_scan(own->context, TEXT("{\"a\":-1}"), true, "origin"), SLAD_ERROR_DATA);
    assert_true(slad_text_is_utf8("caf\xc3\xa9"));
    assert_false(slad_text_is_utf8("caf\xe9"));
    assert_false(slad_text_is_utf8("caf\xc3"));
    char *repaired = NULL;
    assert_int_equal(slad_text_repair(own->context, &repaired, "a\xff\xc3\xa9\xe2\x82"), SLAD_OK);
    assert_string_equal(repaired, "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd");
    slad_release(repaired);
}

static void integers_are_checked(scratch *own, const cJSON *json)
{
    int64_t value = -5;
    slad_context *context = own->context;
    assert_int_equal(slad_json_get_integer(context, &value, json, "whole", true, 0, 10, "o"), SLAD_OK);
    assert_int_equal(value, 7);
    assert_int_equal(slad_json_get_integer(context, &value, json, "missing", false, 0, 10, "o"), SLAD_OK);
    assert_int_equal(value, 7);
    assert_int_equal(slad_json_get_integer(context, &value, json, "missing", true, 0, 10, "o"), SLAD_ERROR_DATA);
    assert_message(own, "\"missing\"");
    assert_int_equal(slad_json_get_integer(context, &value, json, "whole", true, 8, 10, "o"), SLAD_ERROR_DATA);
    assert_int_equal(slad_json_get_integer(context, &value, json, "whole", true, 0, 6, "o"), SLAD_ERROR_DATA);
    static const char *const wrong[] = {"half", "huge", "endless", "text", "truth", "nothing", "list"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(slad_json_get_integer(context, &value, json, wrong[i], false, INT64_MIN, INT64_MAX, "o"),
                         SLAD_ERROR_DATA);
        assert_message(own, wrong[i]);
    }
    assert_int_equal(value, 7);
}

static void fields_are_checked(void **state)
{
    scratch *own = *state;
    slad_context *context = own->context;
    cJSON *json = NULL;
    static const char text[] =
        "{\"whole\":7,\"half\":0.5,\"huge\":1e17,\"endless\":1e999,\"text\":\"t\",\"truth\":true,"
        "\"nothing\":null,\"list\":[1]}";
    assert_int_equal(slad_json_parse(context, &json, TEXT(text), "o"), SLAD_OK);
    integers_are_checked(own, json);

    double number = 0;
    assert_int_equal(slad_json_get_number(context, &number, json, "half", true, 0, 1, "o"), SLAD_OK);
    assert_true(number == 0.5);
    assert_int_equal(slad_json_get_number(context, &number, json, "half", true, 0.6, 1, "o"), SLAD_ERROR_DATA);
    assert_int_equal(slad_json_get_number(context, &number, json, "endless", true, 0, 1e300, "o"), SLAD_ERROR_DATA);
    assert_int_equal(slad_json_get_number(context, &number, json, "text", true, 0, 1, "o"), SLAD_ERROR_DATA);
    assert_int_equal(slad_json_get_number(context, &number, json, "missing", true, 0, 1, "o"), SLAD_ERROR_DATA);

    bool truth = false;
    assert_int_equal(slad_json_get_boolean(context, &truth, json, "truth", true, "o"), SLAD_OK);
    assert_true(truth);
    assert_int_equal(slad_json_get_boolean(context, &truth, json, "missing", false, "o"), SLAD_OK);
    assert_true(truth);
    assert_int_equal(slad_json_get_boolean(context, &truth, json, "whole", false, "o"), SLAD_ERROR_DATA);

    const char *string = "kept";
    assert_int_equal(slad_json_get_string(context, &string, json, "missing", false, "o"), SLAD_OK);
    assert_string_equal(string, "kept");
    assert_int_equal(slad_json_get_string(context, &string, json, "text", true, "o"), SLAD_OK);
    assert_string_equal(string, "t");
    assert_int_equal(slad_json_get_string(context, &string, json, "nothing", true, "o"), SLAD_ERROR_DATA);
    cJSON_Delete(json);
}

static void verbatim_numbers_go_round(void **state)
{
    scratch *own = *state;
    static const char text[] = "{\"a\":1.0,\"b\":[1,1e-06,{\"7\":-0.50}],\"c \\\" 3\":\"\\\\\",\"d\":12E+2,\"e\":true,"
                               "\"f\":\"5, 6\",\"g\":123456789012345678901234567890}";
    cJSON *json = NULL;
    assert_int_equal(slad_json_parse_verbatim(own->context, &json, TEXT(text), "o"), SLAD_OK);
    char *back = cJSON_PrintUnformatted(json);
    assert_string_equal(back, text);
    cJSON_free(back);
    cJSON_Delete(json);
}

static void files_go_round(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "a.json");
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "small", 1e-6);
    cJSON_AddStringToObject(json, "text", "\xc3\xa9\n");
    assert_int_equal(slad_json_write(own->context, path, json), SLAD_OK);
    cJSON_Delete(json);
    assert_int_equal(slad_json_read(own->context, &json, path), SLAD_OK);
    assert_true(cJSON_GetObjectItem(json, "small")->valuedouble == 1e-6);
    assert_string_equal(cJSON_GetObjectItem(json, "text")->valuestring, "\xc3\xa9\n");
    cJSON_Delete(json);
    assert_int_equal(slad_json_read(own->context, &json, scratch_path(own, "none.json")), SLAD_ERROR_DATA);
    assert_null(json);
    assert_message(own, "none.json");
    assert_int_equal(slad_json_write(own->context, scratch_path(own, "no/such/a.json"), NULL),
                     SLAD_ERROR_OUT_OF_MEMORY);
}

static void texts_are_compared(void **state)
{
    (void)state;
    const char *const texts[] = {"a", "a", "b"};
    assert_true(slad_text_ends_with("a.csv", ".csv"));
    assert_false(slad_text_ends_with(".csv", ".csv") || slad_text_ends_with("csv", ".csv") ||
                 slad_text_ends_with("a.csv2", ".csv"));
    assert_int_equal(slad_text_compare(&texts[0], &texts[1]), 0);
    assert_true(slad_text_compare(&texts[0], &texts[2]) < 0 && slad_text_compare(&texts[2], &texts[0]) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(valid_texts_are_read, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(broken_texts_are_refused, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(duplicate_keys_are_refused_at_any_depth, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(nesting_is_limited, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(scan_can_ask_for_plain_numbers, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(fields_are_checked, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(verbatim_numbers_go_round, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(files_go_round, scratch_begin, scratch_end),
        cmocka_unit_test(texts_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
