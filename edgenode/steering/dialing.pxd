cimport cython

from edgenode.steering.connection cimport Connection, Route, Side
from edgenode.steering cimport timeouts
from edgenode.steering.counters cimport Counters, RegionCount
from edgenode.steering.dial cimport Attempt, Dial
from edgenode.steering.flow cimport Flow
from edgenode.steering.introduction cimport Introduction
from edgenode.steering.loop cimport Loop
from edgenode.steering.memory cimport Memory
from edgenode.steering.warming cimport Warming


cdef class Dialing:
    cdef Loop _loop
    cdef Counters _counters
    cdef Memory _memory
    cdef object _limits
    cdef Flow _flow
    cdef Warming _warming
    cdef object _end
    cdef Introduction _introduction

    cpdef begin(self, Connection connection, Side client)
    @cython.locals(connection=Connection, client=Side, failed=int)
    cpdef on_answer(self, Side worker, unsigned int event)
    cpdef on_timer(self, Connection connection)
    @cython.locals(dial=Dial, attempt=Attempt, failed=int)
    cdef _next_attempt(self, Connection connection, Side client)
    @cython.locals(loop=Loop, fd=int, worker=Side, failed=int)
    cdef int _try(self, Connection connection, Side client, Attempt attempt) except -1
    @cython.locals(attempt=Attempt, rival=Attempt, due=double)
    cdef _set_timer(self, Connection connection)
    cdef bint _take_first_bytes(self, Connection connection, Side client) except -1
    @cython.locals(size=long)
    cdef int _send_first_bytes(self, Connection connection, Side client, Side worker) except -1
    @cython.locals(dial=Dial, attempt=Attempt, now=double, region=RegionCount)
    cdef _established(self, Connection connection, Side client, Side worker, long sent)
    cdef _attempt_failed(self, Connection connection, Side client, int fd, int failed)
    cdef _note_failure(self, Connection connection, int fd, int failed)
