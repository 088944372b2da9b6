# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_callback_SUITE."""

import erlang

steps = []


def by_call(name, *args):
    return erlang.call(name, *args)


def by_attribute(name, *args):
    return getattr(erlang, name)(*args)


def by_import(name, *args):
    scope = {}
    exec(f'from erlang import {name} as function', scope)
    return scope['function'](*args)


def raised(function):
    """The type and the text of what a call without arguments raises."""
    try:
        function()
    except BaseException as error:
        return (type(error).__name__, str(error))
    return None


def failure(name, *args):
    """How an Erlang function fails."""
    try:
        erlang.call(name, *args)
    except RuntimeError as error:
        return {erlang.atom('text'): str(error), erlang.atom('class'): error.error_class,
                erlang.atom('reason'): error.reason, erlang.atom('stack'): error.stack}


def not_there(name):
    return (raised(lambda: by_attribute(name)), raised(lambda: by_import(name)))


def has(*names):
    return [hasattr(erlang, name) for name in names]


def has_before_and_after(name, register, unregister):
    """While Python runs, Erlang registers the name and removes it."""
    seen = has(name)
    erlang.call(register)
    seen += has(name)
    erlang.call(unregister)
    return seen + has(name)


def described(name):
    function = getattr(erlang, name)
    same = getattr(erlang, name)
    return [repr(function), type(function).__name__, function.__name__,
            isinstance(function, erlang.Function), function == same, hash(function) == hash(same),
            function == 'text']


def kept_function(name, unregister):
    """An attribute that was looked up before its name was removed."""
    function = getattr(erlang, name)
    erlang.call(unregister)
    return raised(function)


class Name(str):
    """Text all the same."""


class Evil:
    """Says no to everything."""

    def __getattribute__(self, name):
        raise LookupError(name)


def wrong_calls():
    nested = []
    for _ in range(20_000):
        nested = [nested]
    cyclic = []
    cyclic.append(cyclic)
    calls = {
        'nothing': lambda: erlang.call(),
        'bytes': lambda: erlang.call(b'echo', 1),
        'none': lambda: erlang.call(None),
        'atom': lambda: erlang.call(erlang.atom('echo'), 1),
        'number': lambda: erlang.call(17),
        'surrogate': lambda: erlang.call('\ud800'),
        'keyword': lambda: erlang.call('echo', value=1),
        'attribute keyword': lambda: erlang.echo(1, value=1),
        'object': lambda: erlang.call('echo', object()),
        'inner object': lambda: erlang.call('echo', 1, {'key': [0, object()]}),
        'evil': lambda: erlang.call('echo', Evil()),
        'surrogate argument': lambda: erlang.call('echo', '\ud800'),
        'deep': lambda: erlang.call('echo', nested),
        'cyclic': lambda: erlang.call('echo', cyclic),
        'function': lambda: erlang.call('echo', len),
    }
    return {name: raised(call) for name, call in calls.items()}


def subclass_of_str():
    return erlang.call(Name('echo'), 'text')


def evaluate(expression):
    """Passes a value, and takes it back: whether it is the same."""
    value = eval(expression)
    back = erlang.call('tell', value)
    return back == value and type(back) is type(value)


def send_to(pid):
    try:
        erlang.send(pid, 'message')
    except erlang.ProcessError:
        return erlang.call('echo', pid) == pid


class BadText(Exception):
    def __str__(self):
        raise LookupError('no text')

    __repr__ = __str__


def raise_bad_text():
    raise BadText


def raise_from_failure(name):
    """An exception with Erlang's as its cause."""
    try:
        erlang.call(name)
    except RuntimeError as error:
        raise BadText from error


def let_through(name):
    erlang.call(name)


def caught_base(name, *args):
    """Nothing but Erlang's result comes out of a call."""
    try:
        return erlang.call(name, *args)
    except BaseException as error:
        return ('caught', type(error).__name__)


def step(name):
    steps.append(name)
    erlang.call('step', name)
    return name


def steps_of_calls():
    """Everything that Erlang and Python count in three calls in a row."""
    steps.clear()
    return [step('a'), step('b'), step('c')], steps


def suspension():
    required = erlang.SuspensionRequired
    return [issubclass(required, BaseException), issubclass(required, Exception)]
