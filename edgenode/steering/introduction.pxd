from edgenode.steering.connection cimport Connection
from edgenode.steering.proxyprotocol cimport encode


cdef class Introduction:
    cdef str _run

    cpdef bytes header(self, Connection connection)
