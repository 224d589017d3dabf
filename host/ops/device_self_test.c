/* The self-test of every kernel, for reports. */
#include "base/memory.h"
#include "cl/device.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"

slad_status slad_device_self_test(slad_device *device, slad_self_test *result)
{
    slad_context *context = device->context;
    slad_status status = SLAD_OK;
    const size_t rows = slad_kernel_table_count();
    *result = (slad_self_test){0};
    SLAD_TRY(slad_allocate(context, &result->kernels, rows, sizeof *result->kernels, "results of the self-test"));
    for (size_t i = 0; i < rows; i++) {
        const slad_kernel_row *row = slad_kernel_table_at(i);
        slad_self_test_result measured;
        if (!row->self_test) continue;
        status = slad_self_test_run(device, row, "", &measured);
        if (status != SLAD_OK && status != SLAD_ERROR_SELF_TEST) break;
        result->kernels[result->count++] =
            (slad_kernel_check){row->entry, status == SLAD_OK, measured.error, row->tolerance};
        if (status != SLAD_OK) result->failed++;
        status = SLAD_OK;
    }
cleanup:
    if (status != SLAD_OK) slad_self_test_free(result);
    return status;
}

void slad_self_test_free(slad_self_test *result)
{
    slad_release(result->kernels);
    *result = (slad_self_test){0};
}
