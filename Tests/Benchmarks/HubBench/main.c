// Load generator for MQTT over TLS: N clients, each with a window of unacknowledged QoS 1 messages.
//
// Written in C on epoll and OpenSSL so that it takes as little as possible of the machine that it shares with the server
// it measures. The same code loads this hub and mosquitto.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "sas.h"

enum state { CONNECTING, SHAKING, AWAITING_CONNACK, RUNNING, FAILED };

struct client {
    int socket;
    SSL *ssl;
    enum state state;
    uint16_t next_id;
    int in_flight;
    char *message;            // one whole PUBLISH; its packet identifier is patched in
    int message_length, id_at;
    char *out;                // not yet written to the TLS layer
    int out_length, out_at;
    unsigned char in[4];      // of an answer that has not wholly arrived
    int in_length;
};

static struct arguments arguments;
static struct client *clients;
static SSL_CTX *tls;
static int epoll;
static int ready_count, failed_count, opening_count, opened_count;
static long long acknowledged;
static int is_sending;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// CPU seconds of a process, and its resident bytes.
static double cpu_seconds(int pid, long *resident) {
    char path[64], line[1024];
    if (pid == 0) return 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file)) { perror(path); exit(1); }
    fclose(file);
    char *rest = strrchr(line, ')');
    unsigned long user = 0, system = 0;
    long pages = 0;
    sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &user, &system,
           &pages);
    if (resident) *resident = pages * sysconf(_SC_PAGESIZE);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void fail(struct client *c, const char *what) {
    if (c->state == FAILED) return;
    if (failed_count++ < 5) {
        unsigned long code = ERR_peek_last_error();
        fprintf(stderr, "hub-bench: connection %ld failed while %s: %s\n", (long)(c - clients), what,
                code ? ERR_reason_error_string(code) : strerror(errno));
    }
    if (c->state < RUNNING) opening_count--;
    else ready_count--;
    c->state = FAILED;
    close(c->socket);
}

static int put_text(unsigned char *out, const char *text) {
    int length = (int)strlen(text);
    out[0] = (unsigned char)(length >> 8);
    out[1] = (unsigned char)length;
    memcpy(out + 2, text, (size_t)length);
    return length + 2;
}

static int put_length(unsigned char *out, int length) {
    int used = 0;
    do {
        out[used] = (unsigned char)(length % 128 | (length >= 128 ? 128 : 0));
        length /= 128;
        used++;
    } while (length > 0);
    return used;
}

static void make_message(struct client *c, const char *device) {
    char topic[256];
    snprintf(topic, sizeof topic, "devices/%s/messages/events/", device);
    int body = 2 + (int)strlen(topic) + 2 + arguments.bytes;
    unsigned char *m = malloc((size_t)body + 5);
    m[0] = 0x32;
    int at = 1 + put_length(m + 1, body);
    at += put_text(m + at, topic);
    c->id_at = at;
    at += 2;
    memset(m + at, ' ', (size_t)arguments.bytes);
    char json[200];
    int length = snprintf(json, sizeof json, "{\"device\":\"%s\",\"temperature\":21.5,\"pad\":\"", device);
    if (length + 2 <= arguments.bytes) {
        memcpy(m + at, json, (size_t)length);
        memcpy(m + at + arguments.bytes - 2, "\"}", 2);
    } else {
        memcpy(m + at, "{}", 2);
    }
    c->message = (char *)m;
    c->message_length = at + arguments.bytes;
    c->out = malloc((size_t)c->message_length * (size_t)arguments.window + 4096);
}

static void put_connect(struct client *c, const char *device) {
    char user[600], token[2048];
    const char *password = arguments.password;
    snprintf(user, sizeof user, "%s", arguments.user ? arguments.user : "");
    if (arguments.hub_name) {
        snprintf(user, sizeof user, "%s/%s/?api-version=2021-04-12", arguments.hub_name, device);
        if (sas_token(token, sizeof token, arguments.hub_name, device, arguments.sas_key, arguments.sas_policy) != 0) {
            fputs("hub-bench: the key is not Base64\n", stderr);
            exit(2);
        }
        password = token;
    }
    unsigned char *out = (unsigned char *)c->out;
    int body = 10 + 2 + (int)strlen(device) + 2 + (int)strlen(user) + 2 + (int)strlen(password);
    int at = 1 + put_length(out + 1, body);
    out[0] = 0x10;
    memcpy(out + at, "\0\4MQTT\4\xC2\x04\xB0", 10);  // clean session, keep alive 1200 s
    at += 10;
    at += put_text(out + at, device);
    at += put_text(out + at, user);
    at += put_text(out + at, password);
    c->out_length = at;
    c->out_at = 0;
}

static void fill(struct client *c) {
    if (!is_sending || c->out_at < c->out_length) return;
    c->out_length = c->out_at = 0;
    while (c->in_flight < arguments.window) {
        if (++c->next_id == 0) c->next_id = 1;
        memcpy(c->out + c->out_length, c->message, (size_t)c->message_length);
        c->out[c->out_length + c->id_at] = (char)(c->next_id >> 8);
        c->out[c->out_length + c->id_at + 1] = (char)c->next_id;
        c->out_length += c->message_length;
        c->in_flight++;
    }
}

