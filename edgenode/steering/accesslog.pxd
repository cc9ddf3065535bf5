cimport cython

from edgenode.steering.connection cimport Connection
from edgenode.steering.dial cimport Attempt


cdef class AccessLog:
    cdef list _lines
    cdef object _sink

    cpdef add(self, bytes line)
    cpdef flush(self)


cdef str _unserved


@cython.locals(attempt=Attempt, text=str, errors=str, worker=str, took=str, rtt=str)
cpdef bytes describe(Connection connection, object why, double now, double wall)
cdef str _reason(object why)
cdef str _ms(double seconds)
@cython.locals(thousandths="long long")
cdef str _decimal(double value)
@cython.locals(host=str, port=int)
cdef str _endpoint(tuple endpoint)
