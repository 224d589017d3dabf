#include "io/html.h"
#include "base/files.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/number.h"
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--text:#1c2024;--soft:#60666d;--line:#d9dde1;--back:#fff;--card:#f6f7f9;"
    "--c0:#1f6fd1;--c1:#c4560b;--c2:#1a8566;--c3:#8a4bc4;--c4:#b03a6b;--good:#1a8566;--bad:#c0392b}"
    "@media(prefers-color-scheme:dark){:root{--text:#e6e8ea;--soft:#9aa1a8;--line:#3a4046;--back:#16181b;"
    "--card:#1f2226;--c0:#6aa8f0;--c1:#f0985a;--c2:#52c4a0;--c3:#bb8cec;--c4:#ee86b4;--good:#52c4a0;--bad:#f07f72}}"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:62rem;padding:1rem;background:var(--back);color:var(--text);"
    "font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem;"
    "border-bottom:1px solid var(--line)}p{margin:.5rem 0}.soft{color:var(--soft);font-size:.875rem}"
    ".tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0}.tile{background:var(--card);border-radius:.5rem;"
    "padding:.5rem .9rem}.tile b{display:block;font-size:1.35rem}.tile span{color:var(--soft);font-size:.8rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}.fields "
    "td{text-align:left;white-space:normal;overflow-wrap:anywhere}"
    ".fields td:first-child{color:var(--soft);white-space:normal;min-width:9rem}.changed td{font-weight:600}"
    ".confusion td{text-align:center;border:1px solid var(--back);min-width:2rem;padding:.15rem .3rem}"
    ".confusion th{border:0;font-weight:400}.confusion th.up{writing-mode:vertical-rl;transform:rotate(180deg);"
    "text-align:left;padding:.3rem 0}svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:12px}"
    ".grid{stroke:var(--line);stroke-width:1}.curve{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".k0{stroke:var(--c0)}.k1{stroke:var(--c1)}.k2{stroke:var(--c2)}.k3{stroke:var(--c3)}.k4{stroke:var(--c4)}"
    ".d0{fill:var(--c0)}.d1{fill:var(--c1)}.d2{fill:var(--c2)}.d3{fill:var(--c3)}.d4{fill:var(--c4)}"
    ".key{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin:0 .3rem 0 .8rem;vertical-align:-1px}"
    ".b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}.b4{"
    "background:var(--c4)}"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem}"
    "figure{margin:0;background:var(--card);border-radius:.5rem;padding:.5rem;font-size:.8rem;overflow-wrap:anywhere}"
    "figure img{display:block;width:100%;height:7rem;object-fit:contain;image-rendering:auto;margin-bottom:.3rem}"
    ".good{color:var(--good)}.bad{color:var(--bad)}.item{white-space:nowrap}@media(max-width:40rem){svg "
    "text{font-size:18px}}";

/* Appends bytes; after an error nothing more. */
static void append(slad_html *page, const char *bytes, size_t count)
{
    if (page->status != SLAD_OK) return;
    page->status =
        slad_grow(page->context, &page->text, &page->capacity, page->length + count + 1, sizeof *page->text, "a page");
    if (page->status != SLAD_OK) return;
    memcpy(page->text + page->length, bytes, count);
    page->length += count;
    page->text[page->length] = '\0';
}

void slad_html_add(slad_html *page, const char *markup)
{
    append(page, markup, strlen(markup));
}

void slad_html_format(slad_html *page, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    if (page->status != SLAD_OK) return;
    va_start(arguments, format);
    page->status = slad_format_list(page->context, &text, format, arguments);
    va_end(arguments);
    if (text) slad_html_add(page, text);
    slad_release(text);
}

void slad_html_begin(slad_html *page, slad_context *context, const char *title)
{
    *page = (slad_html){.context = context};
    slad_html_add(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                        "content=\"width=device-width,initial-scale=1\">\n<title>");
    slad_html_text(page, title);
    slad_html_add(page, "</title>\n<style>");
    slad_html_add(page, style);
    slad_html_add(page, "</style></head>\n<body>\n<h1>");
    slad_html_text(page, title);
    slad_html_add(page, "</h1>\n");
}

