/* Inside of a comparison: runs, groups of runs, and tests between groups. */
#ifndef SLAD_TRAIN_COMPARE_H
#define SLAD_TRAIN_COMPARE_H

#include "io/html.h"
#include "slad/compare.h"
#include "train/run_record.h"
#include "train/significance.h"

/* The numbers that are told of runs and groups; NaN where a run has none. */
typedef enum slad_compared_number {
    COMPARED_STUDENT, /* accuracy by the data set's measure, percent */
    COMPARED_TEACHER,
    COMPARED_DELTA,  /* Delta-CKA, percent */
    COMPARED_STEP,   /* seconds of a step, median */
    COMPARED_TIME,   /* seconds of all steps */
    COMPARED_MEMORY, /* bytes of the plan */
    COMPARED_PARAMETERS,
    COMPARED_NUMBERS
} slad_compared_number;

typedef struct slad_compared_run {
    slad_run_record record;
    double numbers[COMPARED_NUMBERS];
    size_t group;
    bool by_class; /* accuracy is the mean per class */
    bool finished;
} slad_compared_run;

typedef struct slad_spread {
    size_t count;
    double mean, deviation, low, high; /* deviation of the sample (n - 1); NaN for fewer than two */
} slad_spread;

typedef struct slad_compared_group {
    char *key;    /* of all that its runs have in common */
    char *label;  /* what sets it apart from the other groups */
    size_t first; /* its first run */
    size_t runs;
    slad_spread numbers[COMPARED_NUMBERS];
} slad_compared_group;

/* One test between students of equal seed. */
typedef struct slad_compared_test {
    size_t first, second; /* groups */
    uint64_t seed;
    slad_mcnemar result;
} slad_compared_test;

typedef struct slad_compare_state {
    slad_context *context;
    slad_compared_run *runs;
    slad_compared_group *groups;
    slad_compared_test *tests;
    char **notes;
    size_t run_count, group_count, test_count, note_count;
    size_t group_capacity, test_capacity, note_capacity;
    size_t best; /* the group with the best student */
} slad_compare_state;

/* Adds a sentence for the reader; the same one is told once. */
slad_status slad_compare_note(slad_compare_state *state, const char *format, ...) SLAD_PRINTF(2, 3);

/* Groups the runs, names the groups and computes their numbers. */
slad_status slad_compare_group(slad_compare_state *state);
/* Tests all pairs of groups, notes what could not be tested. */
slad_status slad_compare_significance(slad_compare_state *state);

/* The comparison as text, and as a page. */
slad_status slad_compare_markdown(const slad_compare_state *state, char **text);
slad_status slad_compare_json(const slad_compare_state *state, char **text);
slad_status slad_compare_page(const slad_compare_state *state, const char *path);

/* Of a pair of groups: the mean difference of their students over seeds that both have, in points; NaN without. */
double slad_compare_difference(const slad_compare_state *state, size_t first, size_t second);
/* Adds "77.1 ± 0.4" to a page or text; scale multiplies, "–" where there is nothing. */
void slad_compare_spread(slad_html *page, const slad_spread *spread, double scale, int places);
/* The p-values of a pair of groups, "0.012, 0.40"; false if there is none. */
bool slad_compare_p_values(slad_html *page, const slad_compare_state *state, size_t first, size_t second);

#endif
