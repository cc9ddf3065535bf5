"""The upgrade in place: a new version takes over listeners and live connections.

`protocol` says who owns them at each step; `channel` carries messages and descriptors; `record` is
a connection's state as bytes, which `export` takes out of a relay and `adopt` puts into another;
`learned` is what was learned of workers.
`leaving` and `arriving` are the two relay workers' parts, `giving` and `taking` the supervisors'.
"""
