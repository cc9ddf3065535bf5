cdef class Pace:
    cdef double _since
    cdef double _busy
    cdef double _longest

    cpdef worked(self, double seconds)
