"""Workers that register themselves in etcd: their records, how they are judged and followed."""
