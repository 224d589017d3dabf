#include "base/number.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The locale's decimal mark, of one byte or several. */
typedef struct decimal_mark {
    char text[16];
    size_t length;
} decimal_mark;

/* Asked of snprintf, since localeconv may not be called by several threads. */
static decimal_mark current_mark(void)
{
    decimal_mark mark = {".", 1};
    char zero[24];
    const int length = snprintf(zero, sizeof zero, "%.1f", 0.0);
    if (length < 3 || (size_t)length - 2 >= sizeof mark.text) return mark;
    mark.length = (size_t)length - 2;
    memcpy(mark.text, zero + 1, mark.length);
    mark.text[mark.length] = '\0';
    return mark;
}

static void put_point(char *text)
{
    const decimal_mark mark = current_mark();
    char *found = strstr(text, mark.text);
    if (!found || (mark.length == 1 && mark.text[0] == '.')) return;
    *found = '.';
    memmove(found + 1, found + mark.length, strlen(found + mark.length) + 1);
}

void slad_number_text(char text[SLAD_NUMBER_SIZE], int significant, double value)
{
    if (significant > 17) significant = 17;
    (void)snprintf(text, SLAD_NUMBER_SIZE, "%.*g", significant, value);
    if (isfinite(value)) put_point(text);
}

void slad_number_fixed(char text[SLAD_NUMBER_SIZE], int places, double value)
{
    if (!isfinite(value) || fabs(value) >= 1e20 || places > 17) {
        slad_number_text(text, 17, value);
        return;
    }
    (void)snprintf(text, SLAD_NUMBER_SIZE, "%.*f", places, value);
    put_point(text);
}

double slad_number_read(const char *text, const char **end)
{
    const decimal_mark mark = current_mark();
    char local[160];
    const size_t length = strspn(text, "+-.0123456789eE");
    char *stop;
    *end = text;
    if (length == 0 || length > 127) return 0;
    const char *point = memchr(text, '.', length);
    const size_t before = point ? (size_t)(point - text) : length;
    memcpy(local, text, before);
    size_t size = before;
    if (point) {
        memcpy(local + size, mark.text, mark.length);
        size += mark.length;
        memcpy(local + size, point + 1, length - before - 1);
        size += length - before - 1;
    }
    local[size] = '\0';
    const double value = strtod(local, &stop);
    size_t used = (size_t)(stop - local);
    if (point && used > before) used -= mark.length - 1;
    *end = text + used;
    return value;
}
