# SPDX-License-Identifier: Apache-2.0
"""Clients that are slow, wrong, too many, or gone; and a server that stops or loses a thread."""

import json
import signal
import socket
import threading
import time
import unittest

from server import DEADLINE, Client, Server, chunked, eventually, request


def report(server):
    return json.loads(server.ask(request("GET", "/report")).body)


class Wrong(unittest.TestCase):
    """Requests that are refused, or whose body never becomes complete."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server(
            "apps:raw", max_body=1_000_000, max_headers=20, idle_timeout=300, body_timeout=5000,
            small_body_timeout=300))

    def refused(self, data, status):
        with self.server.client() as client:
            client.send(data)
            answer = client.response()
            self.assertEqual(answer.status, status)
            self.assertTrue(client.at_end())
            return answer

    def test_lengths_that_can_be_understood_in_two_ways_are_400(self):
        for headers in (["Content-Length: 5", "Transfer-Encoding: chunked"],
                        ["Content-Length: 5", "Content-Length: 6"], ["Content-Length: +5"],
                        ["Content-Length: -5"], ["Content-Length: 0x5"], ["Content-Length: 5 5"],
                        ["Content-Length: 9" + "9" * 30]):
            with self.subTest(headers=headers):
                self.refused(request("POST", "/size", b"12345", *headers), 400)
        self.refused(request("POST", "/size", b"12345", "Transfer-Encoding: gzip, chunked"), 501)
        self.refused(b"POST /size HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400)

    def test_a_large_body_is_413_before_it_is_sent(self):
        self.refused(request("POST", "/size", b"x", "Content-Length: 1000001"), 413)
        with self.server.client() as client:
            client.send(request("POST", "/size", b"", "Content-Length: 99999999999",
                                "Expect: 100-continue"))
            self.assertEqual(client.response().status, 413)

    def test_the_client_can_read_a_refusal_while_it_still_sends(self):
        body = bytes(8_000_000)
        with self.server.client() as client:
            client.send(request("POST", "/size", body))
            self.assertEqual(client.response().status, 413)

    def test_a_large_chunked_body_is_413(self):
        before = len(report(self.server)["failures"])
        self.refused(request("POST", "/size", chunked(bytes(2_000_000), 50_000),
                             "Transfer-Encoding: chunked"), 413)
        failures = eventually(lambda: report(self.server)["failures"][before:], "the reader failed")
        self.assertEqual(failures, [["BufferAborted", "limit"]])

    def test_many_headers_are_431(self):
        self.refused(request("GET", "/unread", b"", *(f"X-{n}: 1" for n in range(30))), 431)

    def test_a_small_body_that_stops_is_408(self):
        self.refused(request("POST", "/size", b"12", "Content-Length: 5"), 408)

    def test_a_large_body_that_stops_is_408(self):
        # Before and after the application is called.
        self.refused(request("POST", "/size", bytes(100), "Content-Length: 100000"), 408)
        before = len(report(self.server)["failures"])
        self.refused(request("POST", "/size", bytes(90_000), "Content-Length: 200000"), 408)
        failures = eventually(lambda: report(self.server)["failures"][before:], "the reader failed")
        self.assertEqual(failures, [["BufferAborted", "timeout"]])

    def test_a_client_that_sends_half_and_leaves_is_400(self):
        for sent, length in ((10, 70_000), (90_000, 200_000)):
            with self.server.client() as client:
                client.send(request("POST", "/size", bytes(sent), f"Content-Length: {length}"))
                client.shutdown()
                self.assertEqual(client.response().status, 400)
        with self.server.client() as client:
            client.send(request("POST", "/size", chunked(bytes(90_000), 1000)[:-5],
                                "Transfer-Encoding: chunked"))
            client.shutdown()
            self.assertEqual(client.response().status, 400)

    def test_disconnects_at_every_offset_harm_nobody(self):
        for body in (request("POST", "/size", b"0123456789"),
                     request("POST", "/size", chunked(b"0123456789", 4),
                             "Transfer-Encoding: chunked")):
            for end in range(len(body)):
                with self.server.client() as client:
                    client.send(body[:end])
        self.assertEqual(report(self.server)["holding"], 0)
        for _ in range(30):
            answer = self.server.ask(request("POST", "/size", b"abc"))
            self.assertEqual((answer.status, answer.body), (200, b"3"))

    def test_an_application_that_reads_nothing_ends_the_connection(self):
        with self.server.client() as client:
            client.send(request("POST", "/unread", bytes(90_000), "Content-Length: 900000"))
            answer = client.response()
            self.assertEqual((answer.status, answer.body), (200, b"unread"))
            self.assertTrue(client.at_end())


class Many(unittest.TestCase):
    def test_drips_do_not_occupy_threads(self):
        """200 clients that send a byte a second, 8 threads, and requests that are answered."""
        with Server("apps:raw", threads=8) as server:
            drips = [server.client() for _ in range(200)]
            stop = threading.Event()
            for number, drip in enumerate(drips):
                # Small and large announced lengths, and chunks.
                drip.send((request("POST", "/size", b"", "Content-Length: 1000"),
                           request("POST", "/size", b"", "Content-Length: 1000000"),
                           request("POST", "/size", b"", "Transfer-Encoding: chunked"))[number % 3])

            def drip_on():
                while not stop.wait(1):
                    for number, drip in enumerate(drips):
                        drip.send(b"1\r\nx\r\n" if number % 3 == 2 else b"x")

            dripping = threading.Thread(target=drip_on)
            dripping.start()
            try:
                slowest = 0.0
                for number in range(100):
                    start = time.monotonic()
                    self.assertEqual(server.ask(request("POST", "/size", b"x" * number)).body,
                                     b"%d" % number)
                    slowest = max(slowest, time.monotonic() - start)
                    stop.wait(0.02)  # The requests are to meet some drips.
                self.assertTrue(all(drip.silent() for drip in drips))
            finally:
                stop.set()
                dripping.join()
                for drip in drips:
                    drip.close()
            self.assertLess(slowest, 2.0)

    def test_a_full_queue_is_503(self):
        with Server("apps:raw", threads=2, max_queue=0) as server:
            with server.client() as first, server.client() as second:
                first.send(request("GET", "/hold"))
                eventually(lambda: report(server)["holding"] == 1, "the first runs")
                second.send(request("GET", "/hold"))

                def refused():
                    answer = server.ask(request("GET", "/report"))
                    return answer.status == 503 and answer.headers["connection"] == "close"

                eventually(refused, "both threads are taken")
                # A keep-alive connection cannot help either; the threads must be released.
                server.process.terminate()
                server.process.wait(DEADLINE)

    def test_a_slow_reader_holds_back_the_application(self):
        blocks = 4000
        with Server("apps:raw", threads=2) as server:
            server.ask(request("GET", "/big?100"))
            before = report(server)["produced"]
            server.reset_peak()
            idle = server.memory()
            client = Client.__new__(Client)
            client.socket = socket.socket()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.socket.connect(("127.0.0.1", server.port))
            client.file = client.socket.makefile("rb")
            with client:
                client.send(request("GET", f"/big?{blocks}"))
                self.assertEqual(client.head()[0], 200)
                produced = -1
                # Until it stands still: buffers on the way are full.
                while produced != (now := report(server)["produced"] - before):
                    produced = now
                    time.sleep(0.3)  # sleep: so long nothing is produced
                self.assertLess(produced, 200)
                self.assertLess(server.memory("VmHWM") - idle, 16 * 2**20)
                body, whole = client.chunks()
            self.assertEqual((len(body), whole), (blocks * 65536, True))

    def test_a_client_that_leaves_stops_the_response(self):
        with Server("apps:raw", threads=1) as server:
            with server.client() as client:
                client.send(request("GET", "/big?1000000"))
                client.file.read(100_000)
            self.assertEqual(eventually(lambda: report(server)["closed"], "close() is called"), 1)


class Stopping(unittest.TestCase):
    def test_requests_in_flight_are_finished(self):
        with Server("apps:raw", threads=3, grace=3000) as server:
            with server.client() as held, server.client() as idle:
                held.send(request("GET", "/hold"))
                eventually(lambda: report(server)["holding"] == 1, "the request runs")
                idle.send(request("GET", "/unread"))
                self.assertEqual(idle.response().status, 200)
                server.process.send_signal(signal.SIGTERM)
                eventually(lambda: self.is_refused(server), "new connections are refused")
                # A connection that is open still gets answers.
                eventually(lambda: self.ask_again(idle) == 503, "new requests are refused")
                self.assertTrue(idle.at_end())
                self.assertIsNone(server.process.poll())
                # It would go on for 30 s.
                self.assertIn(held.response().status, (500, 503))
            self.assertEqual(server.process.wait(DEADLINE), 0)

    def test_a_request_that_ends_in_time_gets_its_answer(self):
        with Server("flaskapp:app", threads=3) as server, server.client() as client:
            client.send(request("POST", "/upload?id=1", bytes(100_000), "Content-Length: 200000"))
            with server.client() as other:
                other.send(request("GET", "/progress/1"))
                # It has been heard of, so it runs.
                while b"received" not in (line := other.file.readline()) or b": 0," in line:
                    pass
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: self.is_refused(server), "new connections are refused")
            client.send(bytes(100_000))
            answer = client.response()
            self.assertEqual((answer.status, answer.whole), (200, True))
            self.assertEqual(json.loads(answer.body)["size"], 200_000)
            self.assertEqual(server.process.wait(DEADLINE), 0)

    def ask_again(self, client):
        client.send(request("GET", "/unread"))
        return client.response().status

    def is_refused(self, server):
        try:
            server.client().close()
            return False
        except ConnectionError:
            return True

    def test_an_application_that_is_not_there_is_reported(self):
        with self.assertRaisesRegex(AssertionError, "(?s)cannot start nosuch:app.*ModuleNot"):
            Server("nosuch:app")

    def test_a_port_that_is_taken_is_reported(self):
        with Server("apps:raw") as server:
            with self.assertRaisesRegex(AssertionError, "cannot listen.*eaddrinuse"):
                Server("apps:raw", server.port)


if __name__ == "__main__":
    unittest.main()
