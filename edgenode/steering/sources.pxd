cimport cython


cdef class Sources:
    cdef object _factor
    cdef object _mixer
    cdef int[::1] _all
    cdef double[::1] _times
    cdef long long _width
    cdef long long _stride
    cdef long long _size
    cdef long long _own
    cdef int _bits
    cdef int _shift

    cpdef long long place(self, object source) except -1
    @cython.locals(low="long long", one="long long", two="long long", three="long long")
    cpdef bint take(self, long long place, long long most)
    @cython.locals(low="long long")
    cpdef give(self, long long place)
    @cython.locals(low="long long", paid="double", other="double")
    cpdef double paid(self, long long place)
    @cython.locals(low="long long", one="long long", two="long long", three="long long")
    cpdef charge(self, long long place, double paid)
    @cython.locals(count="long long")
    cdef long long _live(self, long long cell)
