cimport cython

from edgenode.steering.acceptor cimport Listener
from edgenode.steering.admission cimport Guard
from edgenode.steering.connection cimport Connection, Route, Side
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
    @cython.locals(
        route=Route, loop=Loop, count=ServiceCount, local=tuple, number=long,
        connection=Connection, client=Side,
    )
    cpdef opened(self, Listener listener, int fd, tuple peer)
    @cython.locals(connection=Connection, waiting=bint)
    cpdef on_event(self, Side client, unsigned int event)
    cdef _first_bytes(self, Connection connection, Side client)
    cdef _begin(self, Connection connection, Side client, object door)
    @cython.locals(guard=Guard, host=str)
    cdef bint _has_place(self, Connection connection) except -1
    cdef _admit(self, Connection connection, Side client)
