# SPDX-License-Identifier: Apache-2.0
"""A large upload keeps memory flat. PENSTOCK_UPLOAD_MIB: how large; the figures go to stdout."""

import hashlib
import json
import os
import time
import unittest

from server import Server, chunked, request

MIB = 2**20
SIZE = int(os.environ.get("PENSTOCK_UPLOAD_MIB", "256"))
ALLOWED = 16 * MIB


class Memory(unittest.TestCase):
    def upload(self, server, size, headers, framed=lambda piece: piece, end=b""):
        piece = os.urandom(MIB)
        digest = hashlib.sha256()
        with server.client() as client:
            client.send(request("POST", "/upload", b"", *headers))
            for _ in range(size):
                client.send(framed(piece))
                digest.update(piece)
            client.send(end)
            answer = client.response()
        self.assertEqual(answer.status, 200)
        self.assertEqual(json.loads(answer.body), {"sha256": digest.hexdigest(),
                                                   "size": size * MIB})

    def measure(self, headers, **framing):
        with Server("flaskapp:app") as server:
            # What the first request imports and allocates is not the upload's.
            self.upload(server, 2, [line.format(2 * MIB) for line in headers], **framing)
            idle = server.memory()
            server.reset_peak()
            start = time.monotonic()
            self.upload(server, SIZE, [line.format(SIZE * MIB) for line in headers], **framing)
            seconds = time.monotonic() - start
            peak = server.memory("VmHWM") - idle
            print(f"\n{SIZE} MiB, {headers[0].split(':')[0]}: {SIZE / seconds:.0f} MiB/s, "
                  f"idle {idle / MIB:.1f} MiB, peak {peak / MIB:+.1f} MiB")
            self.assertLess(peak, ALLOWED)

    def test_with_a_known_length(self):
        self.measure(["Content-Length: {}"])

    def test_chunked(self):
        self.measure(["Transfer-Encoding: chunked"], framed=lambda piece: chunked(piece, MIB)[:-5],
                     end=b"0\r\n\r\n")


if __name__ == "__main__":
    unittest.main()
