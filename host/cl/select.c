/* Which device answers a spec. */
#include "base/memory.h"
#include "cl/discovery.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static char lower(char letter)
{
    return (char)tolower((unsigned char)letter);
}

static bool contains(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && lower(text[i]) == lower(part[i])) i++;
        if (!part[i]) return true;
    }
    return false;
}

static bool equals(const char *a, const char *b)
{
    return strlen(a) == strlen(b) && contains(a, b);
}

static bool is_index(const char *spec)
{
    const char *colon = strchr(spec, ':');
    return colon && colon != spec && colon[1] && strspn(spec, "0123456789") == (size_t)(colon - spec) &&
           strspn(colon + 1, "0123456789") == strlen(colon + 1);
}

static bool answers(const slad_device *device, const char *spec)
{
    const slad_device_info *info = &device->info;
    if (!spec) return info->type == SLAD_DEVICE_GPU || info->type == SLAD_DEVICE_CPU;
    if (is_index(spec)) {
        char own[32];
        (void)snprintf(own, sizeof own, "%u:%u", info->platform_index, info->device_index);
        return strcmp(own, spec) == 0;
    }
    return spec[0] &&
           (contains(info->platform, spec) || contains(info->name, spec) || equals(device->icd_suffix, spec));
}

/* Whether a is to be preferred, if both can be used: by type, then by compute units x clock; the earlier one on a tie.
 */
static bool is_better(const slad_device *a, const slad_device *b)
{
    if (a->info.type != b->info.type) return a->info.type < b->info.type;
    return (uint64_t)a->info.compute_units * a->info.clock_mhz > (uint64_t)b->info.compute_units * b->info.clock_mhz;
}

/* "0:0 NAME (PLATFORM); 1:0 ..." for messages. */
static void describe_all(char *text, size_t size, const slad_discovery *discovery)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < discovery->count && used < size; i++) {
        const slad_device_info *info = &discovery->devices[i].info;
        const int written =
            snprintf(text + used, size - used, "%s%u:%u %s (%s)%s", i > 0 ? "; " : "", info->platform_index,
                     info->device_index, info->name, info->platform, info->usable ? "" : ", unusable");
        used += written > 0 ? (size_t)written : 0;
    }
}

slad_status slad_discovery_select(slad_context *context, const slad_device **chosen, const slad_discovery *discovery,
                                  const char *spec)
{
    slad_status status = SLAD_OK;
    const slad_device *best = NULL, *first = NULL; /* of those that can be used; of all */
    char there[2048];
    *chosen = NULL;
    describe_all(there, sizeof there, discovery);
    for (size_t i = 0; i < discovery->count; i++) {
        const slad_device *device = &discovery->devices[i];
        if (!answers(device, spec)) continue;
        if (!first || is_better(device, first)) first = device;
        if (device->info.usable && (!best || is_better(device, best))) best = device;
    }
    SLAD_FAIL_IF(discovery->platform_count == 0, SLAD_ERROR_NO_DEVICE,
                 "no OpenCL driver is installed; install the one of your device's vendor, or PoCL to use the CPU");
    SLAD_FAIL_IF(discovery->count == 0, SLAD_ERROR_NO_DEVICE,
                 "OpenCL drivers are installed (%zu platforms), but none offers a device; check that the device is "
                 "there and that you may use it",
                 discovery->platform_count);
    SLAD_FAIL_IF(!first && spec, SLAD_ERROR_NO_DEVICE,
                 "no device answers to \"%s\"; give P:D or a part of a name. There are: %s", spec, there);
    SLAD_FAIL_IF(!first, SLAD_ERROR_NO_DEVICE,
                 "there is neither a GPU nor a CPU device; accelerators must be named. There are: %s", there);
    SLAD_FAIL_IF(!best, SLAD_ERROR_NO_DEVICE, "%s cannot be used: %s. There are: %s", first->info.name,
                 first->info.reason, there);
    if (best != first)
        slad_log(context, SLAD_LOG_WARNING,
                 "device %u:%u, %s, would come first but cannot be used: %s. Using %s instead",
                 first->info.platform_index, first->info.device_index, first->info.name, first->info.reason,
                 best->info.name);
    *chosen = best;
cleanup:
    return status;
}
