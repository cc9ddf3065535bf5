cimport cython

from edgenode.steering.connection cimport Connection, Route
from edgenode.steering.timers cimport Timers

cdef double _slack


@cython.locals(route=Route, quiet=double, due=double, slack=double, lifetime=double)
cpdef watch(Timers timers, Connection connection)
@cython.locals(route=Route, quiet=double)
cpdef object over(Connection connection, double now)
