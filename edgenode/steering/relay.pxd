cimport cython

from edgenode.steering cimport sysio
from edgenode.steering cimport timeouts
from edgenode.steering.acceptor cimport Acceptor
from edgenode.steering.connection cimport Connection, Side
from edgenode.steering.dead cimport Dead
from edgenode.steering.dialing cimport Dialing
from edgenode.steering.ending cimport Ending
from edgenode.steering.entrance cimport Entrance
from edgenode.steering.flow cimport Flow
from edgenode.steering.loop cimport Loop, Sides
from edgenode.steering.pace cimport Pace
from edgenode.steering.sysio cimport Epoll
from edgenode.steering.warming cimport Warming

cdef object _LIVE


cdef class Relay:
    cdef public object counters
    cdef readonly object _log
    cdef readonly Loop _loop
    cdef readonly object _memory
    cdef readonly object _admission
    cdef readonly object _ending
    cdef readonly Flow _flow
    cdef readonly object _dialing
    cdef readonly object _entrance
    cdef readonly Acceptor _acceptor
    cdef readonly Pace _pace
    cdef readonly Warming _warming
    cdef readonly Dead _dead
    cdef readonly dict _watched

    @cython.locals(
        loop=Loop, flow=Flow, epoll=Epoll, sides=Sides, entrance=Entrance, dialing=Dialing,
        ending=Ending, acceptor=Acceptor, warming=Warming, count=int, at=int, fd=int,
        event=cython.uint, now=double, waits=double, side=Side,
    )
    cpdef step(self, double until)
    cdef _on_timer(self, Connection connection)
    @cython.locals(due=double, ending=Ending)
    cdef double _wait(self, double until, double now) except? -1
