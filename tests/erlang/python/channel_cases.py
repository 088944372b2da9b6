# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_channel_python_SUITE."""

import asyncio
import threading
import time

import erlang
from erlang import ApplicationStopped, Channel, ChannelClosed
from erlang.channel import reply


def collect(ref):
    """All messages until the end."""
    return list(Channel(ref))


def collect_by_receive(ref):
    channel, messages = Channel(ref), []
    while True:
        try:
            messages.append(channel.receive())
        except ChannelClosed:
            return messages


def collect_async(ref):
    async def main():
        return [message async for message in Channel(ref)]

    return asyncio.run(main())


def collect_with_threads(ref, count):
    """Threads that iterate over one channel; what each of them got."""
    results = [[] for _ in range(count)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(Channel(ref)))
               for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def collect_with_coroutines(ref, count):
    async def worker():
        return [message async for message in Channel(ref)]

    async def main():
        return await asyncio.gather(*(worker() for _ in range(count)))

    return asyncio.run(main())


def echo(ref):
    """Replies ('echo', term) until the end; how many that were."""
    served = 0
    for pid, term in Channel(ref):
        reply(pid, ('echo', term))
        served += 1
    return served


def serve(channel_ref):
    """The quick start of the Channel documentation."""
    ch = Channel(channel_ref)
    for msg in ch:
        _, sender_pid, data = msg
        reply(sender_pid, ('response', data.upper()))


async def serve_async(channel_ref):
    ch = Channel(channel_ref)
    async for msg in ch:
        _, sender_pid, data = msg
        reply(sender_pid, ('response', data.upper()))


def run_serve_async(channel_ref):
    asyncio.run(serve_async(channel_ref))


def worker_pool(channel_ref, count, pid):
    """The worker pool of the Channel documentation: coroutines on one channel."""
    async def worker(worker_id):
        ch = Channel(channel_ref)
        async for msg in ch:
            if msg[0] == 'work':
                _, item = msg
                await asyncio.sleep(0)
                reply(pid, ('processed', item, worker_id))

    async def main():
        await asyncio.gather(*(worker(worker_id) for worker_id in range(count)))

    asyncio.run(main())


def announce_then_collect(ref, pid):
    """Says that it is about to block."""
    reply(pid, ('blocked', None))
    return collect(ref)


def announce_then_collect_async(ref, pid):
    async def main():
        channel = Channel(ref)
        waiting = asyncio.ensure_future(channel.async_receive())
        await asyncio.sleep(0)
        reply(pid, ('blocked', None))
        messages = []
        try:
            messages.append(await waiting)
            while True:
                messages.append(await channel.async_receive())
        except ChannelClosed:
            return messages

    return asyncio.run(main())


def receive_for(ref, seconds):
    started = time.monotonic()
    try:
        return Channel(ref).receive(seconds)
    except TimeoutError:
        return ('timeout', time.monotonic() - started >= seconds)


def try_receive(ref):
    return Channel(ref).try_receive()


def try_receive_closed(ref):
    try:
        return Channel(ref).try_receive()
    except ChannelClosed as error:
        return ('closed', str(error))


def how_a_receive_ends(ref, pid):
    reply(pid, ('blocked', None))
    try:
        return ('message', Channel(ref).receive())
    except ChannelClosed:
        return ('raised', 'ChannelClosed')
    except ApplicationStopped:
        return ('raised', 'ApplicationStopped')
    except KeyboardInterrupt:
        return ('raised', 'KeyboardInterrupt')


def close(ref):
    channel = Channel(ref)
    channel.close()
    channel.close()


def close_by_context_manager(ref):
    with Channel(ref) as channel:
        return channel.try_receive()


def close_by_context_manager_and_exception(ref):
    with Channel(ref):
        raise LookupError('inside')


def cancel_then_receive(ref):
    """A cancelled wait loses nothing: what is sent afterwards goes to the next receiver."""
    async def main():
        channel = Channel(ref)
        waiting = asyncio.ensure_future(channel.async_receive())
        await asyncio.sleep(0)
        waiting.cancel()
        try:
            await waiting
        except asyncio.CancelledError:
            pass
        channel.send('after')
        return await channel.async_receive()

    return asyncio.run(main())


def send_all(ref, terms):
    channel = Channel(ref)
    for term in terms:
        channel.send(term)
    channel.close()


def hold(ref):
    """Keeps a reference for as long as the module lives."""
    global held
    held = Channel(ref)


def release():
    global held
    del held


def same(ref):
    return ref


def slow_sum(ref):
    return sum(len(message) for message in Channel(ref))


def reply_to(pid, term):
    return erlang.reply(pid, term)


def refused_reply(pid, term):
    try:
        erlang.reply(pid, term)
    except Exception as error:
        return (type(error).__name__, isinstance(error, erlang.ProcessError))
    return None
