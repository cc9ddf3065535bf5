cdef extern from "<sys/epoll.h>" nogil:
    cdef struct epoll_event:
        unsigned int events


cpdef enum:
    INPUT = 0x1
    URGENT = 0x2
    OUTPUT = 0x4
    ERROR = 0x8
    END = 0x2010
    READABLE = 0x2019

cpdef enum:
    BUFFER = 131072

cpdef enum:
    WOULD_BLOCK = -11


cdef class Epoll:
    cdef int _fd
    cdef int _count
    cdef epoll_event _found[512]

    cpdef register(self, int fd, unsigned int events)
    cpdef modify(self, int fd, unsigned int events)
    cpdef unregister(self, int fd)
    cpdef int wait(self, double seconds) except -1
    cpdef int fd(self, int at) except -2
    cpdef long events(self, int at) except -1


cdef class Pipe:
    cdef readonly int reader
    cdef readonly int writer

    cpdef close(self)


cdef class Transfer:
    cdef char _buffer[131072]

    cpdef long read(self, int fd, long size) except? -1
    cpdef long write(self, int fd, long size, bint more) except? -1
    cpdef bytes rest(self, long start, long size)
    cpdef long write_held(self, int fd, bytes data, bint more) except? -1
    cpdef long fill(self, Pipe pipe, int fd, long size) except? -1
    cpdef long drain(self, Pipe pipe, int fd, long size, bint more) except? -1
    cpdef int end_writing(self, int fd) except? -1
    cpdef bint unsent(self, int fd) except -1


cpdef double monotonic() noexcept
cpdef bytes read(int fd, long size)
cpdef long write(int fd, bytes data) except -1
cpdef tuple accept(object listener)
cpdef int open_upstream(bint ipv6, str device, str source) except -1
cpdef int connect(int fd, str host, int port) except -1
cpdef int take_error(int fd) except -1
cpdef bint is_quiet(int fd) except -1
cpdef tuple local_address(int fd)
cpdef tuple tcp_info(int fd)
cpdef bint unsent(int fd) except -1
cpdef long write_more(int fd, bytes data) except -1
cpdef end_writing(int fd)
cpdef close(int fd)
cpdef reset(int fd)
