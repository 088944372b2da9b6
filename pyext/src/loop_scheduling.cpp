// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <span>
#include <utility>

#include "loop_clock.hpp"
#include "loop_core.hpp"
#include "loop_methods.hpp"
#include "penstock/shim.hpp"

namespace penstock::python {

namespace {

/// What is fixed of a method's signature: `method(time, callback, *args, context=None)`.
struct Signature {
  const char* name;
  const char* time;  ///< nullptr: there is none.
};

/// What a method was called with.
struct Request {
  PyObject* time = nullptr;
  Callback callback{};
};

bool is_named(PyObject* keyword, PyObject* interned, const char* name) {
  if (keyword == interned) return true;
  return PyUnicode_CompareWithASCIIString(keyword, name) == 0;
}

/// Keywords other than `context`, which nobody uses in a hurry. False: TypeError is set.
bool take_keyword(const Signature& signature, Request& request, PyObject* keyword,
                  PyObject* value) {
  PyObject** place = nullptr;
  if (PyUnicode_CompareWithASCIIString(keyword, "callback") == 0) {
    place = &request.callback.function;
  } else if (signature.time != nullptr &&
             PyUnicode_CompareWithASCIIString(keyword, signature.time) == 0) {
    place = &request.time;
  }
  if (place == nullptr || *place != nullptr) {
    PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", signature.name,
                 place == nullptr ? "an unexpected keyword" : "multiple values for", keyword);
    return false;
  }
  *place = value;
  return true;
}

bool parse_slowly(LoopCore& loop, const Signature& signature, std::span<PyObject* const> args,
                  PyObject* keywords, Request& request) {
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* const keyword = PyTuple_GET_ITEM(keywords, i);
    PyObject* const value = args.data()[args.size() + static_cast<std::size_t>(i)];
    if (is_named(keyword, loop.library().context_keyword, "context")) {
      request.callback.context = value == Py_None ? nullptr : value;
    } else if (!take_keyword(signature, request, keyword, value)) {
      return false;
    }
  }
  if (request.callback.function == nullptr ||
      (signature.time != nullptr && request.time == nullptr)) {
    PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", signature.name,
                 request.callback.function == nullptr ? "callback" : signature.time);
    return false;
  }
  return true;
}

/// False: TypeError is set.
bool parse(LoopCore& loop, const Signature& signature, PyObject* const* args, Py_ssize_t count,
           PyObject* keywords, Request& request) {
  PyObject* const* next = args;
  PyObject* const* const end = args + count;
  if (signature.time != nullptr && next != end) request.time = *next++;
  if (next != end) request.callback.function = *next++;
  request.callback.args = next;
  request.callback.count = end - next;
  if (keywords == nullptr && request.callback.function != nullptr) return true;
  return parse_slowly(loop, signature, {args, static_cast<std::size_t>(count)}, keywords, request);
}

/// In debug mode, with asyncio's words. False: an exception is set.
bool check_callback(LoopCore& loop, const Signature& signature, const Request& request) {
  return static_cast<bool>(PyRef::steal(PyObject_CallMethod(
      loop.object(), "_check_callback", "Os", request.callback.function, signature.name)));
}

PyObject* schedule_soon(LoopCore& loop, const Signature& signature, const Request& request) {
  if (!loop.check_open() || (loop.is_debug() && !check_callback(loop, signature, request))) {
    return nullptr;
  }
  PyRef handle = new_handle(loop, request.callback);
  if (!handle || !loop.push_ready(PyRef::borrow(handle.get()))) return nullptr;
  return handle.take();
}

PyObject* schedule_at(LoopCore& loop, const Signature& signature, double when,
                      const Request& request) {
  if (!loop.check_open() ||
      (loop.is_debug() && (!loop.check_thread() || !check_callback(loop, signature, request)))) {
    return nullptr;
  }
  PyRef timer = new_timer(loop, when, request.callback);
  if (!timer || !loop.push_timer(as_handle(timer.get()))) return nullptr;
  return timer.take();
}

