#define _GNU_SOURCE
#include "simulated_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DISKS_MAX = 64, FILES_MAX = 32, PATH_MAX_BYTES = 512, SECTOR = 512 };

/* One thing that was asked of a file since its last sync. */
typedef struct change {
    struct change *next;
    enum { WRITE, RESIZE, DELETE } kind;
    int64_t offset; /* or the new size */
    int64_t length;
    unsigned char bytes[];
} change;

typedef struct {
    char path[PATH_MAX_BYTES];
    /* On the platter. */
    unsigned char *bytes;
    int64_t size, room;
    int exists;
    /* As it is seen. */
    int64_t seen_size;
    change *first, *last;
} stored_file;

typedef struct {
    int is_used, is_cut;
    char folder[PATH_MAX_BYTES];
    size_t folder_length;
    uint64_t random;
    int64_t limit;
    int fail_syncs, fail_writes, cut_after;
    simulated_disk_counts counts;
    stored_file files[FILES_MAX];
    int file_count;
} disk;

typedef struct {
    sqlite3_file base;
    disk *disk;
    stored_file *stored;
    sqlite3_file real[];
} open_file;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static disk disks[DISKS_MAX];
static sqlite3_vfs *system_vfs;
static sqlite3_vfs own_vfs;

static uint64_t next_random(disk *disk) {
    uint64_t mixed = (disk->random += 0x9E3779B97F4A7C15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
}

static void note(disk *disk, uint64_t what, int64_t where, int64_t size) {
    const uint64_t words[] = {what, (uint64_t)where, (uint64_t)size};
    for (int index = 0; index < 3; index++) {
        disk->counts.trace = (disk->counts.trace ^ words[index]) * 0x100000001B3u;
        disk->counts.trace ^= disk->counts.trace >> 29;
    }
}

static disk *disk_of(const char *path) {
    if (!path) return NULL;
    for (int index = 0; index < DISKS_MAX; index++) {
        disk *disk = &disks[index];
        if (disk->is_used && strncmp(path, disk->folder, disk->folder_length) == 0 &&
            path[disk->folder_length] == '/')
            return disk;
    }
    return NULL;
}

static stored_file *stored(disk *disk, const char *path) {
    for (int index = 0; index < disk->file_count; index++)
        if (strcmp(disk->files[index].path, path) == 0) return &disk->files[index];
    if (disk->file_count == FILES_MAX || strlen(path) >= PATH_MAX_BYTES) abort();
    stored_file *file = &disk->files[disk->file_count++];
    memset(file, 0, sizeof *file);
    strcpy(file->path, path);
    return file;
}

static int64_t reserve_size(disk *disk) {
    static const char *const names[] = {"outbox.sqlite.reserve", "log.sqlite.reserve"};
    int64_t size = 0;
    for (int index = 0; index < 2; index++) {
        char path[PATH_MAX_BYTES * 2];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", disk->folder, names[index]);
        if (stat(path, &info) == 0) size += info.st_size;
    }
    return size;
}

static int64_t used(disk *disk) {
    int64_t size = reserve_size(disk);
    for (int index = 0; index < disk->file_count; index++) size += disk->files[index].seen_size;
    return size;
}

static int has_room(disk *disk, int64_t more) { return disk->limit < 0 || used(disk) + more <= disk->limit; }

static void add(stored_file *file, int kind, int64_t offset, const void *bytes, int64_t length) {
    change *made = malloc(sizeof *made + (size_t)length);
    if (!made) abort();
    made->next = NULL;
    made->kind = kind;
    made->offset = offset;
    made->length = length;
    if (length > 0) memcpy(made->bytes, bytes, (size_t)length);
    if (file->last) file->last->next = made;
    else file->first = made;
    file->last = made;
}

static void forget_changes(stored_file *file) {
    while (file->first) {
        change *next = file->first->next;
        free(file->first);
        file->first = next;
    }
    file->last = NULL;
}

static void resize(stored_file *file, int64_t size) {
    if (size > file->room) {
        int64_t room = size * 2 > 65536 ? size * 2 : 65536;
        file->bytes = realloc(file->bytes, (size_t)room);
        if (!file->bytes) abort();
        file->room = room;
    }
    if (size > file->size) memset(file->bytes + file->size, 0, (size_t)(size - file->size));
    file->size = size;
}

static void put(stored_file *file, int64_t offset, const unsigned char *bytes, int64_t length) {
    if (offset + length > file->size) resize(file, offset + length);
    memcpy(file->bytes + offset, bytes, (size_t)length);
    file->exists = 1;
}

static void apply(stored_file *file, const change *change) {
    switch (change->kind) {
    case WRITE: put(file, change->offset, change->bytes, change->length); break;
    case RESIZE: resize(file, change->offset); break;
    case DELETE:
        resize(file, 0);
        file->exists = 0;
        break;
    }
}

/* What was deleted stays deleted: the folder was synced. */
static void settle_deletes(disk *disk) {
    for (int index = 0; index < disk->file_count; index++) {
        stored_file *file = &disk->files[index];
        change *last = NULL;
        for (change *change = file->first; change; change = change->next)
            if (change->kind == DELETE) last = change;
        if (!last) continue;
        while (file->first != last) {
            change *next = file->first->next;
            free(file->first);
            file->first = next;
        }
        apply(file, last);
        file->first = last->next;
        if (!file->first) file->last = NULL;
        free(last);
    }
}

static void settle(stored_file *file) {
    for (change *change = file->first; change; change = change->next) apply(file, change);
    forget_changes(file);
    file->exists = 1;
}

/* Counts towards a cut in the middle. */
static int is_dead(disk *disk) {
    if (!disk->is_cut && disk->cut_after > 0 && --disk->cut_after == 0) {
        disk->is_cut = 1;
        disk->counts.cuts++;
    }
    return disk->is_cut;
}

/* ---- an open file ---- */

static sqlite3_file *real_of(sqlite3_file *file) { return ((open_file *)file)->real; }

static int file_close(sqlite3_file *file) { return real_of(file)->pMethods->xClose(real_of(file)); }

static int file_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset) {
    return real_of(file)->pMethods->xRead(real_of(file), bytes, count, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
    open_file *mine = (open_file *)file;
    int result = SQLITE_OK;
    pthread_mutex_lock(&lock);
    disk *disk = mine->disk;
    stored_file *stored = mine->stored;
    note(disk, 1, offset, count);
    if (is_dead(disk)) {
        errno = EIO;
        result = SQLITE_IOERR_WRITE;
    } else if (disk->fail_writes > 0) {
        disk->fail_writes--;
        disk->counts.failed_writes++;
        errno = EIO;
        result = SQLITE_IOERR_WRITE;
    } else if (offset + count > stored->seen_size && !has_room(disk, offset + count - stored->seen_size)) {
        disk->counts.refused_full++;
        errno = ENOSPC;
        result = SQLITE_FULL;
    } else {
        disk->counts.writes++;
        add(stored, WRITE, offset, bytes, count);
        if (offset + count > stored->seen_size) stored->seen_size = offset + count;
        result = mine->real->pMethods->xWrite(mine->real, bytes, count, offset);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    open_file *mine = (open_file *)file;
    int result = SQLITE_IOERR_TRUNCATE;
    pthread_mutex_lock(&lock);
    note(mine->disk, 2, size, 0);
    if (!mine->disk->is_cut) {
        result = mine->real->pMethods->xTruncate(mine->real, size);
        if (result == SQLITE_OK) {
            add(mine->stored, RESIZE, size, NULL, 0);
            mine->stored->seen_size = size;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int file_sync(sqlite3_file *file, int flags) {
    (void)flags;
    open_file *mine = (open_file *)file;
    int result = SQLITE_OK;
    pthread_mutex_lock(&lock);
    disk *disk = mine->disk;
    note(disk, 3, 0, 0);
    if (is_dead(disk)) {
        errno = EIO;
        result = SQLITE_IOERR_FSYNC;
    } else if (disk->fail_syncs > 0) {
        disk->fail_syncs--;
        disk->counts.failed_syncs++;
        forget_changes(mine->stored);
        errno = EIO;
        result = SQLITE_IOERR_FSYNC;
    } else {
        disk->counts.syncs++;
        /* SQLite syncs the folder with the first sync of a journal or log that it made. */
        settle_deletes(disk);
        settle(mine->stored);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}
static int file_lock(sqlite3_file *file, int level) { return real_of(file)->pMethods->xLock(real_of(file), level); }
static int file_unlock(sqlite3_file *file, int level) { return real_of(file)->pMethods->xUnlock(real_of(file), level); }
static int file_reserved(sqlite3_file *file, int *is_reserved) {
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), is_reserved);
}
static int file_control(sqlite3_file *file, int what, void *value) {
    /* The system's own would write ahead behind our back. */
    if (what == SQLITE_FCNTL_SIZE_HINT || what == SQLITE_FCNTL_CHUNK_SIZE) return SQLITE_OK;
    return real_of(file)->pMethods->xFileControl(real_of(file), what, value);
}
static int file_sector(sqlite3_file *file) {
    (void)file;
    return SECTOR;
}
static int file_traits(sqlite3_file *file) {
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}
static int shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **memory) {
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, memory);
}
static int shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}
static void shm_barrier(sqlite3_file *file) { real_of(file)->pMethods->xShmBarrier(real_of(file)); }
static int shm_unmap(sqlite3_file *file, int deletes) {
    return real_of(file)->pMethods->xShmUnmap(real_of(file), deletes);
}

static const sqlite3_io_methods methods = {
    2,          file_close,  file_read,     file_write,   file_truncate, file_sync,   file_size, file_lock, file_unlock,
    file_reserved, file_control, file_sector, file_traits, shm_map,       shm_lock,    shm_barrier, shm_unmap, NULL, NULL,
};

/* ---- the file system ---- */

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *outcome) {
    (void)vfs;
    pthread_mutex_lock(&lock);
    disk *disk = disk_of(name);
    int is_cut = disk && disk->is_cut;
    pthread_mutex_unlock(&lock);
    file->pMethods = NULL;
    if (is_cut) return SQLITE_CANTOPEN;
    if (!disk) return system_vfs->xOpen(system_vfs, name, file, flags, outcome);
    open_file *mine = (open_file *)file;
    int result = system_vfs->xOpen(system_vfs, name, mine->real, flags, outcome);
    if (result != SQLITE_OK) return result;
    mine->disk = disk;
    pthread_mutex_lock(&lock);
    mine->stored = stored(disk, name);
    note(disk, 4, 0, 0);
    pthread_mutex_unlock(&lock);
    mine->base.pMethods = &methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int syncs_folder) {
    (void)vfs;
    int result = SQLITE_IOERR_DELETE;
    pthread_mutex_lock(&lock);
    disk *disk = disk_of(name);
    if (!disk || !disk->is_cut) result = system_vfs->xDelete(system_vfs, name, syncs_folder);
    if (disk && result == SQLITE_OK) {
        stored_file *file = stored(disk, name);
        note(disk, 5, 0, 0);
        add(file, DELETE, 0, NULL, 0);
        file->seen_size = 0;
        if (syncs_folder) {
            settle(file);
            file->exists = 0;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int simulated_disk_install(void) {
    pthread_mutex_lock(&lock);
    if (!system_vfs) {
        sqlite3_initialize();
        system_vfs = sqlite3_vfs_find(NULL);
        own_vfs = *system_vfs;
        own_vfs.zName = "simulated-disk";
        own_vfs.szOsFile = (int)sizeof(open_file) + system_vfs->szOsFile;
        own_vfs.pNext = NULL;
        own_vfs.xOpen = vfs_open;
        own_vfs.xDelete = vfs_delete;
    }
    pthread_mutex_unlock(&lock);
    return sqlite3_vfs_register(&own_vfs, 1);
}

/* ---- disks ---- */

int simulated_disk_make(const char *folder, uint64_t seed) {
    int number = -1;
    pthread_mutex_lock(&lock);
    for (int index = 0; index < DISKS_MAX && number < 0; index++)
        if (!disks[index].is_used) number = index;
    if (number >= 0 && strlen(folder) < PATH_MAX_BYTES) {
        disk *disk = &disks[number];
        memset(disk, 0, sizeof *disk);
        disk->is_used = 1;
        strcpy(disk->folder, folder);
        disk->folder_length = strlen(folder);
        disk->random = seed;
        disk->limit = -1;
    }
    pthread_mutex_unlock(&lock);
    return number;
}

void simulated_disk_free(int number) {
    pthread_mutex_lock(&lock);
    disk *disk = &disks[number];
    for (int index = 0; index < disk->file_count; index++) {
        forget_changes(&disk->files[index]);
        free(disk->files[index].bytes);
    }
    disk->is_used = 0;
    pthread_mutex_unlock(&lock);
}

void simulated_disk_cut(int number) {
    pthread_mutex_lock(&lock);
    if (!disks[number].is_cut) disks[number].counts.cuts++;
    disks[number].is_cut = 1;
    pthread_mutex_unlock(&lock);
}

/* A write whose sectors each have their own luck. Returns how many of them came through. */
static int64_t tear(disk *disk, stored_file *file, const change *change, int64_t *total) {
    int64_t kept = 0, done = 0;
    *total = 0;
    while (done < change->length) {
        int64_t start = change->offset + done;
        int64_t length = SECTOR - start % SECTOR;
        if (length > change->length - done) length = change->length - done;
        if (next_random(disk) & 1) {
            put(file, start, change->bytes + done, length);
            kept++;
        }
        (*total)++;
        done += length;
    }
    return kept;
}

/* What the platter has of the changes since the last sync. A disk writes in any order that it likes. */
static void survive(disk *disk, stored_file *file) {
    /* 0 nothing, 1 all, 2 all up to a moment, 3 each on its own */
    int manner = (int)(next_random(disk) % 4);
    int64_t count = 0, index = 0;
    for (change *change = file->first; change; change = change->next) count++;
    int64_t moment = count > 0 ? (int64_t)(next_random(disk) % (uint64_t)(count + 1)) : 0;
    for (change *change = file->first; change; change = change->next, index++) {
        int luck = manner == 0 ? 0 : manner == 1 ? 2 : manner == 2 ? (index < moment ? 2 : index == moment ? 1 : 0)
                                                                   : (int)(next_random(disk) % 3);
        if (luck == 1 && change->kind != WRITE) luck = (int)(next_random(disk) & 1) * 2;
        int64_t total = 1, kept = luck == 2 ? 1 : 0;
        if (luck == 2) apply(file, change);
        if (luck == 1) kept = tear(disk, file, change, &total);
        if (kept == 0) disk->counts.lost++;
        else if (kept == total) disk->counts.kept++;
        else disk->counts.torn++;
    }
    forget_changes(file);
}

static int write_out(stored_file *file) {
    file->seen_size = file->exists ? file->size : 0;
    if (!file->exists) {
        file->size = 0;
        unlink(file->path);
        return 0;
    }
    int descriptor = open(file->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0) return -1;
    int64_t done = 0;
    while (done < file->size) {
        ssize_t count = write(descriptor, file->bytes + done, (size_t)(file->size - done));
        if (count <= 0) break;
        done += count;
    }
    close(descriptor);
    return done == file->size ? 0 : -1;
}

int simulated_disk_restore(int number) {
    int result = 0;
    pthread_mutex_lock(&lock);
    disk *disk = &disks[number];
    for (int index = 0; index < disk->file_count; index++) {
        stored_file *file = &disk->files[index];
        char memory[PATH_MAX_BYTES + 8];
        survive(disk, file);
        if (write_out(file) != 0) result = -1;
        snprintf(memory, sizeof memory, "%s-shm", file->path);
        unlink(memory);
    }
    disk->is_cut = 0;
    disk->cut_after = 0;
    disk->fail_syncs = 0;
    disk->fail_writes = 0;
    pthread_mutex_unlock(&lock);
    return result;
}

void simulated_disk_freeze(int number) {
    pthread_mutex_lock(&lock);
    disks[number].is_cut = 1;
    pthread_mutex_unlock(&lock);
}

void simulated_disk_thaw(int number) {
    pthread_mutex_lock(&lock);
    disks[number].is_cut = 0;
    pthread_mutex_unlock(&lock);
}

void simulated_disk_limit(int number, int64_t bytes) {
    pthread_mutex_lock(&lock);
    disks[number].limit = bytes;
    pthread_mutex_unlock(&lock);
}

int64_t simulated_disk_used(int number) {
    pthread_mutex_lock(&lock);
    int64_t size = used(&disks[number]);
    pthread_mutex_unlock(&lock);
    return size;
}

void simulated_disk_fail_syncs(int number, int count) {
    pthread_mutex_lock(&lock);
    disks[number].fail_syncs = count;
    pthread_mutex_unlock(&lock);
}

void simulated_disk_fail_writes(int number, int count) {
    pthread_mutex_lock(&lock);
    disks[number].fail_writes = count;
    pthread_mutex_unlock(&lock);
}

void simulated_disk_cut_after(int number, int count) {
    pthread_mutex_lock(&lock);
    disks[number].cut_after = count;
    pthread_mutex_unlock(&lock);
}

int simulated_disk_is_cut(int number) {
    pthread_mutex_lock(&lock);
    int is_cut = disks[number].is_cut;
    pthread_mutex_unlock(&lock);
    return is_cut;
}

simulated_disk_counts simulated_disk_report(int number) {
    pthread_mutex_lock(&lock);
    simulated_disk_counts counts = disks[number].counts;
    pthread_mutex_unlock(&lock);
    return counts;
}

/* ---- room that is reserved beside SQLite ---- */

/* Takes the place of the library's: a reserve on a simulated disk counts there, and takes no memory here. */
int posix_fallocate(int descriptor, off_t offset, off_t length) {
    char link[64], path[PATH_MAX_BYTES * 2];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t count = readlink(link, path, sizeof path - 1);
    if (count > 0) {
        path[count] = 0;
        pthread_mutex_lock(&lock);
        disk *disk = disk_of(path);
        int64_t have = 0;
        struct stat info;
        if (disk && fstat(descriptor, &info) == 0) have = info.st_size;
        int result = -1;
        if (disk && have >= offset + length) result = 0;
        else if (disk && (disk->is_cut || !has_room(disk, offset + length - have))) result = ENOSPC;
        else if (disk) result = ftruncate(descriptor, offset + length) == 0 ? 0 : errno;
        pthread_mutex_unlock(&lock);
        if (result >= 0) return result;
    }
    return syscall(SYS_fallocate, descriptor, 0, offset, length) == 0 ? 0 : errno;
}
