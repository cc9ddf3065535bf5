cdef class Closing:
    cdef list _waiting

    cpdef add(self, int fd, bint reset)
    cpdef close_all(self)
