# SPDX-License-Identifier: Apache-2.0
"""The Python ends of bench/shared.escript; as a program, what it is compared with:

shared_functions.py multiprocessing_queue|multiprocessing_pipe|pyzmq_ipc SIZE COUNT [there_and_back]

and erlang.shared_channel, between the same two processes without Erlang: shared_channel SIZE COUNT
Prints messages a second, or the median of COUNT messages there and back in microseconds.
"""

import multiprocessing
import os
import statistics
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


def both_ends(way, address):
    """Our send and receive, and a function that makes those of the other process."""
    if way == 'multiprocessing_queue':
        there, back = multiprocessing.Queue(), multiprocessing.Queue()
        return there.put, back.get, lambda: (back.put, there.get)
    if way == 'multiprocessing_pipe':
        ours, theirs = multiprocessing.Pipe()
        return ours.send_bytes, ours.recv_bytes, lambda: (theirs.send_bytes, theirs.recv_bytes)
    if way == 'pyzmq_ipc':
        import zmq
        pair = zmq.Context().socket(zmq.PAIR)
        pair.bind(f'ipc://{address}')

        def connected():
            pair = zmq.Context().socket(zmq.PAIR)
            pair.connect(f'ipc://{address}')
            return pair.send, pair.recv

        return pair.send, pair.recv, connected
    import erlang
    addresses = [f'@penstock-bench-{os.getpid()}-{way}' for way in ('there', 'back')]
    there, back = [erlang.shared_channel(address, create=True, content='bytes')
                   for address in addresses]

    def attached():
        there, back = map(erlang.shared_channel, addresses)
        return back.send_bytes, there.receive_bytes

    return there.send_bytes, back.receive_bytes, attached


def send_back(make, count):
    send, receive = make()
    for _ in range(count):
        send(receive())


def median_there_and_back(way, size, count):
    with tempfile.TemporaryDirectory() as folder:
        send, receive, make = both_ends(way, f'{folder}/socket')
        process = multiprocessing.Process(target=send_back, args=(make, count))
        process.start()
        data = b'x' * size
        times = []
        for _ in range(count):
            start = time.perf_counter()
            send(data)
            receive()
            times.append(time.perf_counter() - start)
        process.join()
    return statistics.median(times) * 1e6


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
    what = (sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    if sys.argv[4:] == ['there_and_back']:
        print(median_there_and_back(*what))
    else:
        main(*what)
