#include "client.h"

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sas.h"

struct arguments arguments;
struct mode mode = {.opening_max = 64};
struct client *clients;
int ready_count, failed_count, event_count;
long long acknowledged, resumed, retries;
int is_sending;

static SSL_CTX *tls;
static int epoll, opening_count, cursor, again_count;

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double cpu_seconds(int pid, long *resident) {
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

double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// At once, so that its port is free again.
static void close_client(struct client *c) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (c->state == RUNNING) ready_count--;
    else opening_count--;
    c->state = IDLE;
    setsockopt(c->socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(c->socket);
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);  // or its session would count as a bad one
    SSL_free(c->ssl);
    c->ssl = NULL;
}

static void fail(struct client *c, const char *what) {
    if (c->state == FAILED || c->state == IDLE) return;
    if (mode.closed && c->state == AWAITING_CONNACK) {
        mode.closed(c);
        close_client(c);
        again_count++;
        c->due = 1e-9;
        ERR_clear_error();
        return;
    }
    if (mode.reopens && c->state != RUNNING) {
        ERR_clear_error();
        close_client(c);
        retries++;
        again_count++;
        c->due = now() + 0.5 + (double)(rand() % 1000) / 1000;
        return;
    }
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

// MARK: packets

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
    char topic[256], json[200];
    if (arguments.patch) snprintf(topic, sizeof topic, "$iothub/twin/PATCH/properties/reported/?$rid=1");
    else snprintf(topic, sizeof topic, "devices/%s/messages/events/", device);
    int start = arguments.patch
        ? snprintf(json, sizeof json, "{\"n\":")
        : snprintf(json, sizeof json, "{\"device\":\"%s\",\"temperature\":21.5,\"pad\":\"", device);
    int bytes = arguments.bytes, body = 2 + (int)strlen(topic) + 2 + bytes;
    unsigned char *m = malloc((size_t)body + 5);
    m[0] = 0x32;
    int at = 1 + put_length(m + 1, body);
    at += put_text(m + at, topic);
    c->id_at = at;
    at += 2;
    memset(m + at, ' ', (size_t)bytes);
    if (arguments.patch && bytes >= start + 11) {
        memcpy(m + at, json, (size_t)start);
        memcpy(m + at + start, "1000000000", 10);
        m[at + start + 10] = '}';
        c->digits_at = at + start;
    } else if (!arguments.patch && start + 2 <= bytes) {
        memcpy(m + at, json, (size_t)start);
        memcpy(m + at + bytes - 2, "\"}", 2);
    } else {
        memcpy(m + at, "{}", 2);
    }
    c->message = (char *)m;
    c->message_length = at + bytes;
    c->out_size = c->message_length * arguments.window + 4096;
    c->out = malloc((size_t)c->out_size);
}

static void device_name(const struct client *c, char *name, size_t size) {
    snprintf(name, size, "%s-%ld", arguments.prefix, (long)(c - clients) + arguments.first);
}

static void put_connect(struct client *c) {
    char user[600], token[2048], device[128];
    const char *password = arguments.password;
    device_name(c, device, sizeof device);
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

void put(struct client *c, const unsigned char *bytes, int length) {
    if (c->out_at == c->out_length) c->out_at = c->out_length = 0;
    if (c->out_length + length > c->out_size) { fail(c, "answering"); return; }
    memcpy(c->out + c->out_length, bytes, (size_t)length);
    c->out_length += length;
}

void subscribe(struct client *c, const char *filter) {
    unsigned char packet[300] = {0x82, 0, 0, 1};
    int length = 4 + put_text(packet + 4, filter);
    packet[length++] = 0;
    packet[1] = (unsigned char)(length - 2);
    put(c, packet, length);
}

static void fill(struct client *c) {
    if (!is_sending || c->out_at < c->out_length) return;
    c->out_length = c->out_at = 0;
    while (c->in_flight < arguments.window) {
        if (++c->next_id == 0) c->next_id = 1;
        if (c->digits_at) {
            unsigned number = c->counter++;
            for (int i = 9; i > 0; i--, number /= 10) c->message[c->digits_at + i] = (char)('0' + number % 10);
        }
        memcpy(c->out + c->out_length, c->message, (size_t)c->message_length);
        c->out[c->out_length + c->id_at] = (char)(c->next_id >> 8);
        c->out[c->out_length + c->id_at + 1] = (char)c->next_id;
        c->out_length += c->message_length;
        c->in_flight++;
    }
}

// MARK: bytes

// Writes what is there; the socket's readiness brings it here again.
static void flush_out(struct client *c) {
    while (c->state != FAILED && c->state != IDLE && c->out_at < c->out_length) {
        int n = SSL_write(c->ssl, c->out + c->out_at, c->out_length - c->out_at);
        if (n <= 0) {
            int error = SSL_get_error(c->ssl, n);
            if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ) fail(c, "writing");
            return;
        }
        c->out_at += n;
    }
}

