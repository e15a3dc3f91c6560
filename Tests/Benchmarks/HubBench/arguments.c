#include "arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(void) {
    fputs("usage: hub-bench load|idle --port N [--host ADDRESS] [--connections N] [--window N] [--bytes N]\n"
          "         [--seconds N] [--server-pid PID] [--prefix TEXT] [--label TEXT] [--tls12]\n"
          "         (--hub-name NAME --sas-key BASE64 [--sas-policy NAME] | --user NAME --password TEXT)\n", stderr);
    exit(2);
}

struct arguments parse_arguments(int count, char **values) {
    struct arguments result = {
        .mode = "load", .host = "127.0.0.1", .connections = 100, .window = 32, .bytes = 200, .seconds = 5,
        .prefix = "bench", .label = "",
    };
    if (count < 2) usage();
    result.mode = values[1];
    if (strcmp(result.mode, "load") != 0 && strcmp(result.mode, "idle") != 0) usage();
    for (int i = 2; i < count; i++) {
        if (strcmp(values[i], "--tls12") == 0) { result.tls12 = 1; continue; }
        if (i + 1 >= count) usage();
        const char *name = values[i], *value = values[++i];
        if (strcmp(name, "--host") == 0) result.host = value;
        else if (strcmp(name, "--port") == 0) result.port = atoi(value);
        else if (strcmp(name, "--connections") == 0) result.connections = atoi(value);
        else if (strcmp(name, "--window") == 0) result.window = atoi(value);
        else if (strcmp(name, "--bytes") == 0) result.bytes = atoi(value);
        else if (strcmp(name, "--seconds") == 0) result.seconds = atoi(value);
        else if (strcmp(name, "--server-pid") == 0) result.server_pid = atoi(value);
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
    if (result.port <= 0 || result.connections < 1 || result.window < 1 || result.window > 60000) usage();
    if (result.bytes < 2 || result.bytes > 200000 || result.seconds < 1 || has_sas == has_plain) usage();
    return result;
}
