"""The system calls of the relay, by raw descriptor: the compiled body. See sysio.py.

No object is made but for what is returned. epoll(7), accept4(2), splice(2) and tcp(7) say what is
meant by what.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno

import errno as _errno
import os as _os

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE 1
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <net/if.h>
    #include <netinet/in.h>
    #include <linux/tcp.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>

    #define EDGENODE_SPLICE (SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    #define EDGENODE_SEND (MSG_NOSIGNAL | MSG_DONTWAIT)

    static inline int edgenode_errno(void) { return errno; }

    static inline double edgenode_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    }

    static inline int edgenode_control(int epoll, int operation, int fd, unsigned int events) {
        struct epoll_event event;
        memset(&event, 0, sizeof event);
        event.events = events;
        event.data.fd = fd;
        return epoll_ctl(epoll, operation, fd, &event);
    }

    static inline int edgenode_event_fd(const struct epoll_event *event) { return event->data.fd; }

    static inline int edgenode_option(int fd, int level, int name, int value) {
        return setsockopt(fd, level, name, &value, sizeof value);
    }

    static inline int edgenode_pending(int fd, int *error) {
        socklen_t size = sizeof *error;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, error, &size);
    }

    static inline int edgenode_information(int fd, unsigned int *rtt, unsigned int *segments,
                                           unsigned int *again) {
        struct tcp_info info;
        socklen_t size = sizeof info;
        memset(&info, 0, sizeof info);
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return -1;
        *rtt = info.tcpi_rtt;
        *segments = info.tcpi_segs_out;
        *again = info.tcpi_total_retrans;
        return 0;
    }

    static inline int edgenode_unsent(int fd, int *size) { return ioctl(fd, TIOCOUTQ, size); }

    static inline int edgenode_linger(int fd) {
        struct linger reset = {1, 0};
        return setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }

    static inline int edgenode_address(int ipv6, const char *host, int port,
                                       struct sockaddr_storage *to, socklen_t *size) {
        memset(to, 0, sizeof *to);
        if (ipv6) {
            struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
            in6->sin6_family = AF_INET6;
            in6->sin6_port = htons((unsigned short)port);
            *size = sizeof *in6;
            return inet_pton(AF_INET6, host, &in6->sin6_addr);
        } else {
            struct sockaddr_in *in = (struct sockaddr_in *)to;
            in->sin_family = AF_INET;
            in->sin_port = htons((unsigned short)port);
            *size = sizeof *in;
            return inet_pton(AF_INET, host, &in->sin_addr);
        }
    }

    /* The host's length; 0 if it is of no family that we know. */
    static inline int edgenode_name(const struct sockaddr_storage *of, char *host, int *port) {
        const void *address;
        if (of->ss_family == AF_INET) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)of;
            address = &in->sin_addr;
            *port = ntohs(in->sin_port);
        } else if (of->ss_family == AF_INET6) {
            const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)of;
            address = &in6->sin6_addr;
            *port = ntohs(in6->sin6_port);
        } else {
            return 0;
        }
        return inet_ntop(of->ss_family, address, host, INET6_ADDRSTRLEN) ? (int)strlen(host) : 0;
    }
    """
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        pass
    cdef struct sockaddr_storage:
        pass

    enum: EAGAIN
    enum: EINTR
    enum: EPOLL_CLOEXEC
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_DEL
    enum: EPOLL_CTL_MOD
    enum: AF_INET
    enum: AF_INET6
    enum: SOCK_STREAM
    enum: SOCK_NONBLOCK
    enum: SOCK_CLOEXEC
    enum: SOL_SOCKET
    enum: SO_BINDTODEVICE
    enum: SO_OOBINLINE
    enum: IPPROTO_IP
    enum: IP_BIND_ADDRESS_NO_PORT
    enum: IPPROTO_TCP
    enum: TCP_NODELAY
    enum: TCP_QUICKACK
    enum: MSG_MORE
    enum: MSG_PEEK
    enum: MSG_DONTWAIT
    enum: SHUT_WR
    enum: O_NONBLOCK
    enum: O_CLOEXEC
    enum: F_SETPIPE_SZ
    enum: SPLICE_F_MORE
    enum: EDGENODE_SPLICE
    enum: EDGENODE_SEND
    enum: INET6_ADDRSTRLEN

    int edgenode_errno()
    double edgenode_now()
    int edgenode_control(int, int, int, unsigned int)
    int edgenode_event_fd(const epoll_event*)
    int edgenode_option(int, int, int, int)
    int edgenode_pending(int, int*)
    int edgenode_information(int, unsigned int*, unsigned int*, unsigned int*)
    int edgenode_unsent(int, int*)
    int edgenode_linger(int)
    int edgenode_address(int, const char*, int, sockaddr_storage*, socklen_t*)
    int edgenode_name(const sockaddr_storage*, char*, int*)

    int epoll_create1(int)
    int epoll_wait(int, epoll_event*, int, int)
    int c_close "close"(int)
    int pipe2(int*, int)
    int fcntl(int, int, int)
    long splice(int, void*, int, void*, size_t, unsigned int)
    long recv(int, void*, size_t, int)
    long send(int, const void*, size_t, int)
    int shutdown(int, int)
    int socket(int, int, int)
    int bind(int, const sockaddr*, socklen_t)
    int c_connect "connect"(int, const sockaddr*, socklen_t)
    int accept4(int, sockaddr*, socklen_t*, int)
    int getsockname(int, sockaddr*, socklen_t*)
    int setsockopt(int, int, int, const void*, socklen_t)


