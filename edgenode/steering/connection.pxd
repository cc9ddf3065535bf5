from edgenode.steering.counters cimport Meter
from edgenode.steering.sysio cimport Pipe


cdef class Side:
    cdef public int fd
    cdef public int peer_fd
    cdef public Connection connection
    cdef public Meter meter
    cdef public long long moved
    cdef public bytes held
    cdef public long stuck
    cdef public long chunk
    cdef public bint bulk
    cdef public Pipe pipe
    cdef public long piped
    cdef public bint watched
    cdef public bint watches_output
    cdef public bint queued
    cdef public bint urgent
    cdef public bint ended
    cdef public bint failed
    cdef public bint eof
    cdef public bint end_passed
    cdef public bint broken


cdef class Connection:
    cdef public long number
    cdef public object route
    cdef public tuple client
    cdef public tuple local
    cdef public int client_fd
    cdef public double started
    cdef public double active
    cdef public object phase
    cdef public object source
    cdef public int worker_fd
    cdef public double dialed
    cdef public long header_size
    cdef public object dial
    cdef public object attempt
    cdef public object rival
    cdef public int rival_fd
    cdef public long attempts
    cdef public list errors
    cdef public object connected
    cdef public object reset
    cdef public double reset_at
    cdef public bint half_closed
    cdef public long long bytes_up
    cdef public long long bytes_down
    cdef public tuple peer
    cdef public str sni
    cdef public str alpn
    cdef public str unique_id
    cdef public object awaited
    cdef public long rtt
    cdef public long retransmits
