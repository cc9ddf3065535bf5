cimport cython

from edgenode.steering.connection cimport Route
from edgenode.steering.sysio cimport Epoll


cdef class Listener:
    cdef readonly object socket
    cdef readonly tuple local
    cdef public Route route
    cdef public object door


cdef class Acceptor:
    cdef readonly dict listeners
    cdef dict _ready
    cdef dict _by_fd
    cdef public Epoll _epoll
    cdef object _counters
    cdef object _room
    cdef object _opened
    cdef bint _paused
    cdef double _resume_at
    cdef list _unwatched
    cdef double _watch_at

    cpdef bint on_event(self, int fd) except -1
    @cython.locals(listener=Listener)
    cpdef accept(self, double now)
    cpdef double next_due(self) except? -1
    @cython.locals(found=tuple)
    cdef bint _burst(self, Listener listener, double now) except -1
