cimport cython

from edgenode.steering.connection cimport Connection
from edgenode.steering.dial cimport Attempt


cdef class AccessLog:
    cdef list _lines
    cdef object _sink

    cpdef add(self, bytes line)
    cpdef flush(self)


@cython.locals(attempt=Attempt, text=str, errors=str, reason=str, rtt=str, took=str)
cpdef bytes describe(Connection connection, object why, double now, double wall)
@cython.locals(host=str)
cdef str _endpoint(tuple endpoint)
cdef str _ms(double seconds)
