cdef class Occupancy:
    cdef object _memory
    cdef int[::1] _all
    cdef long _size
    cdef long _stride
    cdef long _own

    cpdef long live(self, long column)
    cpdef take(self, long column)
    cpdef give(self, long column)