void slad_html_free(slad_html *page)
{
    slad_release(page->text);
    *page = (slad_html){0};
}

slad_status slad_html_write(slad_html *page, const char *path)
{
    slad_context *context = page->context;
    slad_status status = SLAD_OK;
    slad_html_add(page, "</body></html>\n");
    SLAD_TRY(page->status);
    SLAD_TRY(slad_file_write_all(context, path, page->text, page->length));
cleanup:
    return status;
}

void slad_html_text(slad_html *page, const char *text)
{
    for (size_t size; *text; text += size) {
        size = slad_utf8_size(text);
        if (size == 0) {
            size = 1;
            slad_html_add(page, "\xef\xbf\xbd");
        } else if (*text == '&')
            slad_html_add(page, "&amp;");
        else if (*text == '<')
            slad_html_add(page, "&lt;");
        else if (*text == '>')
            slad_html_add(page, "&gt;");
        else if (*text == '"')
            slad_html_add(page, "&quot;");
        else if (size == 1 && ((unsigned char)*text < 0x20 || *text == 0x7f))
            slad_html_add(page, " ");
        else
            append(page, text, size);
    }
}

void slad_html_number(slad_html *page, double value, int significant)
{
    char text[SLAD_NUMBER_SIZE];
    slad_number_text(text, significant, value);
    slad_html_add(page, isfinite(value) ? text : "–");
}

void slad_html_fixed(slad_html *page, double value, int places)
{
    char text[SLAD_NUMBER_SIZE];
    slad_number_fixed(text, places, value);
    slad_html_add(page, isfinite(value) ? text : "–");
}

void slad_html_count(slad_html *page, double value)
{
    char digits[24];
    if (!(value >= 0 && value < 9007199254740992.0)) {
        slad_html_add(page, "–");
        return;
    }
    const int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) slad_html_add(page, "&#8239;");
        append(page, digits + i, 1);
    }
}

void slad_html_bytes(slad_html *page, double bytes)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    size_t unit = 0;
    while (unit < 4 && bytes >= 1024) {
        bytes /= 1024;
        unit++;
    }
    slad_html_fixed(page, bytes, unit ? 1 : 0);
    slad_html_add(page, units[unit]);
}

void slad_html_seconds(slad_html *page, double seconds)
{
    if (!(seconds < 1e9)) {
        slad_html_add(page, "–");
        return;
    }
    const unsigned long whole = (unsigned long)(seconds + 0.5);
    if (whole >= 3600)
        slad_html_format(page, "%lu h %02lu min", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        slad_html_format(page, "%lu min %02lu s", whole / 60, whole % 60);
    else {
        slad_html_number(page, seconds, 3);
        slad_html_add(page, " s");
    }
}

void slad_html_section(slad_html *page, const char *title)
{
    slad_html_add(page, "<section><h2>");
    slad_html_text(page, title);
    slad_html_add(page, "</h2>\n");
}

void slad_html_end_section(slad_html *page)
{
    slad_html_add(page, "</section>\n");
}

void slad_html_field(slad_html *page, const char *name)
{
    slad_html_add(page, "<tr><td>");
    slad_html_text(page, name);
    slad_html_add(page, "</td><td>");
}

static void append_base64(slad_html *page, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? (uint32_t)bytes[i + 2] : 0);
        const char quad[4] = {digits[group >> 18], digits[group >> 12 & 63], left > 1 ? digits[group >> 6 & 63] : '=',
                              left > 2 ? digits[group & 63] : '='};
        append(page, quad, sizeof quad);
    }
}

void slad_html_picture(slad_html *page, const unsigned char *png, size_t size, const char *description)
{
    slad_html_add(page, "<img alt=\"");
    slad_html_text(page, description);
    slad_html_add(page, "\" src=\"data:image/png;base64,");
    append_base64(page, png, size);
    slad_html_add(page, "\">");
}