/// False: an exception is set.
bool seconds_from(const Signature& signature, PyObject* time, double& seconds) {
  if (time == Py_None) {
    PyErr_Format(PyExc_TypeError, "%s must not be None", signature.time);
    return false;
  }
  seconds = PyFloat_AsDouble(time);
  return seconds != -1.0 || PyErr_Occurred() == nullptr;
}

constexpr Signature kCallSoon{"call_soon", nullptr};
constexpr Signature kCallSoonThreadsafe{"call_soon_threadsafe", nullptr};
constexpr Signature kCallLater{"call_later", "delay"};
constexpr Signature kCallAt{"call_at", "when"};

/// A task that nothing is asked of but to run. asyncio's own function does the rest.
PyObject* new_task(LoopCore& loop, PyObject* coroutine) {
  PyObject* const keyword = loop.loop_keyword();
  const PyRef args = keyword == nullptr ? PyRef() : PyRef::steal(PyTuple_Pack(1, coroutine));
  return args ? PyObject_Call(loop.library().task_class, args.get(), keyword) : nullptr;
}

}  // namespace

PyObject* loop_call_soon(PyObject* self, PyObject* const* args, Py_ssize_t count,
                         PyObject* keywords) {
  LoopCore& loop = LoopCore::of(self);
  Request request;
  if (!parse(loop, kCallSoon, args, count, keywords, request) ||
      (loop.is_debug() && !loop.check_thread())) {
    return nullptr;
  }
  return schedule_soon(loop, kCallSoon, request);
}

PyObject* loop_call_soon_threadsafe(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                    PyObject* keywords) {
  LoopCore& loop = LoopCore::of(self);
  Request request;
  if (!parse(loop, kCallSoonThreadsafe, args, count, keywords, request)) return nullptr;
  PyObject* const handle = schedule_soon(loop, kCallSoonThreadsafe, request);
  if (handle != nullptr) loop.wake();
  return handle;
}

PyObject* loop_call_later(PyObject* self, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords) {
  LoopCore& loop = LoopCore::of(self);
  Request request;
  double delay = 0.0;
  if (!parse(loop, kCallLater, args, count, keywords, request) ||
      !seconds_from(kCallLater, request.time, delay)) {
    return nullptr;
  }
  return schedule_at(loop, kCallLater, seconds_of(now_ns()) + delay, request);
}

PyObject* loop_call_at(PyObject* self, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords) {
  LoopCore& loop = LoopCore::of(self);
  Request request;
  double when = 0.0;
  if (!parse(loop, kCallAt, args, count, keywords, request) ||
      !seconds_from(kCallAt, request.time, when)) {
    return nullptr;
  }
  return schedule_at(loop, kCallAt, when, request);
}

PyObject* loop_add_callback(PyObject* self, PyObject* handle) {
  LoopCore& loop = LoopCore::of(self);
  const PyRef cancelled = PyRef::steal(PyObject_GetAttr(handle, loop.state().names.cancelled));
  const int is_cancelled = cancelled ? PyObject_IsTrue(cancelled.get()) : -1;
  if (is_cancelled < 0) return nullptr;
  if (is_cancelled == 0 && !loop.push_ready(PyRef::borrow(handle))) return nullptr;
  Py_RETURN_NONE;
}

PyObject* loop_create_task(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords) {
  LoopCore& loop = LoopCore::of(self);
  const bool is_plain = count == 1 && keywords == nullptr && !loop.task_factory() &&
                        !loop.is_debug() && !loop.is_closed();
  if (is_plain) return new_task(loop, args[0]);
  const PyRef method = PyRef::steal(PyMethod_New(loop.library().create_task, self));
  return method ? PyObject_Vectorcall(method.get(), args, static_cast<std::size_t>(count), keywords)
                : nullptr;
}

PyObject* loop_create_future(PyObject* self, PyObject*) {
  return LoopCore::of(self).new_future().take();
}

}  // namespace penstock::python
