/* Self-contained HTML pages: text is escaped, pictures are data URIs, nothing is loaded from elsewhere. Errors stick to
 * the page and come out of slad_html_write, so that a page reads as its content. */
#ifndef SLAD_IO_HTML_H
#define SLAD_IO_HTML_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct slad_html {
    slad_context *context;
    char *text; /* NUL-terminated */
    size_t length, capacity;
    slad_status status;
} slad_html;

/* Begins a page with a title and a style that suits phones, screens, paper, light and dark. Free with slad_html_free.
 */
void slad_html_begin(slad_html *page, slad_context *context, const char *title);
void slad_html_free(slad_html *page);
/* Ends the page and writes it. Errors: those that stuck, SLAD_ERROR_WRITE. */
slad_status slad_html_write(slad_html *page, const char *path);

/* Markup as it is. The formatted one must have no floating-point number, which would follow the locale, and no text
 * from outside. */
void slad_html_add(slad_html *page, const char *markup);
void slad_html_format(slad_html *page, const char *format, ...) SLAD_PRINTF(2, 3);

/* Escaped text; bytes that are no UTF-8 become U+FFFD, and control characters a space. */
void slad_html_text(slad_html *page, const char *text);
/* A number of so many significant digits, or with so many places behind the point; "–" for one that is not finite. */
void slad_html_number(slad_html *page, double value, int significant);
void slad_html_fixed(slad_html *page, double value, int places);
/* A whole number with its digits in groups of three; "–" for what is none below 2^53. */
void slad_html_count(slad_html *page, double value);
/* "12.3 MiB" */
void slad_html_bytes(slad_html *page, double bytes);
/* "3 h 07 min", "12 min 05 s", "4.2 s" */
void slad_html_seconds(slad_html *page, double seconds);

/* Opening and closing of a titled section. */
void slad_html_section(slad_html *page, const char *title);
void slad_html_end_section(slad_html *page);
/* A row of a table of names and values, closed by the caller with </td></tr> after it has written the value. */
void slad_html_field(slad_html *page, const char *name);

/* An <img> of PNG bytes with its size in pixels and a description. */
void slad_html_picture(slad_html *page, const unsigned char *png, size_t size, const char *description);

#endif
