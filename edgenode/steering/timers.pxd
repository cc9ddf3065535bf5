cimport cython

cdef double _granularity
cdef double _never


cdef class Timed:
    cdef double _due
    cdef double _slot


cdef class Timers:
    cdef dict _slots
    cdef list _heap

    @cython.locals(slot=double)
    cpdef set(self, Timed one, double due, double slack=*)
    @cython.locals(there=set)
    cpdef cancel(self, Timed one)
    @cython.locals(one=Timed, slot=double)
    cpdef list expired(self, double now)
    cpdef double next_due(self) except? -1
    @cython.locals(there=set)
    cdef _put(self, Timed one, double slot)
