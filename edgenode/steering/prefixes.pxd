cpdef tuple address_of(str host)
