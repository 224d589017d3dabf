/* RUN/report.html: one self-contained page of a run. */
#ifndef SLAD_TRAIN_REPORT_H
#define SLAD_TRAIN_REPORT_H

#include "io/chart.h"
#include "train/run_record.h"

/* Writes summary.json and report.html of the run in `folder`, from what stands in it: so both can be made again at any
 * time. device: measures CKA of a run with a teacher anew (a walk over the validation images with four encoders); NULL:
 * what an older summary.json says stays. outcome is how training ended. What cannot be measured or shown is named in
 * the log and left out. Errors: SLAD_ERROR_DATA for a broken folder, SLAD_ERROR_WRITE. */
slad_status slad_report_write(slad_context *context, slad_device *device, const char *folder, slad_status outcome);

/* The page's sections. */
void slad_report_confusion(slad_html *page, const slad_run_record *record);
slad_status slad_report_samples(slad_context *context, slad_html *page, const slad_run_record *record);
void slad_report_cka(slad_html *page, const cJSON *cka);

#endif
