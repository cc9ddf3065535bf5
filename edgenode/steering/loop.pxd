from edgenode.steering.closing cimport Closing
from edgenode.steering.connection cimport Side
from edgenode.steering.pipes cimport Pipes
from edgenode.steering.sysio cimport Epoll
from edgenode.steering.timers cimport Timers


cdef class Sides:
    cdef list _of
    cdef long _count

    cpdef Side get(self, int fd)
    cpdef Side pop(self, int fd)
    cpdef list values(self)


cdef class Loop:
    cdef public double now
    cdef public Epoll epoll
    cdef public Sides sides
    cdef public dict connections
    cdef public Timers timers
    cdef public Closing closing
    cdef public Pipes pipes
    cdef public long live
    cdef public long long stuck
    cdef public long waiting
