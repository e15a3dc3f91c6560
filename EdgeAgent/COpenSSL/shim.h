#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <openssl/hmac.h>
#include <openssl/provider.h>
#include <openssl/sha.h>
#include <openssl/store.h>
#include <openssl/rand.h>
