cdef class Outliers:
    cdef public object policy
    cdef double _pause
    cdef object _random
    cdef readonly dict _records

    cpdef bint connected(self, tuple pool, str worker, double now)
    cpdef bint answered(self, tuple pool, double now)
    cpdef bint proven(self, tuple pool, str worker, double started, double now)
    cpdef bint trying(self, tuple pool, str worker, double now)
