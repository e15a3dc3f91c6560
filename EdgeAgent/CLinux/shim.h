#include <malloc.h>
#include <sys/socket.h>
#include <sys/timex.h>

/* Who is at the other end of a local socket; -1 when the system does not say. Source: unix(7), SO_PEERCRED. Laid out here,
 * because the C library shows struct ucred to GNU sources only. */
static inline long fieldline_peer_user(int descriptor) {
    struct { int pid; unsigned uid; unsigned gid; } peer = {0, 0, 0};
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, 17 /* SO_PEERCRED */, &peer, &length) != 0 || length != sizeof peer) return -1;
    return (long)peer.uid;
}
