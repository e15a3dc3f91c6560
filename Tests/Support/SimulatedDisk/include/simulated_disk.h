/* Disks that lose power, fill up and fail, below the SQLite of one process.
 *
 * A VFS between SQLite and the system's own. Files below the folder of a disk exist twice: as SQLite sees them (real
 * files, locks and shared memory included), and as the platter has them. A sync moves what was written to the platter. A
 * power cut leaves the platter and, of every sector that was written since the last sync, what the seed says.
 * Other files are passed through.
 */
#ifndef SIMULATED_DISK_H
#define SIMULATED_DISK_H

#include <stdint.h>

/* What has happened on a disk so far. */
typedef struct {
    uint64_t writes, syncs, cuts;
    /* Writes since the last sync, at a cut: reached the platter whole, in part, or not at all. */
    uint64_t kept, torn, lost;
    uint64_t refused_full, failed_syncs, failed_writes;
    /* Of everything that was asked of the disk, in order. */
    uint64_t trace;
} simulated_disk_counts;

/* Becomes the default VFS. Once a process; further calls do nothing. Returns an SQLite result code. */
int simulated_disk_install(void);

/* A disk for all files below the folder; its number, or -1 when there are too many. */
int simulated_disk_make(const char *folder, uint64_t seed);

/* Forgets the disk. Its connections must be closed. */
void simulated_disk_free(int disk);

/* The power fails: nothing more is written, every call fails until `simulated_disk_restore`. */
void simulated_disk_cut(int disk);

/* The power is back: the files are what the platter holds. Call it when all connections are closed. 0 when it worked. */
int simulated_disk_restore(int disk);

/* The process that has the files open is gone, but the machine is not: between these two its connections are closed, and
 * nothing of that reaches the files. */
void simulated_disk_freeze(int disk);
void simulated_disk_thaw(int disk);

/* How large all files together may become; negative for no limit. */
void simulated_disk_limit(int disk, int64_t bytes);
int64_t simulated_disk_used(int disk);

/* So many syncs from now on fail. What was written before each is gone, though it can be read until the power fails, and
 * the next sync says nothing of it: what Linux does. */
void simulated_disk_fail_syncs(int disk, int count);

/* So many writes from now on fail. */
void simulated_disk_fail_writes(int disk, int count);

/* The power fails in the middle: at the n-th write or sync from now on. 0 takes it back. */
void simulated_disk_cut_after(int disk, int count);
int simulated_disk_is_cut(int disk);

simulated_disk_counts simulated_disk_report(int disk);

#endif
