#include "base/json_scan.h"
#include "base/memory.h"
#include <string.h>

enum { DEPTH_LIMIT = 64, VALUE_LIMIT = 4000000, NUMBER_LIMIT = 62 };

typedef struct scanner {
    const unsigned char *bytes;
    size_t size, at;
    size_t values;
    bool whole_numbers;
    const char *problem; /* NULL as long as all is well */
} scanner;

static bool refuse(scanner *scan, const char *problem)
{
    if (!scan->problem) scan->problem = problem;
    return false;
}

/* The byte at the present place plus ahead, -1 past the end. */
static int peek(const scanner *scan, size_t ahead)
{
    return ahead < scan->size - scan->at ? scan->bytes[scan->at + ahead] : -1;
}

static void skip_space(scanner *scan)
{
    for (int byte = peek(scan, 0); byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; byte = peek(scan, 0))
        scan->at++;
}

/* Table 3-7 of the Unicode standard: the well-formed sequences, without surrogates, overlong forms or > U+10FFFF. */
static bool scan_utf8(scanner *scan)
{
    const int first = peek(scan, 0);
    size_t length = 0;
    int low = 0x80, high = 0xBF; /* bounds of the second byte */
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        if (first == 0xE0) low = 0xA0;
        if (first == 0xED) high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        if (first == 0xF0) low = 0x90;
        if (first == 0xF4) high = 0x8F;
    } else {
        return refuse(scan, "is not UTF-8");
    }
    for (size_t i = 1; i < length; i++) {
        const int byte = peek(scan, i);
        if (byte < low || byte > high) return refuse(scan, "is not UTF-8");
        low = 0x80;
        high = 0xBF;
    }
    scan->at += length;
    return true;
}

