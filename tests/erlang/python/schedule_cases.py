# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_schedule_SUITE."""

import asyncio
import gc
import time

import erlang

HERE = 'schedule_cases'

hops = 0
order = []


def rss():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096


def add(left, right, times=1):
    return (left + right) * times


def to_erlang(name, *args):
    return erlang.schedule(name, *args)


def to_python(module, function, *rest):
    return erlang.schedule_py(module, function, *rest)


def inline(module, function, *rest):
    return erlang.schedule_inline(module, function, *rest)


def by_keywords(kind):
    return getattr(erlang, kind)(module=HERE, func='add', args=[1, 2], kwargs={'times': 10})


def deep(depth, name):
    """A marker counts after any number of plain returns."""
    return deep(depth - 1, name) if depth else erlang.schedule(name, depth)


def in_a_list(kind):
    marker = getattr(erlang, kind)(HERE, 'add', (1, 2))
    try:
        return repr([marker])
    finally:
        # Nothing comes of it.
        del marker
        gc.collect()


def reprs():
    return [repr(erlang.schedule('name', 1)), repr(erlang.schedule_py('m', 'f')),
            repr(erlang.schedule_inline('m', 'f')),
            type(erlang.schedule('name')) is erlang.ScheduleMarker,
            type(erlang.schedule_py('m', 'f')) is erlang.ScheduleMarker,
            type(erlang.schedule_inline('m', 'f')) is erlang.InlineScheduleMarker]


def leaky_list():
    """A marker as an element: it is an object that has no form in Erlang."""
    return [erlang.schedule('name')]


def wrong_arguments():
    wrong = {
        'schedule nothing': lambda: erlang.schedule(),
        'schedule bytes': lambda: erlang.schedule(b'x'),
        'schedule keyword': lambda: erlang.schedule('x', y=1),
        'py nothing': lambda: erlang.schedule_py(),
        'py one': lambda: erlang.schedule_py('m'),
        'py module': lambda: erlang.schedule_py(1, 'f'),
        'py args': lambda: erlang.schedule_py('m', 'f', 5),
        'py kwargs': lambda: erlang.schedule_py('m', 'f', [], [1]),
        'inline function': lambda: erlang.schedule_inline('m', b'f'),
        'inline args': lambda: erlang.schedule_inline('m', 'f', 'text'),
        'inline kwargs': lambda: erlang.schedule_inline('m', 'f', None, 5),
        'inline keyword': lambda: erlang.schedule_inline('m', 'f', other=1),
        'marker': lambda: erlang.ScheduleMarker(),
        'inline marker': lambda: erlang.InlineScheduleMarker(),
    }
    found = {}
    for name, call in wrong.items():
        try:
            call()
        except Exception as error:
            found[name] = type(error).__name__
    return found


def chain(kind, count, done=0):
    """count hops, of any kind."""
    if count == done:
        return done
    return getattr(erlang, kind)(HERE, 'chain', [kind, count, done + 1])


def measured_chain(count, done=0, before=None):
    """How many bytes the process has grown by, in the second half of a chain."""
    if done == count // 2:
        gc.collect()
        before = rss()
    if done == count:
        gc.collect()
        return rss() - before
    return erlang.schedule_inline(HERE, 'measured_chain', [count, done + 1, before])


def mixed(name, steps):
    """Each kind in turn, through Erlang and back."""
    if steps == 0:
        return 'end'
    kinds = [lambda: erlang.schedule_inline(HERE, 'mixed', (name, steps - 1)),
             lambda: erlang.schedule_py(HERE, 'mixed', (name, steps - 1)),
             lambda: erlang.schedule_inline(HERE, 'mixed', [name], {'steps': steps - 1})]
    return kinds[steps % 3]()


class Opaque:
    """What has no form in Erlang."""

    def __init__(self, value):
        self.value = value


def keep_objects(count, opaque=None):
    """The arguments of an inline hop stay what they are."""
    if opaque is None:
        opaque = Opaque(0)
    if count == 0:
        return opaque.value
    opaque.value += 1
    return erlang.schedule_inline(HERE, 'keep_objects', (count - 1, opaque))


def object_through_erlang(kind):
    marker = erlang.schedule_py(HERE, 'keep_objects', (1, Opaque(0)))
    return marker if kind == 'py' else erlang.schedule('echo', Opaque(0))


def for_ever(kind):
    """A chain without an end; how far it got is in hops."""
    global hops
    hops += 1
    return getattr(erlang, kind)(HERE, 'for_ever', [kind])


def begin_for_ever(kind, pid):
    erlang.send(pid, ('began', 1))
    return for_ever(kind)


def hops_so_far():
    return hops


def until(flag, done=0):
    """A chain that ends when another request has set the flag."""
    if flag in order:
        return done
    return erlang.schedule_inline(HERE, 'until', (flag, done + 1))


def note(what):
    order.append(what)
    return what


def turns(name, count):
    """Notes each of its hops."""
    order.append(name)
    return (erlang.schedule_inline(HERE, 'turns', (name, count - 1)) if count > 1
            else ''.join(order))


def forget_order():
    order.clear()


def fail_after(kind, count):
    if count == 0:
        raise LookupError('on the way')
    return getattr(erlang, kind)(HERE, 'fail_after', [kind, count - 1])


def catch_interrupt(kind):
    """Each hop is a call of its own; what comes between is not caught here."""
    try:
        time.sleep(0)
        return getattr(erlang, kind)(HERE, 'catch_interrupt', [kind])
    except KeyboardInterrupt:
        return 'caught'


def schedule_and_call(name):
    """A blocking call, then one that goes on."""
    first = erlang.call(name, 1)
    return erlang.schedule(name, first + 1)


def in_a_coroutine(name):
    async def main():
        value = await erlang.async_call(name, 5)
        return erlang.schedule(name, value + 1)

    return asyncio.run(main())


def percents(values):
    found = []
    for value in values:
        try:
            found.append(erlang.consume_time_slice(value))
        except (TypeError, ValueError) as error:
            found.append(type(error).__name__)
    return found


def slices(percent, count):
    return [erlang.consume_time_slice(percent) for _ in range(count)]


def slice_by_time():
    """Time counts as well: how long until it is used up, with hardly anything declared."""
    began = time.monotonic()
    while not erlang.consume_time_slice(1):
        pass
    return time.monotonic() - began


def working(numbers, total=0):
    """What consume_time_slice is for."""
    while numbers:
        total += numbers.pop()
        if erlang.consume_time_slice(20):
            return erlang.schedule_inline(HERE, 'working', (numbers, total))
    return total
