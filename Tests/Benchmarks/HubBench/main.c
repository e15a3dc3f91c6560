// Load generator for MQTT over TLS.
//
// Written in C on epoll and OpenSSL so that it takes as little as possible of the machine that it shares with the server
// it measures. The same code loads this hub and mosquitto.

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

static double *samples;
static long sample_count, sample_room;

static void sample(double value) {
    if (sample_count == sample_room) {
        sample_room = sample_room ? sample_room * 2 : 65536;
        samples = realloc(samples, (size_t)sample_room * sizeof *samples);
        if (!samples) exit(1);
    }
    samples[sample_count++] = value;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

// Of the sorted samples, in milliseconds.
static double quantile(double share) {
    if (sample_count == 0) return 0;
    long place = (long)((double)sample_count * share);
    return samples[place < sample_count ? place : sample_count - 1] * 1000;
}

static void sort_samples(void) { qsort(samples, (size_t)sample_count, sizeof *samples, ascending); }

static void connect_all(double seconds) {
    run(now() + seconds, all_connected);
    if (ready_count == arguments.connections) return;
    fprintf(stderr, "hub-bench: only %d of %d connected\n", ready_count, arguments.connections);
    exit(1);
}

static void load(void) {
    connect_all(120);
    is_sending = 1;
    for (int i = 0; i < arguments.connections; i++) wake(&clients[i]);
    run(now() + 1, NULL);  // warm up
    long long before = acknowledged;
    double server = cpu_seconds(arguments.server_pid, NULL), client = own_cpu(), start = now();
    run(start + arguments.seconds, NULL);
    double took = now() - start;
    double count = (double)(acknowledged - before);
    double per_message = count > 0 ? 1e6 / count : 0;
    printf("{\"label\":\"%s\",\"connections\":%d,\"window\":%d,\"bytes\":%d,\"acknowledgedPerSecond\":%.0f,"
           "\"serverMicrosecondsPerMessage\":%.3f,\"clientMicrosecondsPerMessage\":%.3f,\"failed\":%d}\n",
           arguments.label, ready_count, arguments.window, arguments.bytes, count / took,
           (cpu_seconds(arguments.server_pid, NULL) - server) * per_message, (own_cpu() - client) * per_message, failed_count);
}

static void idle(void) {
    long resident_before = 0, resident_after = 0;
    cpu_seconds(arguments.server_pid, &resident_before);
    connect_all(120);
    run(now() + 2, NULL);  // what came with connecting is over
    double server = cpu_seconds(arguments.server_pid, NULL), start = now();
    run(start + arguments.seconds, NULL);
    double share = (cpu_seconds(arguments.server_pid, &resident_after) - server) / (now() - start);
    printf("{\"label\":\"%s\",\"connections\":%d,\"residentBefore\":%ld,\"residentAfter\":%ld,\"bytesPerConnection\":%.0f,"
           "\"serverCPUShare\":%.4f}\n",
           arguments.label, ready_count, resident_before, resident_after,
           (double)(resident_after - resident_before) / arguments.connections, share);
}

// MARK: paced

static void measure_acknowledgement(struct client *c) {
    sample(now() - c->since);
    is_sending = 0;
}

static void paced(void) {
    arguments.window = 1;
    mode.acknowledged = measure_acknowledgement;
    connect_all(120);
    puts("ready");
    fflush(stdout);
    double start = now(), end = start + arguments.seconds, step = 1 / arguments.rate;
    long late = 0;
    for (int i = 0; i < arguments.connections; i++) clients[i].due = start + step * i / arguments.connections;
    while (now() < end && failed_count == 0) {
        double time = now();
        for (int i = 0; i < arguments.connections; i++) {
            struct client *c = &clients[i];
            if (c->due > time) continue;
            c->due += step;
            if (c->in_flight > 0) { late++; continue; }
            c->since = time;
            is_sending = 1;
            wake(c);
            is_sending = 0;
        }
        run(now() + 0.001, NULL);
    }
    int unanswered = 0;
    for (int i = 0; i < arguments.connections; i++) unanswered += clients[i].in_flight > 0;
    sort_samples();
    printf("{\"label\":\"%s\",\"connections\":%d,\"acknowledged\":%ld,\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"skipped\":%ld,"
           "\"unanswered\":%d,\"failed\":%d}\n",
           arguments.label, ready_count, sample_count, quantile(0.5), quantile(0.99), quantile(1), late, unanswered, failed_count);
}

// MARK: storm

static void measure_connection(struct client *c) { sample(now() - c->since); }

static void storm(void) {
    mode = (struct mode){.opening_max = arguments.connections, .reopens = 1, .connected = measure_connection};
    double server = cpu_seconds(arguments.server_pid, NULL), client = own_cpu(), start = now();
    run(start + 300, all_connected);
    double took = now() - start;
    sort_samples();
    printf("{\"label\":\"%s\",\"connections\":%d,\"connected\":%d,\"seconds\":%.2f,\"p50\":%.0f,\"p99\":%.0f,\"retries\":%lld,"
           "\"serverCPU\":%.2f,\"clientCPU\":%.2f}\n",
           arguments.label, arguments.connections, ready_count, took, quantile(0.5), quantile(0.99), retries,
           cpu_seconds(arguments.server_pid, NULL) - server, own_cpu() - client);
    fflush(stdout);
    run(now() + arguments.seconds, NULL);
}

// MARK: handshakes

static long long shaken_count;

// A word that no server takes before CONNECT: when it has closed for it, its part of the handshake is over too.
static void say_wrong_word(struct client *c) {
    static const unsigned char ping[] = {0xC0, 0};
    c->out_at = c->out_length = 0;
    put(c, ping, sizeof ping);
}

static void count_handshake(struct client *c) {
    (void)c;
    shaken_count++;
}

static void handshakes(void) {
    mode = (struct mode){
        .opening_max = arguments.connections, .reopens = 1, .shaken = say_wrong_word, .closed = count_handshake};
    run(now() + 1, NULL);  // warm up
    long long before = shaken_count, resumed_before = resumed, retries_before = retries;
    double server = cpu_seconds(arguments.server_pid, NULL), client = own_cpu(), start = now();
    run(start + arguments.seconds, NULL);
    double took = now() - start;
    double count = (double)(shaken_count - before);
    double per_handshake = count > 0 ? 1e6 / count : 0;
    printf("{\"label\":\"%s\",\"handshakesPerSecond\":%.0f,\"resumed\":%lld,\"failed\":%lld,"
           "\"serverMicrosecondsPerHandshake\":%.1f,\"clientMicrosecondsPerHandshake\":%.1f}\n",
           arguments.label, count / took, resumed - resumed_before, retries - retries_before,
           (cpu_seconds(arguments.server_pid, NULL) - server) * per_handshake, (own_cpu() - client) * per_handshake);
}

// MARK: fanout

static double first_event, last_event;

static void ask_for_desired(struct client *c) { subscribe(c, "$iothub/twin/PATCH/properties/desired/#"); }

static void note_desired(struct client *c, const unsigned char *topic, int length) {
    static const char start[] = "$iothub/twin/PATCH/properties/desired/";
    if (c->has_event || length < (int)sizeof start - 1 || memcmp(topic, start, sizeof start - 1) != 0) return;
    c->has_event = 1;
    event_count++;
    last_event = now();
    if (first_event == 0) first_event = last_event;
}

static int all_told(void) { return event_count + failed_count == arguments.connections; }

static void fanout(void) {
    mode = (struct mode){.opening_max = 64, .connected = ask_for_desired, .published = note_desired};
    connect_all(120);
    run(now() + 1, NULL);  // the subscriptions have been answered
    puts("ready");
    fflush(stdout);
    run(now() + arguments.seconds, all_told);
    printf("{\"label\":\"%s\",\"connections\":%d,\"told\":%d,\"last\":%.6f,\"secondsFromFirstToLast\":%.3f}\n", arguments.label,
           ready_count, event_count, last_event, last_event - first_event);
}

// MARK: methods

static void ask_for_methods(struct client *c) { subscribe(c, "$iothub/methods/POST/#"); }

static void answer_method(struct client *c, const unsigned char *topic, int length) {
    unsigned char packet[300] = {0x30};
    static const char start[] = "$iothub/methods/res/200/?$rid=";
    const char *mark = memmem(topic, (size_t)length, "$rid=", 5);
    if (!mark) return;
    mark += 5;
    int rid = length - (int)(mark - (const char *)topic);
    if (rid > 64) return;
    int named = (int)sizeof start - 1 + rid;
    packet[1] = (unsigned char)(2 + named + 2);
    packet[3] = (unsigned char)named;
    memcpy(packet + 4, start, sizeof start - 1);
    memcpy(packet + 4 + sizeof start - 1, mark, (size_t)rid);
    memcpy(packet + 4 + named, "{}", 2);
    put(c, packet, 4 + named + 2);
}

static void methods(void) {
    mode = (struct mode){.opening_max = 64, .connected = ask_for_methods, .published = answer_method};
    connect_all(120);
    puts("ready");
    fflush(stdout);
    run(now() + arguments.seconds, NULL);
}

int main(int count, char **values) {
    static const struct { const char *name; void (*run)(void); } modes[] = {
        {"load", load}, {"idle", idle}, {"paced", paced}, {"storm", storm},
        {"handshakes", handshakes}, {"fanout", fanout}, {"methods", methods},
    };
    arguments = parse_arguments(count, values);
    prepare();
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, arguments.mode) == 0) modes[i].run();
    }
    return failed_count == 0 ? 0 : 1;
}
