cdef class Meter:
    cdef public long long bytes
