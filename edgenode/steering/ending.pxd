cimport cython

from edgenode.steering cimport sysio
from edgenode.steering.accesslog cimport describe
from edgenode.steering.connection cimport Connection, Route, Side
from edgenode.steering.counters cimport Counters, RegionCount, ServiceCount
from edgenode.steering.dial cimport Attempt
from edgenode.steering.loop cimport Loop, Sides
from edgenode.steering.memory cimport Memory
from edgenode.steering.pick cimport Pool


cdef class Ending:
    cdef public double wall
    cdef Loop _loop
    cdef Counters _counters
    cdef Memory _memory
    cdef object _log
    cdef double _flush_at
    cdef double _sample
    cdef double _owed
    cdef object _long

    @cython.locals(loop=Loop, count=ServiceCount, client=Side, worker=Side, reset=bint, ordinary=bint)
    cpdef end(self, Connection connection, object why)
    cpdef flush(self)
    cpdef double next_due(self) except? -1
    cdef _ask(self, Connection connection)
    @cython.locals(pool=Pool, at=long, sides=Sides, now=double, client=Side, worker=Side)
    cdef _leave(self, Connection connection, Attempt attempt, object why)
