from edgenode.steering.admission cimport Guard
from edgenode.steering.counters cimport Meter, ServiceCount
from edgenode.steering.dial cimport Attempt, Dial
from edgenode.steering.sysio cimport Pipe
from edgenode.steering.timers cimport Timed


cdef class Route:
    cdef readonly object service
    cdef readonly ServiceCount count
    cdef readonly object bind
    cdef readonly Guard guard
    cdef readonly str name
    cdef readonly double idle_timeout
    cdef readonly double half_closed_timeout
    cdef readonly double lifetime


# Of these there are the most: flags are bytes.


cdef class Side:
    cdef public Connection connection
    cdef public Meter meter
    cdef public bytes held
    cdef public Pipe pipe
    cdef public long long moved
    cdef public int fd
    cdef public int peer_fd
    cdef public int stuck
    cdef public int chunk
    cdef public int piped
    cdef public unsigned char bulk
    cdef public unsigned char watched
    cdef public unsigned char watches_output
    cdef public unsigned char queued
    cdef public unsigned char urgent
    cdef public unsigned char ended
    cdef public unsigned char failed
    cdef public unsigned char eof
    cdef public unsigned char end_passed
    cdef public unsigned char broken


cdef class Connection(Timed):
    cdef public Route route
    cdef public tuple client
    cdef public tuple local
    cdef public object phase
    cdef public Dial dial
    cdef public Attempt attempt
    cdef public Attempt rival
    cdef public tuple errors
    cdef public object connected
    cdef public object reset
    cdef public tuple peer
    cdef public str sni
    cdef public str alpn
    cdef public str unique_id
    cdef public object awaited
    cdef public double started
    cdef public double active
    cdef public double dialed
    cdef public double reset_at
    cdef public long number
    cdef public long long source
    cdef public long long bytes_up
    cdef public long long bytes_down
    cdef public long rtt
    cdef public long retransmits
    cdef public int client_fd
    cdef public int worker_fd
    cdef public int rival_fd
    cdef public int header_size
    cdef public int attempts
    cdef public unsigned char half_closed
