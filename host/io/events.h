/* Event files that TensorBoard opens: records of TFRecord framing (length, its checksum, data, its checksum), each an
 * Event message with scalar values. Formats: tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto
 * and tensorboard/compat/proto/summary.proto. They hold the time of each value, as TensorBoard's axes want it, so they
 * are not the same bytes in two runs. */
#ifndef SLAD_IO_EVENTS_H
#define SLAD_IO_EVENTS_H

#include "base/error.h"
#include <stddef.h>

/* What the names of all event files begin with; first_step in ten digits follows. */
#define SLAD_EVENTS_NAME "events.out.tfevents."

typedef struct slad_events slad_events;

/* Starts the file of a run's part from first_step on: FOLDER/events.out.tfevents.NNNNNNNNNN. Files of parts that began
 * there or later are removed: a run that is resumed makes their steps anew, and TensorBoard drops what an earlier file
 * holds of them. Errors: SLAD_ERROR_WRITE. */
slad_status slad_events_open(slad_context *context, slad_events **events, const char *folder, uint64_t first_step);
/* NULL is allowed. */
void slad_events_close(slad_events *events);

typedef struct slad_event_scalar {
    const char *tag; /* "loss/student": TensorBoard groups by what stands before the stroke */
    double value;    /* not finite: left out */
} slad_event_scalar;

/* Writes values of a step in one record. Errors: SLAD_ERROR_WRITE. */
slad_status slad_events_write(slad_context *context, slad_events *events, uint64_t step,
                              const slad_event_scalar *scalars, size_t count);

/* Removes the event files of a folder whose first step is first_step or later: all of them for 0. A folder that does
 * not exist is fine. Errors: SLAD_ERROR_WRITE. */
slad_status slad_events_remove(slad_context *context, const char *folder, uint64_t first_step);

#endif
