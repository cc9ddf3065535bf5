cdef class Pool:
    cdef list _cumulative
    cdef long _freed
    cdef list _hard
    cdef double _hard_full_until
    cdef list _members
    cdef list _soft
    cdef double _soft_full_until
    cdef list _weights
    cdef public tuple began
    cdef public long column
    cdef public tuple columns
    cdef public bint dead
    cdef public dict index
    cdef public tuple key
    cdef public bint limited
    cdef public object targets
    cdef public double until

    cpdef freed(self, long at)
    cpdef object pick(self, object room, object tried, object live, object uniform, double now)
    cdef long _draw(self, object uniform)
    cdef double _load(self, long at, object out, list limits, object live)