# No enumeration: C takes one with the highest bit for signed.
WATCH_INPUT = 0x80002003
WATCH_BOTH = 0x80002007


cdef class Epoll:
    def __cinit__(self):
        self._count = 0
        self._fd = epoll_create1(EPOLL_CLOEXEC)
        if self._fd < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        if self._fd >= 0:
            c_close(self._fd)

    def fileno(self):
        return self._fd

    def close(self):
        if self._fd >= 0:
            c_close(self._fd)
        self._fd = -1

    cpdef register(self, int fd, unsigned int events):
        if edgenode_control(self._fd, EPOLL_CTL_ADD, fd, events) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef modify(self, int fd, unsigned int events):
        if edgenode_control(self._fd, EPOLL_CTL_MOD, fd, events) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef unregister(self, int fd):
        if edgenode_control(self._fd, EPOLL_CTL_DEL, fd, 0) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef int wait(self, double seconds) except -1:
        cdef int milliseconds, found
        if seconds <= 0.0:
            milliseconds = 0
        elif seconds >= 1e6:
            milliseconds = 1000000000
        else:
            # Rounded up: what is due would else be waited for by spinning.
            milliseconds = <int>(seconds * 1e3)
            if milliseconds < seconds * 1e3:
                milliseconds += 1
        self._count = 0
        if milliseconds == 0:
            found = epoll_wait(self._fd, self._found, 512, 0)
        else:
            with nogil:
                found = epoll_wait(self._fd, self._found, 512, milliseconds)
        if found < 0:
            if edgenode_errno() != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
            return 0
        self._count = found
        return found

    cpdef int fd(self, int at) except -2:
        if not 0 <= at < self._count:
            raise IndexError(at)
        return edgenode_event_fd(&self._found[at])

    cpdef long events(self, int at) except -1:
        if not 0 <= at < self._count:
            raise IndexError(at)
        return self._found[at].events


cdef class Pipe:
    def __cinit__(self, int size):
        cdef int ends[2]
        self.reader = self.writer = -1
        if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
            PyErr_SetFromErrno(OSError)
        self.reader, self.writer = ends[0], ends[1]
        if fcntl(self.writer, F_SETPIPE_SZ, size) < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        self.close()

    cpdef close(self):
        if self.reader >= 0:
            c_close(self.reader)
            c_close(self.writer)
        self.reader = self.writer = -1


cdef class Transfer:
    cpdef long read(self, int fd, long size) except? -1:
        if not 0 <= size <= BUFFER:
            raise ValueError(size)
        cdef long got = recv(fd, self._buffer, size, 0)
        return got if got >= 0 else -edgenode_errno()

    cpdef long write(self, int fd, long size, bint more) except? -1:
        if not 0 <= size <= BUFFER:
            raise ValueError(size)
        cdef long done = send(fd, self._buffer, size, EDGENODE_SEND | (MSG_MORE if more else 0))
        return done if done >= 0 else -edgenode_errno()

    cpdef bytes rest(self, long start, long size):
        if not 0 <= start <= size <= BUFFER:
            raise ValueError(start)
        return PyBytes_FromStringAndSize(self._buffer + start, size - start)

    cpdef long write_held(self, int fd, bytes data, bint more) except? -1:
        if data is None:
            raise TypeError("bytes are wanted")
        cdef long done = send(
            fd,
            PyBytes_AS_STRING(data),
            PyBytes_GET_SIZE(data),
            EDGENODE_SEND | (MSG_MORE if more else 0),
        )
        return done if done >= 0 else -edgenode_errno()

    cpdef long fill(self, Pipe pipe, int fd, long size) except? -1:
        cdef long got = splice(fd, NULL, pipe.writer, NULL, size, EDGENODE_SPLICE)
        return got if got >= 0 else -edgenode_errno()

    cpdef long drain(self, Pipe pipe, int fd, long size, bint more) except? -1:
        cdef long done = splice(
            pipe.reader, NULL, fd, NULL, size, EDGENODE_SPLICE | (SPLICE_F_MORE if more else 0)
        )
        return done if done >= 0 else -edgenode_errno()

    cpdef int end_writing(self, int fd) except? -1:
        return 0 if shutdown(fd, SHUT_WR) == 0 else -edgenode_errno()

    cpdef bint unsent(self, int fd) except -1:
        return unsent(fd)


cdef char _scratch[131072]


cpdef double monotonic() noexcept:
    return edgenode_now()


