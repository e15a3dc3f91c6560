#include "malloc_count.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

// glibc's own, under their internal names: this program's malloc stands before them for every library that it loads.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static atomic_ulong count;

unsigned long malloc_count(void) { return atomic_load_explicit(&count, memory_order_relaxed); }

unsigned long heap_bytes(void) { return mallinfo2().uordblks; }

void *malloc(size_t size) {
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    return __libc_malloc(size);
}

void *calloc(size_t items, size_t size) {
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    return __libc_calloc(items, size);
}

void *realloc(void *old, size_t size) {
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    return __libc_realloc(old, size);
}
