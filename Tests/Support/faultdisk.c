/* A failing disk for one process: LD_PRELOAD this. While the file named by FAULTDISK_FILE exists, its first word says what
 * the disk does to files whose path begins with FAULTDISK_FOLDER:
 *
 *   sync   fdatasync and fsync fail with EIO, and what was written since the last good one is undone, as when the kernel
 *          gave the pages up: neither the disk nor the cache has them any more
 *   write  every write fails with EIO
 *   full   every write fails with ENOSPC
 *
 * Reading goes on. Takes over write, pwrite, pwrite64, fsync and fdatasync, and posix_fallocate for `full`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct undo {
    struct undo *older;
    dev_t device;
    ino_t inode;
    off64_t offset, old_size;
    size_t length;
    char old[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo *newest;
static const char *folder, *order_file;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_fallocate)(int, off64_t, off64_t);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate64");
    order_file = getenv("FAULTDISK_FILE");
    folder = order_file ? getenv("FAULTDISK_FOLDER") : NULL;
}

/* The first letter of the order that stands now; 0 for none. */
static char order(void) {
    char word = 0;
    int fd = open(order_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (read(fd, &word, 1) != 1) word = 0;
    close(fd);
    return word;
}

static int is_ours(int fd, struct stat *info) {
    char link[64], path[4096];
    if (!folder || fstat(fd, info) != 0 || !S_ISREG(info->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0 && !strstr(path, "-shm") && !strstr(path, ".lock");
}

/* Call with the lock held. */
static void remember(struct stat *info, int fd, off64_t offset, size_t length) {
    char link[64];
    struct undo *entry = malloc(sizeof *entry + length);
    if (!entry) abort();
    *entry = (struct undo){.older = newest, .device = info->st_dev, .inode = info->st_ino, .offset = offset,
                           .old_size = info->st_size};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = open(link, O_RDONLY | O_CLOEXEC);
    ssize_t got = reader >= 0 && offset < info->st_size ? pread64(reader, entry->old, length, offset) : 0;
    if (reader >= 0) close(reader);
    entry->length = got > 0 ? (size_t)got : 0;
    newest = entry;
}

/* Forgets what was written to the file, undoing it or not. Call with the lock held. */
static void settle(int fd, int undo) {
    struct stat info;
    if (fstat(fd, &info) != 0) return;
    for (struct undo **link = &newest; *link;) {
        struct undo *entry = *link;
        if (entry->device != info.st_dev || entry->inode != info.st_ino) {
            link = &entry->older;
            continue;
        }
        if (undo) {
            if (entry->length > 0 && real_pwrite64(fd, entry->old, entry->length, entry->offset) < 0) abort();
            if (ftruncate64(fd, entry->old_size) != 0) abort();
        }
        *link = entry->older;
        free(entry);
    }
}

static ssize_t written(int fd, const void *bytes, size_t count, off64_t offset, int has_offset) {
    struct stat info;
    if (!is_ours(fd, &info)) return has_offset ? real_pwrite64(fd, bytes, count, offset) : real_write(fd, bytes, count);
    char now = order();
    if (now == 'w' || now == 'f') {
        errno = now == 'w' ? EIO : ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    remember(&info, fd, has_offset ? offset : lseek64(fd, 0, SEEK_CUR), count);
    ssize_t result = has_offset ? real_pwrite64(fd, bytes, count, offset) : real_write(fd, bytes, count);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count) { return written(fd, bytes, count, 0, 0); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return written(fd, bytes, count, at, 1); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return written(fd, bytes, count, at, 1); }

int posix_fallocate(int fd, off_t offset, off_t length) {
    struct stat info;
    if (is_ours(fd, &info) && order() == 'f') return ENOSPC;
    return real_fallocate(fd, offset, length);
}

static int synced(int fd, int (*real)(int)) {
    struct stat info;
    if (!is_ours(fd, &info)) return real(fd);
    int fails = order() == 's';
    pthread_mutex_lock(&lock);
    int result = fails ? -1 : real(fd);
    settle(fd, fails);
    pthread_mutex_unlock(&lock);
    if (fails) errno = EIO;
    return result;
}

int fdatasync(int fd) { return synced(fd, real_fdatasync); }
int fsync(int fd) { return synced(fd, real_fsync); }
