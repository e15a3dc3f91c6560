#include "arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(void) {
    fputs("usage: hub-bench MODE --port N [--host ADDRESS] [--connections N] [--first N] [--window N] [--bytes N]\n"
          "         [--seconds N] [--rate N] [--server-pid PID] [--prefix TEXT] [--label TEXT] [--tls12] [--resume] [--patch]\n"
          "         (--hub-name NAME --sas-key BASE64 [--sas-policy NAME] | --user NAME --password TEXT)\n"
          "load        as many acknowledged messages as possible; with --patch reported properties\n"
          "idle        connects and stays, and tells what a connection costs the server\n"
          "paced       a message of each connection every 1/RATE seconds, and how long the acknowledgements take\n"
          "storm       connects all at once, again and again until all are in; then stays for --seconds\n"
          "handshakes  TLS handshakes and nothing else, --connections at a time\n"
          "fanout      waits until each connection was told of a desired property; ends then\n"
          "methods     answers direct methods for --seconds\n", stderr);
    exit(2);
}

static int is_mode(const char *mode) {
    static const char *modes[] = {"load", "idle", "paced", "storm", "handshakes", "fanout", "methods"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(mode, modes[i]) == 0) return 1;
    }
    return 0;
}

static int take_number(struct arguments *result, const char *name, const char *value) {
    if (strcmp(name, "--port") == 0) result->port = atoi(value);
    else if (strcmp(name, "--connections") == 0) result->connections = atoi(value);
    else if (strcmp(name, "--first") == 0) result->first = atoi(value);
    else if (strcmp(name, "--window") == 0) result->window = atoi(value);
    else if (strcmp(name, "--bytes") == 0) result->bytes = atoi(value);
    else if (strcmp(name, "--seconds") == 0) result->seconds = atoi(value);
    else if (strcmp(name, "--rate") == 0) result->rate = atof(value);
    else if (strcmp(name, "--server-pid") == 0) result->server_pid = atoi(value);
    else return 0;
    return 1;
}

struct arguments parse_arguments(int count, char **values) {
    struct arguments result = {
        .mode = "load", .host = "127.0.0.1", .connections = 100, .window = 32, .bytes = 200, .seconds = 5, .rate = 1,
        .prefix = "bench", .label = "",
    };
    if (count < 2 || !is_mode(values[1])) usage();
    result.mode = values[1];
    for (int i = 2; i < count; i++) {
        if (strcmp(values[i], "--tls12") == 0) { result.tls12 = 1; continue; }
        if (strcmp(values[i], "--resume") == 0) { result.resume = 1; continue; }
        if (strcmp(values[i], "--patch") == 0) { result.patch = 1; continue; }
        if (i + 1 >= count) usage();
        const char *name = values[i], *value = values[++i];
        if (take_number(&result, name, value)) continue;
        if (strcmp(name, "--host") == 0) result.host = value;
        else if (strcmp(name, "--prefix") == 0) result.prefix = value;
        else if (strcmp(name, "--hub-name") == 0) result.hub_name = value;
        else if (strcmp(name, "--sas-key") == 0) result.sas_key = value;
        else if (strcmp(name, "--sas-policy") == 0) result.sas_policy = value;
        else if (strcmp(name, "--user") == 0) result.user = value;
        else if (strcmp(name, "--password") == 0) result.password = value;
        else if (strcmp(name, "--label") == 0) result.label = value;
        else usage();
    }
    int has_sas = result.hub_name != NULL && result.sas_key != NULL;
    int has_plain = result.user != NULL && result.password != NULL;
    int needs_none = strcmp(result.mode, "handshakes") == 0;
    if (result.port <= 0 || result.connections < 1 || result.window < 1 || result.window > 60000) usage();
    if (result.bytes < 2 || result.bytes > 200000 || result.seconds < 1 || (!needs_none && has_sas == has_plain)) usage();
    if (result.rate <= 0 || result.rate > 10000 || result.first < 0) usage();
    return result;
}
