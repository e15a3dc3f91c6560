/* Makes every sync of a file as slow as SLOWSYNC_MS says: a worn SD card, for LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_long(void) {
    const char *text = getenv("SLOWSYNC_MS");
    if (text) usleep((useconds_t)atoi(text) * 1000);
}

int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_long();
    return real(file);
}

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_long();
    return real(file);
}
