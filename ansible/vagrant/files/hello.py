"""Answer every request with where it was served, and which edge it came through.

hello.py REGION [ADDRESS=EDGE...]: the edges' mesh addresses with their names.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REGION = sys.argv[1]
EDGES = dict(argument.split("=") for argument in sys.argv[2:])


class Hello(BaseHTTPRequestHandler):
    """Says hello."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """As http.server calls it."""
        came = self.client_address[0]
        body = f"hello from {REGION}, through {EDGES.get(came, came)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8080), Hello).serve_forever()
