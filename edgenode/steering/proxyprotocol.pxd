cimport cython


@cython.locals(host=str, own=str)
cpdef bytes encode(tuple source, tuple destination, bytes fields=*)
