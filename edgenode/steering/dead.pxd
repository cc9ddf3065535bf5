cdef class Dead:
    cdef readonly double due
    cdef object _loop
    cdef object _end
    cdef object _named
    cdef object _doomed
    cdef list _left

    cpdef go_on(self)
