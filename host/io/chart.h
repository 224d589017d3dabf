/* Line charts as inline SVG in an HTML page. */
#ifndef SLAD_IO_CHART_H
#define SLAD_IO_CHART_H

#include "io/html.h"

/* Most series of a chart: as many as colours that can be told apart. */
enum { SLAD_CHART_SERIES = 5 };

typedef struct slad_series {
    const char *name;
    const double *x, *y; /* [count], x ascending; a y that is not finite is a gap */
    size_t count;
    bool points; /* with a dot at each value, for series of few */
} slad_series;

typedef struct slad_chart {
    const char *title, *x_name;
    bool from_zero;      /* the y axis begins at 0 */
    const char *unit;    /* behind the numbers of the y axis, "" or " %" */
    const double *marks; /* [mark_count], places on the x axis with a line, such as where a stage begins */
    size_t mark_count;
} slad_chart;

/* Draws it with its title and a legend. Of long series means of equal parts are drawn. Series without a finite value
 * are left out; a chart without any is nothing. */
void slad_chart_draw(slad_html *page, const slad_chart *chart, const slad_series *series, size_t count);

#endif
