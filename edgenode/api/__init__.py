"""The admin API on a Unix socket, its client, and the metrics."""
