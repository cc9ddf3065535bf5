cdef class Timers:
    cdef dict _slot_of
    cdef dict _slots
    cdef list _heap

    cpdef set(self, long key, double due, double slack=*)
    cpdef cancel(self, long key)
    cpdef list expired(self, double now)
    cpdef next_due(self)
