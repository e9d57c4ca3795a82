/* Keeps a program to a range of ports: a TCP socket that would be bound to any free port gets a free one of SAMESUM_PORT_RANGE, "first:last".
 *
 * It is preloaded into the application master, whose two ports skein leaves to the system. Any other bind is the system's, unchanged.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int wants_any_port(int fd, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_in there; /* the port is at the same place in both families */
    int type = 0;
    socklen_t size = sizeof type;
    if (address == NULL || length < sizeof there)
        return 0;
    memcpy(&there, address, sizeof there);
    if ((there.sin_family != AF_INET && there.sin_family != AF_INET6) || there.sin_port != 0)
        return 0;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* Binds to the first port that is free, from one on that other processes will hardly begin with. */
static int bind_within(int fd, const struct sockaddr *address, socklen_t length, unsigned first, unsigned last)
{
    struct sockaddr_storage wanted;
    struct timespec now;
    unsigned count = last - first + 1, begin;
    clock_gettime(CLOCK_MONOTONIC, &now);
    begin = ((unsigned)now.tv_nsec / 1000u + (unsigned)getpid() * 2654435761u) % count;
    memcpy(&wanted, address, length);
    for (unsigned tried = 0; tried < count; tried++) {
        ((struct sockaddr_in *)&wanted)->sin_port = htons((unsigned short)(first + (begin + tried) % count));
        if (syscall(SYS_bind, fd, &wanted, length) == 0)
            return 0;
        if (errno != EADDRINUSE && errno != EACCES)
            return -1;
    }
    fprintf(stderr, "samesum: no port from %u to %u is free on this node\n", first, last);
    errno = EADDRINUSE;
    return -1;
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    const char *range = getenv("SAMESUM_PORT_RANGE");
    unsigned first = 0, last = 0;
    int reuse = 0, off = 0, result, error;
    socklen_t size = sizeof reuse;
    if (range == NULL || length > sizeof(struct sockaddr_storage) || !wants_any_port(fd, address, length))
        return (int)syscall(SYS_bind, fd, address, length);
    if (sscanf(range, "%u:%u", &first, &last) != 2 || first == 0 || last < first || last > 65535)
        return (int)syscall(SYS_bind, fd, address, length);
    /* Two sockets that may share an address could both be bound to a port, and one of them fail to listen later. */
    getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &size);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
    result = bind_within(fd, address, length, first, last);
    error = errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    errno = error;
    return result;
}