cpdef bytes read(int fd, long size):
    if not 0 <= size <= BUFFER:
        raise ValueError(size)
    cdef long got = recv(fd, _scratch, size, 0)
    if got < 0:
        PyErr_SetFromErrno(OSError)
    return PyBytes_FromStringAndSize(_scratch, got)


cpdef long write(int fd, bytes data) except -1:
    return _send(fd, data, EDGENODE_SEND)


cpdef long write_more(int fd, bytes data) except -1:
    return _send(fd, data, EDGENODE_SEND | MSG_MORE)


cdef long _send(int fd, bytes data, int flags) except -1:
    if data is None:
        raise TypeError("bytes are wanted")
    cdef long done = send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), flags)
    if done < 0:
        PyErr_SetFromErrno(OSError)
    return done


cpdef tuple accept(object listener):
    cdef sockaddr_storage peer
    cdef socklen_t size = sizeof(peer)
    cdef int fd = accept4(
        listener.fileno(), <sockaddr*>&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC
    )
    if fd < 0:
        if edgenode_errno() == EAGAIN:
            return None
        PyErr_SetFromErrno(OSError)
    try:
        return fd, _endpoint(&peer)
    except BaseException:
        c_close(fd)
        raise


cdef tuple _endpoint(const sockaddr_storage* of):
    cdef char host[64]  # INET6_ADDRSTRLEN is 46
    cdef int port = 0
    cdef int size = edgenode_name(of, host, &port)
    if size == 0:
        raise OSError(_errno.EAFNOSUPPORT, _os.strerror(_errno.EAFNOSUPPORT))
    return host[:size].decode("ascii"), port


cpdef int open_upstream(bint ipv6, str device, str source) except -1:
    cdef int fd = socket(
        AF_INET6 if ipv6 else AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0
    )
    cdef sockaddr_storage own
    cdef socklen_t size = 0
    cdef bytes text
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    try:
        if device is not None:
            text = device.encode()
            if setsockopt(
                fd, SOL_SOCKET, SO_BINDTODEVICE, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
            ) < 0:
                PyErr_SetFromErrno(OSError)
        if source is not None:
            text = source.encode()
            if edgenode_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1) < 0:
                PyErr_SetFromErrno(OSError)
            if edgenode_address(ipv6, PyBytes_AS_STRING(text), 0, &own, &size) != 1:
                raise _no_address(source)
            if bind(fd, <sockaddr*>&own, size) < 0:
                PyErr_SetFromErrno(OSError)
        if edgenode_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0:
            PyErr_SetFromErrno(OSError)
        if edgenode_option(fd, IPPROTO_TCP, TCP_QUICKACK, 0) < 0:
            PyErr_SetFromErrno(OSError)
        if edgenode_option(fd, SOL_SOCKET, SO_OOBINLINE, 1) < 0:
            PyErr_SetFromErrno(OSError)
    except BaseException:
        c_close(fd)
        raise
    return fd


cpdef int connect(int fd, str host, int port) except -1:
    cdef sockaddr_storage to
    cdef socklen_t size = 0
    cdef bytes text = host.encode()
    if edgenode_address(b":" in text, PyBytes_AS_STRING(text), port, &to, &size) != 1:
        raise _no_address(host)
    return 0 if c_connect(fd, <sockaddr*>&to, size) == 0 else edgenode_errno()


def _no_address(text):
    return OSError(_errno.EINVAL, f"{text} is no address")


cpdef int take_error(int fd) except -1:
    cdef int error = 0
    if edgenode_pending(fd, &error) < 0:
        PyErr_SetFromErrno(OSError)
    return error


cpdef bint is_quiet(int fd) except -1:
    cdef char byte
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and edgenode_errno() == EAGAIN


cpdef tuple local_address(int fd):
    cdef sockaddr_storage name
    cdef socklen_t size = sizeof(name)
    if getsockname(fd, <sockaddr*>&name, &size) < 0:
        PyErr_SetFromErrno(OSError)
    return _endpoint(&name)


cpdef tuple tcp_info(int fd):
    cdef unsigned int rtt = 0, segments = 0, again = 0
    if edgenode_information(fd, &rtt, &segments, &again) < 0:
        PyErr_SetFromErrno(OSError)
    return rtt, segments, again


cpdef bint unsent(int fd) except -1:
    cdef int size = 0
    if edgenode_unsent(fd, &size) < 0:
        PyErr_SetFromErrno(OSError)
    return size > 1  # the FIN counts as one


cpdef end_writing(int fd):
    if shutdown(fd, SHUT_WR) < 0:
        PyErr_SetFromErrno(OSError)


cpdef close(int fd):
    if c_close(fd) < 0:
        PyErr_SetFromErrno(OSError)


cpdef reset(int fd):
    cdef int failed = edgenode_linger(fd)
    cdef int error = edgenode_errno() if failed < 0 else 0
    close(fd)
    if failed < 0:
        raise OSError(error, _os.strerror(error))
