# SPDX-License-Identifier: Apache-2.0
"""What correct clients see: curl, keep-alive, pipelining, every kind of body and response."""

import hashlib
import json
import os
import tempfile
import unittest

from server import Server, chunked, request

DATA = os.urandom(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


class Flask(unittest.TestCase):
    """The Flask application, under wsgiref's validator."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("apps:flask_checked"))
        cls.file = cls.enterClassContext(tempfile.NamedTemporaryFile())
        cls.file.write(DATA)
        cls.file.flush()

    def upload(self, *arguments):
        output, log = self.server.curl("/upload", "-v", "--data-binary", f"@{self.file.name}",
                                       *arguments)
        self.assertEqual(json.loads(output), {"sha256": DIGEST, "size": len(DATA)})
        return log

    def test_a_body_of_known_length_streams(self):
        self.upload("-H", "Expect:")

    def test_a_chunked_body_streams(self):
        self.upload("-H", "Expect:", "-H", "Transfer-Encoding: chunked")

    def test_who_expects_100_is_told_to_continue(self):
        for extra in ((), ("-H", "Transfer-Encoding: chunked")):
            log = self.upload("-H", "Expect: 100-continue", *extra)
            self.assertIn("< HTTP/1.1 100 Continue", log)

    def test_a_small_body_is_continued_too(self):
        output, log = self.server.curl("/hash", "-v", "-d", "abc", "-H", "Expect: 100-continue")
        self.assertIn("< HTTP/1.1 100 Continue", log)
        self.assertEqual(output.decode(), hashlib.sha256(b"abc").hexdigest())

    def test_http_1_0_ends_with_the_connection(self):
        output, log = self.server.curl("/lines/1000", "-v", "--http1.0")
        self.assertEqual(output.decode(), "".join(f"line {n}\n" for n in range(1000)))
        self.assertNotIn("chunked", log)

    def test_the_body_comes_back_while_it_comes_in(self):
        output, _ = self.server.curl("/echo", "--data-binary", f"@{self.file.name}")
        self.assertEqual(hashlib.sha256(output).hexdigest(), DIGEST)

    def test_the_page_is_served(self):
        output, _ = self.server.curl("/")
        self.assertIn(b"<title>Upload</title>", output)

    def test_progress_is_followed_from_a_second_connection(self):
        half = len(DATA) // 2
        with self.server.client() as follower, self.server.client() as sender:
            follower.send(request("GET", "/progress/test"))
            self.assertEqual(follower.head()[0], 200)
            sender.send(request("POST", "/upload?id=test", DATA[:half],
                                f"Content-Length: {len(DATA)}"))
            states = self.states(follower)
            for state in states:
                # All but what waits in buffers on the way.
                if state["received"] >= half - 400_000:
                    break
            self.assertIsNone(state["sha256"])
            sender.send(DATA[half:])
            self.assertEqual(json.loads(sender.response().body)["sha256"], DIGEST)
            self.assertEqual([*states][-1], {"received": len(DATA), "total": len(DATA),
                                             "sha256": DIGEST, "failed": False})

    def states(self, follower):
        for line in follower.file:
            if line.startswith(b"data: "):
                state = json.loads(line[6:])
                yield state
                if state["sha256"] or state["failed"]:
                    return

    def test_errors_of_the_application_are_its_own(self):
        for path, status in (("/nosuch", 404), ("/lines/99999999", 400)):
            self.assertEqual(self.server.ask(request("GET", path)).status, status)
        self.assertEqual(self.server.ask(request("GET", "/upload")).status, 405)


class Raw(unittest.TestCase):
    """An application without framework, under the validator."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("apps:raw_checked"))

    def test_connections_are_kept_alive(self):
        with self.server.client() as client:
            for body in (b"", b"abc", DATA[:100_000], b"x" * 65537, b""):
                client.send(request("POST", "/size", body, "Content-Type: text/plain"))
                answer = client.response()
                self.assertEqual((answer.status, answer.body), (200, b"%d" % len(body)))
                self.assertNotIn("connection", answer.headers)
            client.send(request("POST", "/size", chunked(DATA[:200_000], 777),
                                "Transfer-Encoding: chunked"))
            self.assertEqual(client.response().body, b"200000")
            client.send(request("GET", "/big?3"))
            self.assertEqual(client.response().body, bytes(3 * 65536))
            client.send(request("GET", "/unread", b"", "Connection: close"))
            answer = client.response()
            self.assertEqual(answer.headers["connection"], "close")
            self.assertTrue(client.at_end())

    def test_requests_may_be_pipelined(self):
        with self.server.client() as client:
            bodies = [b"1", b"", b"333", DATA[:70_000], b"55555"]
            client.send(b"".join(request("POST", "/size", body) for body in bodies)
                        + request("POST", "/size", chunked(b"123456", 4),
                                  "Transfer-Encoding: chunked")
                        + request("GET", "/where?last"))
            for body in bodies:
                self.assertEqual(client.response().body, b"%d" % len(body))
            self.assertEqual(client.response().body, b"6")
            self.assertEqual(json.loads(client.response().body)["QUERY_STRING"], "last")

    def test_head_and_errors_keep_the_connection_usable(self):
        with self.server.client() as client:
            client.send(request("HEAD", "/big?100"))
            self.assertEqual(client.response("HEAD").status, 200)
            client.send(request("GET", "/raises"))
            answer = client.response()
            self.assertEqual((answer.status, answer.whole), (500, True))
            client.send(request("GET", "/unread"))
            self.assertEqual(client.response().body, b"unread")

    def test_what_a_client_claims_about_itself_is_not_believed(self):
        answer = self.server.ask(request("GET", "/where", b"", "X-Forwarded-For: 203.0.113.9"))
        environ = json.loads(answer.body)
        self.assertEqual(environ["REMOTE_ADDR"], "127.0.0.1")
        self.assertEqual(environ["HTTP_X_FORWARDED_FOR"], "203.0.113.9")
        self.assertEqual(environ["SERVER_PORT"], str(self.server.port))

    def test_a_broken_response_does_not_look_complete(self):
        before = self.report()["closed"]
        for path in ("/breaks", "/breaks_sized"):
            with self.server.client() as client:
                client.send(request("GET", path))
                answer = client.response()
                self.assertEqual((answer.status, answer.whole), (200, False))
        self.assertEqual(self.report()["closed"], before + 2)

    def test_an_http_1_0_client_sees_a_broken_response_as_a_reset(self):
        with self.server.client() as client:
            client.send(b"GET /breaks HTTP/1.0\r\n\r\n")
            client.head()
            with self.assertRaises(ConnectionResetError):
                client.file.read()

    def report(self):
        return json.loads(self.server.ask(request("GET", "/report")).body)


if __name__ == "__main__":
    unittest.main()
