/* A wall clock of its own for one process: LD_PRELOAD this, and CLOCK_REALTIME, time() and gettimeofday() are off by what
 * the file named by CLOCKSHIFT_FILE says: seconds, in text. The file is read again with every look, so the clock jumps when
 * it is written. No time service vouches for such a clock, unless CLOCKSHIFT_DISCIPLINED is set. Monotonic clocks stay.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static long long shift(void) {
    const char *path = getenv("CLOCKSHIFT_FILE");
    char text[32] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t count = read(file, text, sizeof text - 1);
    close(file);
    return count > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

int adjtimex(struct timex *report) {
    int is_disciplined = getenv("CLOCKSHIFT_DISCIPLINED") != NULL;
    report->status = is_disciplined ? STA_PLL : STA_UNSYNC;
    return is_disciplined ? TIME_OK : TIME_ERROR;
}
