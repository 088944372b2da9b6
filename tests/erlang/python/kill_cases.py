# SPDX-License-Identifier: Apache-2.0
"""What workers do until they are killed in py_process_kills_SUITE. What they have sent and received
is in files that they map: there it is, however they end."""

import itertools
import mmap
import sys
import threading
import time

import erlang

MOST = 1 << 20  # Messages of one process, more than it lives for.
DAMAGED = (1 << 64) - 1


def words(path, count):
    """64-bit words in a new file."""
    with open(path, 'w+b') as file:
        file.truncate(8 * count)
        return memoryview(mmap.mmap(file.fileno(), 0)).cast('Q')


def filling(number):
    """Of a message; its size follows from the number, too."""
    return bytes([number % 256]) * (number * 37 % 3000)


def send(channel, process, sent):
    """`sent`: messages begun, and those of which it is known that they are in."""
    for index in itertools.count():
        number = process << 32 | index
        sent[0] = index + 1
        channel.send((number, filling(number)))
        sent[1] = index + 1
        if index % 20 == 0:
            time.sleep(0.001)  # sleep: others are to have the processor, too


def receive(channel, got):
    for place, (number, data) in enumerate(channel):
        got[place] = number + 1 if data == filling(number) else DAMAGED


def begin(channel, folder, process):
    """Threads that send and receive on the same channel."""
    sys.setswitchinterval(0.0005)
    for work, args in [(send, (process, words(f'{folder}/sent-{process}', 2))),
                       (receive, (words(f'{folder}/got-{process}', MOST),))]:
        threading.Thread(target=work, args=(erlang.Channel(channel), *args), daemon=True).start()


def same(value):
    return value


def count_in_threads(key, count):
    """What `kill_count` says for each of as many threads."""
    found = [None] * count

    def run(place):
        found[place] = erlang.call('kill_count', (key, place))

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# The verdict
# ------------------------------------------------------------------------------------------------

def words_of(path):
    from array import array
    return array('Q', path.read_bytes())


def numbers_of(path):
    """Up to the first word that was not written."""
    return (word - 1 for word in itertools.takewhile(bool, words_of(path)))


def verdict(folder):
    """(messages that came, of those that were certainly sent how many did not, receivers); raises
    an AssertionError for what nothing excuses."""
    from pathlib import Path
    sent = {int(path.name[5:]): words_of(path) or (0, 0)  # It died before it had words.
            for path in Path(folder).glob('sent-*')}
    seen = {process: bytearray(begun) for process, (begun, _) in sent.items()}
    logs = list(Path(folder).glob('got-*'))
    for log in logs:
        last = dict.fromkeys(sent, -1)
        for number in numbers_of(log):
            process, index = number >> 32, number & 0xFFFFFFFF
            assert number != DAMAGED - 1, f'{log.name}: not as it was sent'
            assert process in sent and index < sent[process][0], f'{number}: never sent'
            assert last[process] < index, f'{log.name}: {index} behind {last[process]}'
            last[process] = index
            seen[process][index] += 1
    twice = [(process, index) for process, counts in seen.items()
             for index, count in enumerate(counts) if count > 1]
    assert not twice, f'twice: {twice}'
    missing = sum(seen[process][:certain].count(0) for process, (_, certain) in sent.items())
    return sum(sum(counts) for counts in seen.values()), missing, len(logs)
