cpdef double patience(object usual, double deviation)


cdef class Budget:
    cdef double _share
    cdef double _floor
    cdef double _most
    cdef double _tokens
    cdef double _at

    cpdef earn(self, double now)
    cpdef bint allows(self, double now)
    cpdef spend(self)
    cdef _add(self, double tokens, double now)
