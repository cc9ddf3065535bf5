cimport cython

from edgenode.steering.connection cimport Side


@cython.locals(fd=int, failed=int, ipv6=bint, source=str)
cpdef int begin(object bind, object target) except -1
@cython.locals(data=bytes)
cpdef bint read_first(Side client) except -1
@cython.locals(size=long)
cpdef long send_first(Side client, Side worker) except -1
cpdef object verdict(Side client, Side worker, object why, double lasted)
