from edgenode.steering.counters cimport Counters
from edgenode.steering.loop cimport Loop
from edgenode.steering.memory cimport Memory


cdef class Warming:
    cdef readonly bint active
    cdef Loop _loop
    cdef Counters _counters
    cdef Memory _memory
    cdef object _bind
    cdef dict _services
    cdef readonly dict _reserves
    cdef dict _by_fd
    cdef double _due
    cdef bint _stopped

    cpdef object take(self, str service)
    cpdef bint on_event(self, int fd, unsigned int event) except -1
    cpdef tend(self, double now)
    cpdef double next_due(self) except? -1
