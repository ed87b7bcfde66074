"""Listen where TensorBoard would, by its options."""

from __future__ import annotations

import argparse
import http.server

parser = argparse.ArgumentParser()
parser.add_argument("--logdir")
parser.add_argument("--host")
parser.add_argument("--port", type=int)
options = parser.parse_args()
http.server.HTTPServer((options.host, options.port), http.server.SimpleHTTPRequestHandler).serve_forever()
