/* A failing disk for one process: LD_PRELOAD this. While the file named by FAULTDISK_FILE exists, its first word says what
 * the disk does to files whose path begins with FAULTDISK_FOLDER:
 *
 *   sync   fdatasync and fsync fail with EIO, and what was written since the last good one is undone, as when the kernel
 *          gave the pages up: neither the disk nor the cache has them any more
 *   cache  fdatasync and fsync fail with EIO, and what was written since the last good one stays in the cache as if it were
 *          clean: it is read back, and no later sync brings it to the disk
 *   write  every write fails with EIO
 *   full   every write fails with ENOSPC
 *   ro     every write, and opening for writing, fails with EROFS
 *   gone   the disk was pulled: files that were open are dead for good (EIO), and nothing is found at its path until the
 *          order ends
 *   !      a power cut: the files are again what the disk has, and the process is gone
 *
 * With `sync`, `write`, `full` and `ro` reading goes on. For `cache` and `!`, FAULTDISK_IMAGES names a folder for copies of
 * what the disk has, which outlive the process. Takes over open, stat, read, write, fsync, fdatasync and posix_fallocate in
 * the forms that SQLite and the gateway call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
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
    size_t length, written;
    char old[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo *newest;
static const char *folder, *order_file, *images;
/* How often the disk was pulled, by now and when a descriptor was opened. */
static int pulls, is_pulled;
static int opened_at[65536];
static ssize_t (*real_pread64)(int, void *, size_t, off64_t);
static ssize_t (*real_read)(int, void *, size_t);
static int (*real_open64)(const char *, int, ...);
static int (*real_stat64)(const char *, struct stat64 *);
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
    real_pread64 = dlsym(RTLD_NEXT, "pread64");
    real_read = dlsym(RTLD_NEXT, "read");
    real_open64 = dlsym(RTLD_NEXT, "open64");
    real_stat64 = dlsym(RTLD_NEXT, "stat64");
    images = getenv("FAULTDISK_IMAGES");
    order_file = getenv("FAULTDISK_FILE");
    folder = order_file ? getenv("FAULTDISK_FOLDER") : NULL;
}

/* The first letter of the order that stands now; 0 for none. */
static char order(void) {
    char word = 0;
    int fd = real_open64(order_file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (real_read(fd, &word, 1) != 1) word = 0;
        close(fd);
    }
    if ((word == 'g') != is_pulled) {
        is_pulled = word == 'g';
        pulls += is_pulled;
    }
    return word;
}

static int is_ours_by_name(const char *path) {
    if (!real_open64) begin(); /* other libraries begin before this one */
    return folder && path && strncmp(path, folder, strlen(folder)) == 0 && !strstr(path, "-shm");
}

/* Whether the descriptor is of a disk that was pulled since. */
static int is_dead(int fd) { return fd >= 0 && fd < 65536 && opened_at[fd] != pulls; }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (is_ours_by_name(path)) {
        char now = order();
        if (now == 'g' || (now == 'r' && (flags & O_ACCMODE) != O_RDONLY)) {
            errno = now == 'g' ? ENOENT : EROFS;
            return -1;
        }
    }
    int fd = real_open64(path, flags, mode);
    if (fd >= 0 && fd < 65536) opened_at[fd] = pulls;
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

int stat64(const char *path, struct stat64 *info) {
    if (is_ours_by_name(path) && order() == 'g') {
        errno = ENOENT;
        return -1;
    }
    return real_stat64(path, info);
}

int stat(const char *path, struct stat *info) { return stat64(path, (struct stat64 *)info); }

