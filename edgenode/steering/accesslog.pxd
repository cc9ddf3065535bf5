cimport cython

from edgenode.steering.connection cimport Connection
from edgenode.steering.dial cimport Attempt


cdef class AccessLog:
    cdef list _lines
    cdef object _sink

    cpdef add(self, bytes line)
    cpdef flush(self)


cdef dict _reasons
cdef str _unserved


@cython.locals(attempt=Attempt, text=str, errors=str, worker=str, took=str, rtt=str)
cpdef bytes describe(Connection connection, object why, double now, double wall)
@cython.locals(tenths="long long")
cdef str _ms(double seconds)
@cython.locals(thousandths="long long")
cdef str _decimal(double value)
@cython.locals(host=str, port=int)
cpdef str _endpoint(tuple endpoint)
