/* What every fallible function of slad returns. The values are the exit codes of the program. */
#ifndef SLAD_STATUS_H
#define SLAD_STATUS_H

/* What libslad.so exports; everything else stays hidden in it. */
#if defined(__GNUC__)
#define SLAD_API __attribute__((visibility("default")))
#else
#define SLAD_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum slad_status {
    SLAD_OK = 0,
    SLAD_ERROR_USAGE = 2,         /* unknown option, value out of range, contradiction, existing output */
    SLAD_ERROR_DATA = 3,          /* bad, missing or unreadable model, data or file */
    SLAD_ERROR_NO_DEVICE = 4,     /* no device answers the spec, or it cannot be used */
    SLAD_ERROR_BUILD = 5,         /* a kernel did not compile */
    SLAD_ERROR_SELF_TEST = 6,     /* a kernel's result differs from the C reference */
    SLAD_ERROR_OUT_OF_MEMORY = 7, /* host or device memory; the message says what would fit */
    SLAD_ERROR_WRITE = 8,         /* disk full, unwritable */
    SLAD_ERROR_DIVERGED = 9,      /* a loss or gradient is NaN or infinite; the message names the step */
    SLAD_ERROR_INTERNAL = 70,    /* a broken invariant of slad itself, or a driver call that failed: please report it */
    SLAD_ERROR_INTERRUPTED = 130 /* the cancel callback said so; a checkpoint was written */
} slad_status;

/* A short English name of a status, for example "out of memory". Never NULL. */
SLAD_API const char *slad_status_name(slad_status status);

#ifdef __cplusplus
}
#endif
#endif
