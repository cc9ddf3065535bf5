cimport cython

from edgenode.steering cimport sysio, timeouts
from edgenode.steering.connection cimport Connection, Side
from edgenode.steering.loop cimport Loop, Sides
from edgenode.steering.pipes cimport Pipes
from edgenode.steering.sysio cimport Pipe, Transfer

cdef long _chunk
cdef long _bulk_chunk
cdef long _bulk
cdef long _budget
cdef long _pipe
cdef long _round
cdef double _never


cdef class Flow:
    cdef public object unfinished
    cdef public long long most_stuck
    cdef Loop _loop
    cdef Sides _sides
    cdef Pipes _pipes
    cdef object _end
    cdef Transfer _transfer

    @cython.locals(peer=Side)
    cpdef on_event(self, Side side, unsigned int event)
    @cython.locals(side=Side, left=cython.longlong)
    cpdef resume(self)
    cdef _go_on(self, Side side)
    cdef _queue(self, Side side)
    @cython.locals(
        peer=Side, loop=Loop, pipe=Pipe, left=long, size=long, moved=long, wanted=long,
        relaxed=bint, piped=bint,
    )
    cpdef pump(self, Side side)
    cdef _wait_for(self, Side peer, Side side)
    cpdef watch_output(self, Side side)
    @cython.locals(more=bint, moved=long, total=long)
    cdef long _write_waiting(self, Side side, Side peer) except? -2
    cdef _count(self, Side side, long moved)
    @cython.locals(failed=long)
    cdef _pass_end(self, Side side, Side peer)
    cdef _half_closed(self, Connection connection)
    @cython.locals(connection=Connection)
    cdef _write_failed(self, Side side, Side peer, long error)
