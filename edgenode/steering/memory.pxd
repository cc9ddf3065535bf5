cimport cython

from edgenode.steering.hedge cimport Budget
from edgenode.steering.occupancy cimport Occupancy
from edgenode.steering.outliers cimport Outliers
from edgenode.steering.pick cimport Pool


cdef class Path:
    cdef public object usual
    cdef public double deviation
    cdef public double answered
    cdef public long silences
    cdef public long late

    cpdef learn(self, double sample)
    cpdef heard(self, double now)


cdef class Memory:
    cdef readonly Occupancy _occupancy
    cdef object _live
    cdef object _uniform
    cdef readonly Outliers _outliers
    cdef readonly object _numbers
    cdef readonly dict _columns
    cdef readonly dict _paths
    cdef dict _pools
    cdef dict _by_key
    cdef dict _slow_starts
    cdef object _dialing
    cdef dict _budgets
    cdef readonly dict _late

    cpdef tuple pools(self, str service)
    cpdef Budget budget(self, str service)
    cpdef bint dead(self, Pool pool, double now)
    @cython.locals(column=long)
    cpdef object take(self, Pool pool, object room, tuple tried, double now)
    cpdef give(self, Pool pool, long at)
    cdef _give(self, long column, long region)
    cdef bint _fits(self, Pool pool, long at)
    cpdef Path path(self, str region)
    @cython.locals(path=Path)
    cpdef connected(self, Pool pool, long at, double started, double now)
    cpdef ended(self, Pool pool, long at, double began, object well, double now)
