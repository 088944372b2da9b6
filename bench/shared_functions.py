# SPDX-License-Identifier: Apache-2.0
"""The Python ends of bench/shared.escript; as a program, what it is compared with:

shared_functions.py multiprocessing_queue|multiprocessing_pipe|pyzmq_ipc SIZE COUNT

and erlang.shared_channel, between the same two processes without Erlang: shared_channel SIZE COUNT
"""

import multiprocessing
import os
import sys
import tempfile
import time


def drain(ref):
    from erlang import Channel
    count = 0
    for _ in Channel(ref):
        count += 1
    return count


def echo(there, back):
    from erlang import Channel
    count = 0
    back = Channel(back)
    for message in Channel(there):
        back.send(message)
        count += 1
    return count


def send_bytes(ref, size, count):
    from erlang import ByteChannel
    channel = ByteChannel(ref)
    data = b'x' * size
    for _ in range(count):
        channel.send_bytes(data)


def rate_of(ref, count):
    """Messages a second, from the first one on."""
    from erlang import ByteChannel
    channel = ByteChannel(ref)
    return measure(channel.receive_bytes, count)


def rate_in_place(ref, count):
    """Messages that are read where they lie: their first byte is."""
    from erlang import ByteChannel
    channel = ByteChannel(ref)

    def receive():
        with channel.receive_view(in_place=True) as view:
            return view[0]

    return measure(receive, count)


def measure(receive, count):
    receive()
    start = time.perf_counter()
    for _ in range(count - 1):
        receive()
    return (count - 1) / (time.perf_counter() - start)


def queue(size, count):
    sent = multiprocessing.Queue(1000)
    return sent.put, sent.get


def pipe(size, count):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    return sender.send_bytes, receiver.recv_bytes


def zeromq(address):
    import zmq

    def sender():
        socket = zmq.Context().socket(zmq.PUSH)
        socket.connect(address)
        return socket.send

    def receiver():
        socket = zmq.Context().socket(zmq.PULL)
        socket.bind(address)
        return socket.recv

    return sender, receiver


def shared(address):
    import erlang

    def receiver():
        channel = erlang.shared_channel(address, create=True, content='bytes', max_size=1 << 20)
        return channel.receive_bytes

    return (lambda: erlang.shared_channel(address).send_bytes), receiver


def send_all(make, size, count):
    send = make()
    data = b'x' * size
    for _ in range(count):
        send(data)
    time.sleep(1)  # ZeroMQ sends in a thread of its own.


def main(way, size, count):
    with tempfile.TemporaryDirectory() as folder:
        if way == 'pyzmq_ipc':
            sender, receiver = zeromq(f'ipc://{folder}/socket')
        elif way == 'shared_channel':
            sender, receiver = shared(f'@penstock-bench-{os.getpid()}')
        else:
            put, get = (queue if way == 'multiprocessing_queue' else pipe)(size, count)
            sender, receiver = (lambda: put), (lambda: get)
        receive = receiver()
        process = multiprocessing.Process(target=send_all, args=(sender, size, count))
        process.start()
        print(measure(receive, count))
        process.join()


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
