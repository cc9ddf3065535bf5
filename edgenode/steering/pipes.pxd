from edgenode.steering.connection cimport Side
from edgenode.steering.sysio cimport Pipe


cdef class Pipes:
    cdef public list idle
    cdef long _open
    cdef double _retry_at

    cpdef Pipe lend(self, Side side, double now)
    cpdef give(self, Side side)
    cpdef settle(self, Side side)
    cpdef drop(self, Side side)
