// One MQTT client over TLS, and the loop that all of them share.
#ifndef HUBBENCH_CLIENT_H
#define HUBBENCH_CLIENT_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "arguments.h"

enum state { IDLE, SHAKING, AWAITING_CONNACK, RUNNING, FAILED };

struct client {
    int socket;
    SSL *ssl;
    SSL_SESSION *session;     // of the connection before, to be taken up
    enum state state;
    double since;             // when the connection was opened; in paced mode when the message was sent
    double due;               // when something is to be done with it
    uint16_t next_id;
    int in_flight;
    int has_event;            // it has received what its mode waits for
    unsigned counter;         // of messages, to make each differ
    char *message;            // one whole PUBLISH; its packet identifier is patched in
    int message_length, id_at, digits_at;
    char *out;                // not yet written to the TLS layer
    int out_length, out_at, out_size;
    unsigned char in[1024];   // a packet that has not wholly arrived
    int in_length;
};

// What a mode does with a client; each may be NULL.
struct mode {
    int opening_max;                                                    // connections that are being opened at once
    int reopens;                                                        // a connection that fails is tried again
    void (*shaken)(struct client *);                                    // instead of CONNECT
    void (*closed)(struct client *);                                    // the server has closed; it is opened again at once
    void (*connected)(struct client *);
    void (*acknowledged)(struct client *);
    void (*published)(struct client *, const unsigned char *topic, int topic_length);
};

extern struct arguments arguments;
extern struct mode mode;
extern struct client *clients;
extern int ready_count, failed_count, event_count;
extern long long acknowledged, resumed, retries;
extern int is_sending;

void prepare(void);                              // TLS and all clients; nothing is opened yet
void run(double end, int (*is_done)(void));      // opens what is not open, serves all, until then or until it is done
int all_connected(void);
void wake(struct client *c);                     // sends what is to be sent
void put(struct client *c, const unsigned char *bytes, int length);
void subscribe(struct client *c, const char *filter);

double now(void);
double cpu_seconds(int pid, long *resident);     // of a process, and its resident bytes
double own_cpu(void);

#endif