static void received(struct client *c, const unsigned char *packet, int body_at, int length) {
    if (c->state == AWAITING_CONNACK) {
        if (packet[0] != 0x20 || packet[3] != 0) {
            fprintf(stderr, "hub-bench: CONNECT was answered %02x %02x %02x %02x\n", packet[0], packet[1], packet[2], packet[3]);
            fail(c, "connecting");
            return;
        }
        c->state = RUNNING;
        opening_count--;
        ready_count++;
        if (mode.connected) mode.connected(c);
    } else if (packet[0] == 0x40) {
        acknowledged++;
        c->in_flight--;
        if (mode.acknowledged) mode.acknowledged(c);
    } else if (packet[0] >> 4 == 3 && mode.published && length >= body_at + 2) {
        int topic_length = packet[body_at] << 8 | packet[body_at + 1];
        if (body_at + 2 + topic_length <= length) mode.published(c, packet + body_at + 2, topic_length);
    }
}

// Takes the whole packets out of what has come.
static void take_packets(struct client *c) {
    int at = 0;
    while (c->state != FAILED && c->state != IDLE) {
        int left = c->in_length - at, body = 0, digits = 0;
        const unsigned char *packet = c->in + at;
        for (digits = 1; digits < left && digits < 5; digits++) {
            body |= (packet[digits] & 127) << (7 * (digits - 1));
            if (packet[digits] < 128) break;
        }
        if (left < 2 || digits == left || left < 1 + digits + body) break;
        received(c, packet, 1 + digits, 1 + digits + body);
        at += 1 + digits + body;
    }
    memmove(c->in, c->in + at, (size_t)(c->in_length - at));
    c->in_length -= at;
}

static void read_answers(struct client *c) {
    while (c->state != FAILED && c->state != IDLE) {
        int room = (int)sizeof c->in - c->in_length;
        int n = room > 0 ? SSL_read(c->ssl, c->in + c->in_length, room) : 0;
        if (n <= 0) {
            int error = room > 0 ? SSL_get_error(c->ssl, n) : SSL_ERROR_SSL;
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail(c, "reading");
            return;
        }
        c->in_length += n;
        take_packets(c);
    }
}

static void open_client(struct client *c) {
    int one = 1;
    c->in_length = 0;
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)arguments.port)};
    inet_pton(AF_INET, arguments.host, &address.sin_addr);
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
        perror("hub-bench: connect");
        exit(1);
    }
    c->ssl = SSL_new(tls);
    if (c->session) SSL_set_session(c->ssl, c->session);
    SSL_set_ex_data(c->ssl, 0, c);
    SSL_set_fd(c->ssl, c->socket);
    SSL_set_connect_state(c->ssl);
    c->state = SHAKING;
    c->due = 0;
    if (c->since == 0) c->since = now();
    opening_count++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->socket, &event);
}

void wake(struct client *c) {
    if (c->state == FAILED || c->state == IDLE) return;
    if (c->state == SHAKING) {
        int result = SSL_do_handshake(c->ssl);
        if (result != 1) {
            int error = SSL_get_error(c->ssl, result);
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail(c, "shaking hands");
            return;
        }
        resumed += SSL_session_reused(c->ssl);
        c->state = AWAITING_CONNACK;
        if (mode.shaken) mode.shaken(c);
        else put_connect(c);
    }
    flush_out(c);
    read_answers(c);
    if (c->state == RUNNING) {
        fill(c);
        flush_out(c);
    }
}

// MARK: the loop

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    struct client *c = SSL_get_ex_data(ssl, 0);
    if (!c) return 0;
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

void prepare(void) {
    char device[128];
    clients = calloc((size_t)arguments.connections, sizeof *clients);
    tls = SSL_CTX_new(TLS_client_method());
    if (arguments.tls12) SSL_CTX_set_max_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls, 1);  // one read call for a whole record
    if (arguments.resume) {
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls, keep_session);
    }
    epoll = epoll_create1(0);
    for (int i = 0; i < arguments.connections; i++) {
        device_name(&clients[i], device, sizeof device);
        make_message(&clients[i], device);
    }
}

int all_connected(void) { return ready_count + failed_count == arguments.connections; }

// Opens what was never open, and again what has failed and waited.
static void open_more(void) {
    while (cursor < arguments.connections && opening_count < mode.opening_max) open_client(&clients[cursor++]);
    if (again_count == 0) return;
    double time = now();
    for (int i = 0; i < arguments.connections && opening_count < mode.opening_max; i++) {
        struct client *c = &clients[i];
        if (c->state != IDLE || c->due == 0 || c->due > time) continue;
        again_count--;
        open_client(c);
    }
}

void run(double end, int (*is_done)(void)) {
    struct epoll_event events[512];
    while (now() < end && failed_count < arguments.connections) {
        open_more();
        if (is_done && is_done()) return;
        int count = epoll_wait(epoll, events, 512, mode.acknowledged ? 1 : 20);
        for (int i = 0; i < count; i++) wake(events[i].data.ptr);
    }
}
