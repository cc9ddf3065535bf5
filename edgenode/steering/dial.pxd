cimport cython

from edgenode.steering cimport hedge
from edgenode.steering.memory cimport Memory, Path
from edgenode.steering.pick cimport Pool


cdef class Attempt:
    cdef public str region
    cdef public object target
    cdef public tuple key
    cdef public double timeout
    cdef public Pool pool
    cdef public long at
    cdef public double started
    cdef public double late_at
    cdef public bint raced


cdef class Dial:
    cdef public bint full
    cdef public bint exhausted
    cdef str _name
    cdef bint _hedge
    cdef double _connect_timeout
    cdef Memory _memory
    cdef object _limits
    cdef readonly double _deadline
    cdef long _attempts
    cdef long _most
    cdef dict _tried
    cdef dict _refusals
    cdef dict _silences

    cpdef Attempt next(self, double now)
    cpdef connected(self, Attempt attempt, double now)
    @cython.locals(path=Path, attempt=Attempt, late_after=double)
    cdef Attempt _begin(self, Pool pool, long at, double now, double left)
    @cython.locals(pool=Pool, memory=Memory, tried=dict)
    cdef tuple _choose(self, double now)
    @cython.locals(pools=tuple, memory=Memory, pool=Pool)
    cdef tuple _nearest(self, double now)
    @cython.locals(configured=double, short=double)
    cdef double _patience(self, Path path, str region) except? -1
    @cython.locals(pool=Pool, tried=tuple)
    cdef bint _somebody_else(self) except -1
