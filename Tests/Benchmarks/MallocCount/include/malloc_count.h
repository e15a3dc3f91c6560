#pragma once

/// Calls of malloc, calloc and realloc in the whole program so far.
unsigned long malloc_count(void);

/// Bytes that are allocated now.
unsigned long heap_bytes(void);