// Writes what is there; the socket's readiness brings it here again.
static void flush_out(struct client *c) {
    while (c->out_at < c->out_length) {
        int n = SSL_write(c->ssl, c->out + c->out_at, c->out_length - c->out_at);
        if (n <= 0) {
            int error = SSL_get_error(c->ssl, n);
            if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ) fail(c, "writing");
            return;
        }
        c->out_at += n;
    }
}

static void answered(struct client *c, const unsigned char *packet) {
    if (c->state == AWAITING_CONNACK) {
        if (packet[0] != 0x20 || packet[3] != 0) {
            fprintf(stderr, "hub-bench: CONNECT was answered %02x %02x %02x %02x\n", packet[0], packet[1], packet[2], packet[3]);
            fail(c, "connecting");
            return;
        }
        c->state = RUNNING;
        opening_count--;
        ready_count++;
    } else if (packet[0] == 0x40) {
        acknowledged++;
        c->in_flight--;
    }
}

static void read_answers(struct client *c) {
    unsigned char bytes[16384];
    while (c->state != FAILED) {
        int n = SSL_read(c->ssl, bytes, sizeof bytes);
        if (n <= 0) {
            int error = SSL_get_error(c->ssl, n);
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail(c, "reading");
            return;
        }
        for (int i = 0; i < n && c->state != FAILED; i++) {
            c->in[c->in_length++] = bytes[i];
            if (c->in_length < 4) continue;
            c->in_length = 0;
            answered(c, c->in);
        }
    }
}

static void open_client(struct client *c) {
    char device[128];
    int one = 1;
    snprintf(device, sizeof device, "%s-%ld", arguments.prefix, (long)(c - clients));
    make_message(c, device);
    put_connect(c, device);
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)arguments.port)};
    inet_pton(AF_INET, arguments.host, &address.sin_addr);
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
        perror("hub-bench: connect");
        exit(1);
    }
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->socket);
    SSL_set_connect_state(c->ssl);
    c->state = SHAKING;
    opening_count++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->socket, &event);
}

static void step(struct client *c) {
    if (c->state == FAILED) return;
    if (c->state == SHAKING) {
        int result = SSL_do_handshake(c->ssl);
        if (result != 1) {
            int error = SSL_get_error(c->ssl, result);
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail(c, "shaking hands");
            return;
        }
        c->state = AWAITING_CONNACK;
    }
    flush_out(c);
    if (c->state != FAILED) read_answers(c);
    if (c->state == RUNNING) {
        fill(c);
        flush_out(c);
    }
}

// Runs until `end`, or until all are connected when `until_ready`.
static void run(double end, int until_ready) {
    struct epoll_event events[512];
    while (now() < end && failed_count < arguments.connections) {
        while (opened_count < arguments.connections && opening_count < 64) open_client(&clients[opened_count++]);
        if (until_ready && ready_count + failed_count == arguments.connections) return;
        int count = epoll_wait(epoll, events, 512, 20);
        for (int i = 0; i < count; i++) step(events[i].data.ptr);
    }
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void load(void) {
    is_sending = 1;
    for (int i = 0; i < arguments.connections; i++) step(&clients[i]);
    run(now() + 1, 0);  // warm up
    long long before = acknowledged;
    double server = cpu_seconds(arguments.server_pid, NULL), client = own_cpu(), start = now();
    run(start + arguments.seconds, 0);
    double took = now() - start;
    double count = (double)(acknowledged - before);
    double per_message = count > 0 ? 1e6 / count : 0;
    printf("{\"label\":\"%s\",\"connections\":%d,\"window\":%d,\"bytes\":%d,\"acknowledgedPerSecond\":%.0f,"
           "\"serverMicrosecondsPerMessage\":%.3f,\"clientMicrosecondsPerMessage\":%.3f,\"failed\":%d}\n",
           arguments.label, ready_count, arguments.window, arguments.bytes, count / took,
           (cpu_seconds(arguments.server_pid, NULL) - server) * per_message, (own_cpu() - client) * per_message, failed_count);
}

int main(int count, char **values) {
    arguments = parse_arguments(count, values);
    clients = calloc((size_t)arguments.connections, sizeof *clients);
    tls = SSL_CTX_new(TLS_client_method());
    if (arguments.tls12) SSL_CTX_set_max_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls, 1);  // one read call for a whole record
    epoll = epoll_create1(0);
    long resident_before = 0, resident_after = 0;
    cpu_seconds(arguments.server_pid, &resident_before);
    run(now() + 120, 1);
    if (ready_count < arguments.connections) {
        fprintf(stderr, "hub-bench: only %d of %d connected\n", ready_count, arguments.connections);
        return 1;
    }
    if (strcmp(arguments.mode, "load") == 0) {
        load();
        return failed_count == 0 ? 0 : 1;
    }
    run(now() + arguments.seconds, 0);
    cpu_seconds(arguments.server_pid, &resident_after);
    printf("{\"label\":\"%s\",\"connections\":%d,\"residentBefore\":%ld,\"residentAfter\":%ld,\"bytesPerConnection\":%.0f}\n",
           arguments.label, ready_count, resident_before, resident_after,
           (double)(resident_after - resident_before) / arguments.connections);
    return failed_count == 0 ? 0 : 1;
}
