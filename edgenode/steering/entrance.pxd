cimport cython

from edgenode.steering.connection cimport Connection, Side
from edgenode.steering.counters cimport ServiceCount
from edgenode.steering.loop cimport Loop


cdef class Entrance:
    cdef Loop _loop
    cdef long _limit
    cdef object _dial
    cdef object _end
    cdef public long last_number
    cdef object _preface

    cpdef long room(self)
    @cython.locals(loop=Loop, count=ServiceCount, number=long, connection=Connection, client=Side)
    cpdef opened(self, object listener, int fd, str host, int port)
    @cython.locals(connection=Connection, waiting=bint)
    cpdef on_event(self, Side client, unsigned int event)
    cdef _first_bytes(self, Connection connection, Side client)
    cdef _begin(self, Connection connection, Side client, object door)
