#include "sas.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void encode(char *out, size_t size, const char *text) {
    size_t used = 0;
    for (; *text && used + 4 < size; text++) {
        unsigned char c = (unsigned char)*text;
        int is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~", c);
        used += (size_t)snprintf(out + used, size - used, is_plain ? "%c" : "%%%02X", c);
    }
    out[used] = 0;
}

int sas_token(char *token, size_t size, const char *hub_name, const char *device, const char *key, const char *policy) {
    unsigned char key_bytes[256];
    size_t key_length = strlen(key);
    if (key_length > 300 || key_length % 4 != 0) return -1;
    int decoded = EVP_DecodeBlock(key_bytes, (const unsigned char *)key, (int)key_length);
    if (decoded < 0) return -1;
    for (size_t i = key_length; i > 0 && key[i - 1] == '='; i--) decoded--;

    char resource[600], encoded[1800], message[2000], signature[64], encoded_signature[200];
    if (policy) snprintf(resource, sizeof resource, "%s", hub_name);
    else snprintf(resource, sizeof resource, "%s/devices/%s", hub_name, device);
    encode(encoded, sizeof encoded, resource);
    long expiry = (long)time(NULL) + 3600;
    int length = snprintf(message, sizeof message, "%s\n%ld", encoded, expiry);
    unsigned char digest[32];
    unsigned int digest_length = sizeof digest;
    HMAC(EVP_sha256(), key_bytes, decoded, (unsigned char *)message, (size_t)length, digest, &digest_length);
    EVP_EncodeBlock((unsigned char *)signature, digest, 32);
    encode(encoded_signature, sizeof encoded_signature, signature);
    int written = snprintf(token, size, "SharedAccessSignature sr=%s&sig=%s&se=%ld%s%s", encoded, encoded_signature, expiry,
                           policy ? "&skn=" : "", policy ? policy : "");
    return written > 0 && (size_t)written < size ? 0 : -1;
}
