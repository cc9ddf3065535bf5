cimport cython

from edgenode.steering cimport sysio
from edgenode.steering.connection cimport Side
from edgenode.steering.flow cimport Flow
from edgenode.steering.loop cimport Loop, Sides
from edgenode.steering.sysio cimport Epoll

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
    cdef readonly object _acceptor
    cdef readonly object _pace
    cdef readonly object _warming
    cdef readonly object _dead
    cdef readonly dict _watched

    @cython.locals(
        loop=Loop, flow=Flow, epoll=Epoll, sides=Sides, count=int, at=int, fd=int,
        event=cython.uint, now=double, waits=double, side=Side,
    )
    cpdef step(self, double until)
    @cython.locals(due=double)
    cdef double _wait(self, double until, double now) except? -1
