/* The names of the statuses. */
#include "base/error.h"

const char *slad_status_name(slad_status status)
{
    switch (status) {
    case SLAD_OK:
        return "ok";
    case SLAD_ERROR_USAGE:
        return "usage error";
    case SLAD_ERROR_DATA:
        return "bad data";
    case SLAD_ERROR_NO_DEVICE:
        return "no usable device";
    case SLAD_ERROR_BUILD:
        return "kernel build failed";
    case SLAD_ERROR_SELF_TEST:
        return "self-test failed";
    case SLAD_ERROR_OUT_OF_MEMORY:
        return "out of memory";
    case SLAD_ERROR_WRITE:
        return "writing failed";
    case SLAD_ERROR_DIVERGED:
        return "training diverged";
    case SLAD_ERROR_INTERNAL:
        return "internal error";
    case SLAD_ERROR_INTERRUPTED:
        return "interrupted";
    }
    return "unknown status";
}
