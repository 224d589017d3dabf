/* Linked into the tests of sanitizer builds: nothing is unloaded, so that the leak checker can still name the driver
 * that a block belongs to, and tests/lsan.supp can match it. Takes the place of the C library's function. */
#include <dlfcn.h>

__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
