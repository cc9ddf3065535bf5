from edgenode.steering.occupancy cimport Occupancy
from edgenode.steering.sources cimport Sources


cdef class Guard:
    cdef bint _by_source
    cdef long _connections
    cdef double _interval
    cdef Occupancy _occupancy
    cdef long _per_source
    cdef object _prefixes
    cdef long long _rate_salt
    cdef int _rest_v4
    cdef int _rest_v6
    cdef long long _salt
    cdef double _source_interval
    cdef double _source_tolerance
    cdef Sources _sources
    cdef double _tolerance
    cdef public long column
    cdef public object wanted

    cpdef object admit(self, str host, double now)
    cpdef long long adopt(self, str host) except -1
    cpdef leave(self, long long source)
    cdef long long _source(self, tuple address) except -1
    cdef object _too_fast(self, long long source, double now)