/* The value of four hexadecimal digits at `ahead`, -1 if they are none. */
static int hexadecimal(const scanner *scan, size_t ahead)
{
    int value = 0;
    for (size_t i = 0; i < 4; i++) {
        const int byte = peek(scan, ahead + i);
        int digit = -1;
        if (byte >= '0' && byte <= '9') digit = byte - '0';
        if (byte >= 'a' && byte <= 'f') digit = byte - 'a' + 10;
        if (byte >= 'A' && byte <= 'F') digit = byte - 'A' + 10;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool scan_escape(scanner *scan)
{
    const int letter = peek(scan, 1);
    if (letter > 0 && strchr("\"\\/bfnrt", letter)) {
        scan->at += 2;
        return true;
    }
    if (letter != 'u') return refuse(scan, "unknown escape in a string");
    const int unit = hexadecimal(scan, 2);
    if (unit < 0) return refuse(scan, "\\u needs four hexadecimal digits");
    if (unit == 0) return refuse(scan, "a string contains NUL");
    if (unit >= 0xDC00 && unit <= 0xDFFF) return refuse(scan, "lone surrogate in a string");
    scan->at += 6;
    if (unit < 0xD800 || unit > 0xDBFF) return true;
    const int second = peek(scan, 0) == '\\' && peek(scan, 1) == 'u' ? hexadecimal(scan, 2) : -1;
    if (second < 0xDC00 || second > 0xDFFF) return refuse(scan, "lone surrogate in a string");
    scan->at += 6;
    return true;
}

static bool scan_string(scanner *scan)
{
    if (peek(scan, 0) != '"') return refuse(scan, "a string was expected");
    scan->at++;
    for (;;) {
        const int byte = peek(scan, 0);
        if (byte < 0) return refuse(scan, "the text ends inside a string");
        if (byte < 0x20) return refuse(scan, "control character in a string");
        if (byte == '"') {
            scan->at++;
            return true;
        }
        if (byte == '\\') {
            if (!scan_escape(scan)) return false;
        } else if (byte < 0x80) {
            scan->at++;
        } else if (!scan_utf8(scan)) {
            return false;
        }
    }
}

static size_t scan_digits(scanner *scan)
{
    size_t count = 0;
    while (peek(scan, 0) >= '0' && peek(scan, 0) <= '9') {
        scan->at++;
        count++;
    }
    return count;
}

static bool scan_number(scanner *scan)
{
    const size_t start = scan->at;
    bool whole = true;
    if (peek(scan, 0) == '-') {
        whole = false;
        scan->at++;
    }
    const bool zero = peek(scan, 0) == '0';
    const size_t digits = scan_digits(scan);
    if (digits == 0) return refuse(scan, "a value was expected");
    if (zero && digits > 1) return refuse(scan, "a number starts with 0");
    if (peek(scan, 0) == '.') {
        whole = false;
        scan->at++;
        if (scan_digits(scan) == 0) return refuse(scan, "a digit was expected");
    }
    if (peek(scan, 0) == 'e' || peek(scan, 0) == 'E') {
        whole = false;
        scan->at++;
        if (peek(scan, 0) == '+' || peek(scan, 0) == '-') scan->at++;
        if (scan_digits(scan) == 0) return refuse(scan, "a digit was expected");
    }
    if (scan->at - start > NUMBER_LIMIT) return refuse(scan, "a number has too many digits");
    if (scan->whole_numbers && !whole) return refuse(scan, "a number is not a plain row of digits");
    return true;
}

static bool scan_word(scanner *scan, const char *word)
{
    const size_t length = strlen(word);
    if (scan->size - scan->at < length || memcmp(scan->bytes + scan->at, word, length) != 0)
        return refuse(scan, "a value was expected");
    scan->at += length;
    return true;
}

static bool scan_value(scanner *scan, int depth);

/* An object (closing is '}') or an array. */
static bool scan_container(scanner *scan, int depth, char closing)
{
    if (depth > DEPTH_LIMIT) return refuse(scan, "more than 64 levels of nesting");
    scan->at++;
    skip_space(scan);
    if (peek(scan, 0) == closing) {
        scan->at++;
        return true;
    }
    for (;;) {
        skip_space(scan);
        if (closing == '}') {
            if (!scan_string(scan)) return false;
            skip_space(scan);
            if (peek(scan, 0) != ':') return refuse(scan, "':' was expected");
            scan->at++;
            skip_space(scan);
        }
        if (!scan_value(scan, depth)) return false;
        skip_space(scan);
        const int byte = peek(scan, 0);
        if (byte != ',' && byte != closing) return refuse(scan, "',' or the closing bracket was expected");
        scan->at++;
        if (byte == closing) return true;
    }
}

static bool scan_value(scanner *scan, int depth)
{
    if (++scan->values > VALUE_LIMIT) return refuse(scan, "more than four million values");
    switch (peek(scan, 0)) {
    case '{':
        return scan_container(scan, depth + 1, '}');
    case '[':
        return scan_container(scan, depth + 1, ']');
    case '"':
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        return scan_number(scan);
    }
}

slad_status slad_json_scan(slad_context *context, const char *bytes, size_t size, bool whole_numbers,
                           const char *origin)
{
    slad_status status = SLAD_OK;
    scanner scan = {.bytes = (const unsigned char *)bytes, .size = size, .whole_numbers = whole_numbers};
    skip_space(&scan);
    if (peek(&scan, 0) != '{') {
        refuse(&scan, "an object '{' was expected");
    } else if (scan_value(&scan, 0)) {
        skip_space(&scan);
        if (scan.at < scan.size) refuse(&scan, "text behind the object");
    }
    SLAD_FAIL_IF(scan.problem, SLAD_ERROR_DATA, "%s: not the JSON that was expected, at byte %zu: %s", origin, scan.at,
                 scan.problem);
cleanup:
    return status;
}

size_t slad_utf8_size(const char *text)
{
    scanner scan = {.bytes = (const unsigned char *)text, .size = strnlen(text, 4)};
    if (scan.bytes[0] < 0x80) return 1;
    return scan_utf8(&scan) ? scan.at : 0;
}

bool slad_text_is_utf8(const char *text)
{
    while (*text) {
        const size_t size = slad_utf8_size(text);
        if (size == 0) return false;
        text += size;
    }
    return true;
}

bool slad_text_ends_with(const char *text, const char *ending)
{
    const size_t length = strlen(text), tail = strlen(ending);
    return length > tail && strcmp(text + length - tail, ending) == 0;
}

int slad_text_compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

slad_status slad_text_repair(slad_context *context, char **out, const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    const size_t length = strlen(text);
    slad_status status = SLAD_OK;
    size_t used = 0;
    *out = NULL;
    SLAD_FAIL_IF(length > SIZE_MAX / 3 - 1, SLAD_ERROR_OUT_OF_MEMORY, "A text is too long");
    SLAD_TRY(slad_allocate(context, out, 3 * length + 1, 1, "a text"));
    while (*text) {
        const size_t size = slad_utf8_size(text);
        memcpy(*out + used, size ? text : replacement, size ? size : 3);
        used += size ? size : 3;
        text += size ? size : 1;
    }
cleanup:
    return status;
}