static int is_ours(int fd, struct stat *info) {
    char link[64], path[4096];
    if (!folder || fstat(fd, info) != 0 || !S_ISREG(info->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0 && !strstr(path, "-shm") && !strstr(path, ".lock");
}

static int is_unreadable(int fd) {
    struct stat info;
    if (!folder || !is_ours(fd, &info)) return 0;
    order();
    if (!is_dead(fd)) return 0;
    errno = EIO;
    return 1;
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    if (!real_pread64) begin();
    return is_unreadable(fd) ? -1 : real_pread64(fd, bytes, count, at);
}
ssize_t pread(int fd, void *bytes, size_t count, off_t at) { return pread64(fd, bytes, count, at); }
ssize_t read(int fd, void *bytes, size_t count) {
    if (!real_read) begin();
    return is_unreadable(fd) ? -1 : real_read(fd, bytes, count);
}

/* What the disk has of a file, kept in a file of its own; -1 without a folder for it. Call with the lock held. */
static int image(struct stat *info, int fd) {
    char path[4096], buffer[65536];
    if (!images) return -1;
    snprintf(path, sizeof path, "%s/%llu", images, (unsigned long long)info->st_ino);
    int file = real_open64(path, O_RDWR | O_CLOEXEC);
    if (file >= 0) return file;
    file = real_open64(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = real_open64(link, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    off64_t at = 0;
    while (reader >= 0 && (got = real_pread64(reader, buffer, sizeof buffer, at)) > 0) {
        if (real_pwrite64(file, buffer, got, at) != got) abort();
        at += got;
    }
    if (reader >= 0) close(reader);
    return file;
}

/* Brings what was written to the disk. Call with the lock held. */
static void bring(struct undo *entry, int fd, size_t length) {
    struct stat info;
    char *bytes = malloc(length + 1);
    if (!bytes || fstat(fd, &info) != 0) abort();
    int file = image(&info, fd);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = real_open64(link, O_RDONLY | O_CLOEXEC);
    if (file >= 0 && reader >= 0) {
        ssize_t got = real_pread64(reader, bytes, length, entry->offset);
        if (got > 0 && real_pwrite64(file, bytes, got, entry->offset) != got) abort();
        if (ftruncate64(file, info.st_size) != 0) abort();
    }
    if (reader >= 0) close(reader);
    if (file >= 0) close(file);
    free(bytes);
}

/* The files become what the disk has. Call with the lock held. */
static void cut(void) {
    const char *suffixes[] = {"", "-wal"};
    for (int place = 0; place < 2; place++) {
        char path[4096], buffer[65536];
        struct stat info;
        snprintf(path, sizeof path, "%s%s", folder, suffixes[place]);
        int file = real_open64(path, O_RDWR | O_CLOEXEC);
        if (file < 0 || fstat(file, &info) != 0) continue;
        int disk = image(&info, file);
        if (disk < 0) abort();
        ssize_t got;
        off64_t at = 0;
        while ((got = real_pread64(disk, buffer, sizeof buffer, at)) > 0) {
            if (real_pwrite64(file, buffer, got, at) != got) abort();
            at += got;
        }
        if (ftruncate64(file, at) != 0) abort();
    }
    kill(getpid(), SIGKILL);
}

/* Call with the lock held. */
static void remember(struct stat *info, int fd, off64_t offset, size_t length) {
    char link[64];
    struct undo *entry = malloc(sizeof *entry + length);
    if (!entry) abort();
    *entry = (struct undo){.older = newest, .device = info->st_dev, .inode = info->st_ino, .offset = offset,
                           .old_size = info->st_size, .written = length};
    if (images) close(image(info, fd));
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = real_open64(link, O_RDONLY | O_CLOEXEC);
    ssize_t got = reader >= 0 && offset < info->st_size ? real_pread64(reader, entry->old, length, offset) : 0;
    if (reader >= 0) close(reader);
    entry->length = got > 0 ? (size_t)got : 0;
    newest = entry;
}

/* Forgets what was written to the file: undoes it, brings it to the disk, or neither. Call with the lock held. */
static void settle(int fd, int undo, int is_brought) {
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
        if (is_brought && images) bring(entry, fd, entry->written);
        *link = entry->older;
        free(entry);
    }
}

static ssize_t written(int fd, const void *bytes, size_t count, off64_t offset, int has_offset) {
    struct stat info;
    if (!real_write) begin();
    if (!is_ours(fd, &info)) return has_offset ? real_pwrite64(fd, bytes, count, offset) : real_write(fd, bytes, count);
    char now = order();
    if (now == 'w' || now == 'f' || now == 'r' || is_dead(fd)) {
        errno = now == 'f' ? ENOSPC : now == 'r' ? EROFS : EIO;
        return -1;
    }
    pthread_mutex_lock(&lock);
    if (now == '!') cut();
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
    char now = is_ours(fd, &info) ? order() : 0;
    if (now == 'f' || now == 'r') return now == 'f' ? ENOSPC : EROFS;
    if (now && is_dead(fd)) return EIO;
    return real_fallocate(fd, offset, length);
}

static int synced(int fd, int (*real)(int)) {
    struct stat info;
    if (!is_ours(fd, &info)) return real(fd);
    char now = order();
    int fails = now == 's' || now == 'c' || is_dead(fd);
    pthread_mutex_lock(&lock);
    int result = fails ? -1 : real(fd);
    settle(fd, now == 's', !fails);
    pthread_mutex_unlock(&lock);
    if (fails) errno = EIO;
    return result;
}

int fdatasync(int fd) { return synced(fd, real_fdatasync); }
int fsync(int fd) { return synced(fd, real_fsync); }
