/* A power cut for one process: LD_PRELOAD this, and when the file named by POWERCUT_FILE appears, every write that was not
 * followed by fsync or fdatasync of its file is undone, newest first, and the process is gone. What is left on disk is
 * what a disk may hold after the cable was pulled, in the worst case: nothing that was not synced.
 *
 * Only files below POWERCUT_FOLDER count. Covers write, pwrite, pwrite64, ftruncate, ftruncate64 and unlink as SQLite
 * uses them; shared-memory files (-shm) are not part of what survives and are left out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct undo {
    struct undo *older;
    dev_t device;
    ino_t inode;
    char *path;
    off64_t offset;
    off64_t old_size;
    size_t length;
    char old[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo *newest;
static const char *folder, *cut_file;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static int (*real_ftruncate64)(int, off64_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);

static int is_ours(int fd, char *path, size_t size, struct stat *info) {
    char link[64];
    if (!folder || fstat(fd, info) != 0 || !S_ISREG(info->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0 && !strstr(path, "-shm") && !strstr(path, ".log");
}

/* Remembers what a change of [offset, offset + length) replaces. Call with the lock held. */
static void remember(int fd, off64_t offset, size_t length) {
    char path[4096];
    struct stat info;
    if (!is_ours(fd, path, sizeof path, &info)) return;
    struct undo *entry = malloc(sizeof *entry + length);
    if (!entry) abort();
    entry->device = info.st_dev;
    entry->inode = info.st_ino;
    entry->path = strdup(path);
    entry->offset = offset;
    entry->old_size = info.st_size;
    ssize_t got = 0;
    if (offset < info.st_size && length > 0) {
        int reader = open(path, O_RDONLY | O_CLOEXEC);
        if (reader >= 0) {
            got = pread64(reader, entry->old, length, offset);
            close(reader);
        }
    }
    entry->length = got > 0 ? (size_t)got : 0;
    entry->older = newest;
    newest = entry;
}

/* What was synced cannot be taken back. Call with the lock held. */
static void forget(int fd) {
    struct stat info;
    if (fstat(fd, &info) != 0) return;
    for (struct undo **link = &newest; *link;) {
        struct undo *entry = *link;
        if (entry->device == info.st_dev && entry->inode == info.st_ino) {
            *link = entry->older;
            free(entry->path);
            free(entry);
        } else {
            link = &entry->older;
        }
    }
}

static void cut(void) {
    pthread_mutex_lock(&lock);
    for (struct undo *entry = newest; entry; entry = entry->older) {
        int fd = open(entry->path, O_WRONLY | O_CLOEXEC);
        if (fd < 0) continue;
        if (entry->length > 0) real_pwrite64(fd, entry->old, entry->length, entry->offset);
        real_ftruncate64(fd, entry->old_size);
        close(fd);
    }
    kill(getpid(), SIGKILL);
}

static void *watch(void *unused) {
    (void)unused;
    while (access(cut_file, F_OK) != 0) usleep(500);
    cut();
    return NULL;
}

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate64 = dlsym(RTLD_NEXT, "ftruncate64");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    cut_file = getenv("POWERCUT_FILE");
    if (!cut_file) return;
    folder = getenv("POWERCUT_FOLDER");
    pthread_t thread;
    if (pthread_create(&thread, NULL, watch, NULL) != 0) abort();
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!folder) return real_write(fd, bytes, count);
    pthread_mutex_lock(&lock);
    off64_t at = lseek64(fd, 0, (fcntl(fd, F_GETFL) & O_APPEND) ? SEEK_END : SEEK_CUR);
    if (at >= 0) remember(fd, at, count);
    ssize_t result = -1;
    if (at >= 0) result = real_write(fd, bytes, count);
    pthread_mutex_unlock(&lock);
    return at >= 0 ? result : real_write(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    if (!folder) return real_pwrite64(fd, bytes, count, offset);
    pthread_mutex_lock(&lock);
    remember(fd, offset, count);
    ssize_t result = real_pwrite64(fd, bytes, count, offset);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return pwrite64(fd, bytes, count, offset); }

int ftruncate64(int fd, off64_t size) {
    if (!folder) return real_ftruncate64(fd, size);
    struct stat info;
    pthread_mutex_lock(&lock);
    if (fstat(fd, &info) == 0) remember(fd, size, info.st_size > size ? (size_t)(info.st_size - size) : 0);
    int result = real_ftruncate64(fd, size);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* The sync runs outside the lock, so that other files go on; a write to the same file meanwhile stays undoable. */
static int synced(int fd, int (*real)(int)) {
    if (!folder) return real(fd);
    pthread_mutex_lock(&lock);
    int result = real(fd);
    if (result == 0) forget(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int fd) { return synced(fd, real_fdatasync); }
int fsync(int fd) { return synced(fd, real_fsync); }
