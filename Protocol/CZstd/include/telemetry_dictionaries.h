#pragma once
#include <stddef.h>
#include <zstd.h>
#include <zstd_errors.h>

const void *telemetryDictionary1(void);
size_t telemetryDictionary1Size(void);

// The macro is a cast that Swift does not read.
static inline unsigned long long contentSizeError(void) { return ZSTD_CONTENTSIZE_ERROR; }
