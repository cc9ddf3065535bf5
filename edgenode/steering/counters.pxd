cimport cython

from edgenode.steering.histogram cimport Histogram


cdef class Meter:
    cdef public long long bytes


cdef class RegionCount:
    cdef public long connections
    cdef public long failures
    cdef public long live
    cdef public Meter up
    cdef public Meter down
    cdef public dict reasons
    cdef public Histogram connect


cdef class ServiceCount:
    cdef public long live
    cdef public long accepted
    cdef public long failed
    cdef public long local_probes
    cdef public long full
    cdef public object dialing
    cdef public Meter up
    cdef public Meter down
    cdef public dict regions
    cdef public dict endings
    cdef public Histogram rtt
    cdef public long long segments
    cdef public long long retransmits

    cpdef ended(self, object why)
    cpdef RegionCount region(self, str name)


cdef class Counters:
    cdef public dict services
    cdef public dict connect_failures
    cdef public set fresh_failures
    cdef public dict target_live
    cdef public long accept_errors
    cdef public dict shortages
    cdef public list _turn

    @cython.locals(region=RegionCount)
    cpdef RegionCount connected(self, ServiceCount service, tuple key, double took)
    @cython.locals(region=RegionCount)
    cpdef closed(self, ServiceCount service, tuple key)
