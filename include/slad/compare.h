/* Several runs side by side. */
#ifndef SLAD_COMPARE_H
#define SLAD_COMPARE_H

#include "slad/train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slad_compare_options {
    const char *const *runs; /* [run_count], folders of slad train */
    size_t run_count;
    /* Data on which every run is evaluated now, which needs a device; NULL: the last evaluation of each run counts. */
    const char *data;
    uint32_t batch, workers; /* of these evaluations; 0: the defaults of slad eval */
    const char *page;        /* HTML file to be written, or NULL */
} slad_compare_options;

/* Texts, owned: slad_comparison_free. */
typedef struct slad_comparison {
    char *markdown; /* a table of the groups, their tests against the best of them, and what is to be said of them */
    /* runs: folder, group, seed, outcome, student, teacher, delta_cka, steps_s, step_s, memory_bytes,
     * trained_parameters; groups: label, seeds, and of the same numbers mean, deviation, low, high; significance:
     * first, second (groups), difference, tests of seed, only_first, only_second, p, exact; notes. */
    char *json;
} slad_comparison;

/* Compares runs. Those that differ in nothing but their seed are a group: its numbers are told as mean and standard
 * deviation. Students of equal seed of two groups are compared by McNemar's test where both were evaluated on the same
 * images; notes say where they were not. device may be NULL without data. Errors: SLAD_ERROR_DATA naming the run;
 * SLAD_ERROR_USAGE without a run; SLAD_ERROR_WRITE; those of slad_run_eval. */
SLAD_API slad_status slad_compare(slad_context *context, slad_device *device, slad_comparison *comparison,
                                  const slad_compare_options *options);
SLAD_API void slad_comparison_free(slad_comparison *comparison);

#ifdef __cplusplus
}
#endif
#endif
