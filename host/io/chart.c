#include "io/chart.h"
#include <math.h>

/* Pixels of the drawing; the plot lies within the margins. */
enum { WIDTH = 720, HEIGHT = 240, LEFT = 74, RIGHT = 12, TOP = 10, BOTTOM = 34, MOST_POINTS = 360 };

typedef struct slad_axis {
    double low, high, step; /* step of the labels */
    int places;             /* behind the point of a label */
} slad_axis;

static void widen(slad_axis *axis, double value)
{
    if (value < axis->low) axis->low = value;
    if (value > axis->high) axis->high = value;
}

/* Rounds an axis to whole steps of 1, 2 or 5 times a power of ten. */
static void round_axis(slad_axis *axis, int parts, bool whole)
{
    double range = axis->high - axis->low;
    if (!(range > 0)) range = fabs(axis->high) > 0 ? fabs(axis->high) : 1;
    const double rough = range / parts, power = pow(10, floor(log10(rough))), ratio = rough / power;
    axis->step = power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
    if (whole && axis->step < 1) axis->step = 1;
    const double digits = -floor(log10(axis->step) + 1e-9);
    axis->places = digits > 0 ? (int)digits : 0;
    axis->low = floor(axis->low / axis->step + 1e-9) * axis->step;
    axis->high = ceil(axis->high / axis->step - 1e-9) * axis->step;
    if (!(axis->high > axis->low)) axis->high = axis->low + axis->step;
}

static int place_x(const slad_axis *axis, double value)
{
    return LEFT + (int)lround((value - axis->low) / (axis->high - axis->low) * (WIDTH - LEFT - RIGHT));
}

static int place_y(const slad_axis *axis, double value)
{
    return HEIGHT - BOTTOM - (int)lround((value - axis->low) / (axis->high - axis->low) * (HEIGHT - TOP - BOTTOM));
}

static void draw_axes(slad_html *page, const slad_chart *chart, const slad_axis *x, const slad_axis *y)
{
    for (int i = 0; i <= (int)lround((y->high - y->low) / y->step); i++) {
        const double value = y->low + i * y->step;
        slad_html_format(page, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", LEFT, WIDTH - RIGHT,
                         place_y(y, value), place_y(y, value));
        slad_html_format(page, "<text text-anchor=\"end\" x=\"%d\" y=\"%d\">", LEFT - 6, place_y(y, value) + 4);
        slad_html_fixed(page, value, y->places);
        slad_html_text(page, chart->unit);
        slad_html_add(page, "</text>");
    }
    for (int i = 0; i <= (int)lround((x->high - x->low) / x->step); i++) {
        const double value = x->low + i * x->step;
        if (value > x->high) break;
        slad_html_format(page, "<text text-anchor=\"middle\" x=\"%d\" y=\"%d\">", place_x(x, value), HEIGHT - 18);
        slad_html_fixed(page, value, x->places);
        slad_html_add(page, "</text>");
    }
    slad_html_format(page, "<text text-anchor=\"middle\" x=\"%d\" y=\"%d\">", (WIDTH + LEFT) / 2, HEIGHT - 3);
    slad_html_text(page, chart->x_name);
    slad_html_add(page, "</text>");
    for (size_t i = 0; i < chart->mark_count; i++)
        slad_html_format(page,
                         "<line class=\"grid\" stroke-dasharray=\"4 3\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>",
                         place_x(x, chart->marks[i]), place_x(x, chart->marks[i]), TOP, HEIGHT - BOTTOM);
}

static void draw_series(slad_html *page, const slad_series *series, size_t colour, const slad_axis *x,
                        const slad_axis *y)
{
    const size_t part = (series->count + MOST_POINTS - 1) / MOST_POINTS;
    bool open = false;
    for (size_t first = 0; first < series->count; first += part) {
        double sum_x = 0, sum_y = 0;
        size_t used = 0;
        for (size_t i = first; i < series->count && i < first + part; i++) {
            if (!isfinite(series->y[i])) continue;
            sum_x += series->x[i];
            sum_y += series->y[i];
            used++;
        }
        if (used == 0) {
            slad_html_add(page, open ? "\"/>" : "");
            open = false;
            continue;
        }
        if (!open) slad_html_format(page, "<polyline class=\"curve k%zu\" points=\"", colour);
        open = true;
        slad_html_format(page, "%d,%d ", place_x(x, sum_x / (double)used), place_y(y, sum_y / (double)used));
    }
    slad_html_add(page, open ? "\"/>" : "");
    for (size_t i = 0; series->points && i < series->count && series->count <= 60; i++)
        if (isfinite(series->y[i]))
            slad_html_format(page, "<circle class=\"d%zu\" r=\"3\" cx=\"%d\" cy=\"%d\"/>", colour,
                             place_x(x, series->x[i]), place_y(y, series->y[i]));
}

/* The ranges of all finite values; false if there is none. */
static bool measure(slad_axis *x, slad_axis *y, const slad_series *series, size_t count)
{
    *x = *y = (slad_axis){.low = INFINITY, .high = -INFINITY};
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++) {
            if (!isfinite(series[s].y[i])) continue;
            widen(x, series[s].x[i]);
            widen(y, series[s].y[i]);
        }
    return x->low <= x->high;
}

static bool has_value(const slad_series *series)
{
    for (size_t i = 0; i < series->count; i++)
        if (isfinite(series->y[i])) return true;
    return false;
}

void slad_chart_draw(slad_html *page, const slad_chart *chart, const slad_series *series, size_t count)
{
    slad_axis x, y;
    if (count > SLAD_CHART_SERIES) count = SLAD_CHART_SERIES;
    if (!measure(&x, &y, series, count)) return;
    if (chart->from_zero) widen(&y, 0);
    round_axis(&y, 5, false);
    const double last = x.high;
    round_axis(&x, 8, true);
    x.high = last > x.low ? last : x.high; /* the curve ends at the frame */
    slad_html_add(page, "<p><b>");
    slad_html_text(page, chart->title);
    slad_html_add(page, "</b>");
    for (size_t s = 0; s < count; s++) {
        if (!has_value(&series[s])) continue;
        slad_html_format(page, " <span class=\"item\"><span class=\"key b%zu\"></span>", s);
        slad_html_text(page, series[s].name);
        slad_html_add(page, "</span>");
    }
    slad_html_format(page, "</p>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    slad_html_text(page, chart->title);
    slad_html_add(page, "\">");
    draw_axes(page, chart, &x, &y);
    for (size_t s = 0; s < count; s++) draw_series(page, &series[s], s, &x, &y);
    slad_html_add(page, "</svg>\n");
}
