// SAS tokens as devices make them.
#ifndef HUBBENCH_SAS_H
#define HUBBENCH_SAS_H

#include <stddef.h>

// Writes a token for the device (or, with a policy, for the whole hub) that expires in an hour. Returns 0, or -1 when the
// key is not Base64 or the token does not fit.
int sas_token(char *token, size_t size, const char *hub_name, const char *device, const char *key, const char *policy);

#endif
