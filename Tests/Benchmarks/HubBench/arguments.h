// What the bench was asked to do.
#ifndef HUBBENCH_ARGUMENTS_H
#define HUBBENCH_ARGUMENTS_H

struct arguments {
    const char *mode;         // load | idle | paced | storm | handshakes | fanout | methods
    const char *host;         // address to connect to
    int port;
    int connections;
    int first;                // number of the first device
    int window;               // unacknowledged PUBLISH packets per connection
    int bytes;                // payload of one PUBLISH
    int seconds;              // measured time; in idle mode the time to wait
    double rate;              // in paced mode the messages a second of each connection
    int server_pid;           // 0: nothing of the server is measured
    const char *prefix;       // devices are PREFIX-0, PREFIX-1 …
    const char *hub_name;     // host name in user name and SAS token; NULL: plain user and password
    const char *sas_key;      // Base64; with hub_name
    const char *sas_policy;   // NULL: the key is the device's own
    const char *user;
    const char *password;
    const char *label;        // printed with the result
    int tls12;                // 1: TLS 1.2 only
    int patch;                // 1: what is sent are reported properties
    int resume;               // 1: a handshake takes up the session of the one before
};

struct arguments parse_arguments(int count, char **values);

#endif
