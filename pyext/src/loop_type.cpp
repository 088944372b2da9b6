// SPDX-License-Identifier: Apache-2.0
#include <new>

#include "loop_clock.hpp"
#include "loop_core.hpp"
#include "loop_endpoint.hpp"
#include "loop_methods.hpp"
#include "penstock/host.hpp"
#include "types.hpp"

/// The Python type of a loop's C++ half. Its attributes of asyncio's names are those that
/// BaseEventLoop's own methods read and write.
namespace penstock::python {

namespace {

// Life
// ---------------------------------------------------------------------------------------------

PyObject* loop_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* const module = PyType_GetModuleByDef(type, &native_module);
  if (module == nullptr) return nullptr;
  if (state_of(module).loops.handle_type == nullptr) {
    PyErr_SetString(PyExc_TypeError, "use erlang.ErlangEventLoop");
    return nullptr;
  }
  PyObject* const self = type->tp_alloc(type, 0);
  if (self != nullptr) new (&LoopCore::of(self)) LoopCore(state_of(module), self);
  return self;
}

int loop_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return LoopCore::of(self).traverse(visit, arg);
}

int loop_clear(PyObject* self) {
  LoopCore::of(self).clear();
  return 0;
}

void loop_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  LoopCore& loop = LoopCore::of(self);
  loop.clear();
  loop.~LoopCore();
  free_instance(self);
}

// Attributes
// ---------------------------------------------------------------------------------------------

/// False: an exception is set.
bool truth_of(PyObject* value, bool& truth) {
  const int answer = value == nullptr ? 0 : PyObject_IsTrue(value);
  truth = answer > 0;
  return answer >= 0;
}

PyObject* get_debug(PyObject* self, void*) {
  return PyBool_FromLong(LoopCore::of(self).is_debug());
}

int set_debug(PyObject* self, PyObject* value, void*) {
  bool is_debug = false;
  if (!truth_of(value, is_debug)) return -1;
  LoopCore::of(self).set_debug(is_debug);
  return 0;
}

PyObject* get_closed(PyObject* self, void*) {
  return PyBool_FromLong(LoopCore::of(self).is_closed());
}

int set_closed(PyObject* self, PyObject* value, void*) {
  bool is_closed = false;
  if (!truth_of(value, is_closed)) return -1;
  LoopCore::of(self).set_closed(is_closed);
  return 0;
}

PyObject* get_stopping(PyObject* self, void*) {
  return PyBool_FromLong(LoopCore::of(self).is_stopping());
}

int set_stopping(PyObject* self, PyObject* value, void*) {
  bool is_stopping = false;
  if (!truth_of(value, is_stopping)) return -1;
  LoopCore::of(self).set_stopping(is_stopping);
  return 0;
}

PyObject* get_thread(PyObject* self, void*) {
  const unsigned long thread = LoopCore::of(self).thread();
  if (thread == 0) Py_RETURN_NONE;
  return PyLong_FromUnsignedLong(thread);
}

int set_thread(PyObject* self, PyObject* value, void*) {
  unsigned long thread = 0;
  if (value != nullptr && value != Py_None) {
    thread = PyLong_AsUnsignedLong(value);
    if (PyErr_Occurred() != nullptr) return -1;
  }
  LoopCore::of(self).set_thread(thread);
  if (thread == 0) LoopCore::of(self).has_stopped();
  return 0;
}

PyObject* get_task_factory(PyObject* self, void*) {
  PyObject* const factory = LoopCore::of(self).task_factory().get();
  return PyRef::borrow(factory == nullptr ? Py_None : factory).take();
}

int set_task_factory(PyObject* self, PyObject* value, void*) {
  const PyRef old = std::exchange(LoopCore::of(self).task_factory(),
                                  PyRef::borrow(value == Py_None ? nullptr : value));
  return 0;
}

PyObject* get_backend(PyObject* self, void*) {
  const io_uring::Reactor* const reactor = LoopCore::of(self).reactor();
  if (reactor == nullptr) return nullptr;
  return PyUnicode_FromString(reactor->backend() == io_uring::Backend::io_uring ? "io_uring"
                                                                                : "epoll");
}

// Methods
// ---------------------------------------------------------------------------------------------

PyObject* loop_time(PyObject*, PyObject*) { return PyFloat_FromDouble(seconds_of(now_ns())); }

PyObject* loop_stop(PyObject* self, PyObject*) {
  LoopCore::of(self).set_stopping(true);
  Py_RETURN_NONE;
}

PyObject* loop_is_closed(PyObject* self, PyObject*) { return get_closed(self, nullptr); }

PyObject* loop_is_running(PyObject* self, PyObject*) {
  return PyBool_FromLong(LoopCore::of(self).is_running());
}

PyObject* loop_get_debug(PyObject* self, PyObject*) { return get_debug(self, nullptr); }

PyObject* loop_check_closed(PyObject* self, PyObject*) {
  if (!LoopCore::of(self).check_open()) return nullptr;
  Py_RETURN_NONE;
}

/// Inside Erlang a loop may be interrupted while it sleeps, which the endpoint's mailbox is told.
/// False: an exception is set.
bool can_be_interrupted(PyObject* self) {
  return host() == nullptr || endpoint_of(LoopCore::of(self).state(), self) != nullptr;
}

PyObject* loop_run_once(PyObject* self, PyObject*) {
  if (!can_be_interrupted(self) || !LoopCore::of(self).run_once()) return nullptr;
  Py_RETURN_NONE;
}

PyObject* loop_run(PyObject* self, PyObject*) {
  if (!can_be_interrupted(self) || !LoopCore::of(self).run()) return nullptr;
  Py_RETURN_NONE;
}

PyObject* loop_wake(PyObject* self, PyObject*) {
  LoopCore::of(self).wake();
  Py_RETURN_NONE;
}

PyObject* loop_open_reactor(PyObject* self, PyObject*) {
  if (LoopCore::of(self).reactor() == nullptr) return nullptr;
  Py_RETURN_NONE;
}

PyObject* loop_close_reactor(PyObject* self, PyObject*) {
  LoopCore::of(self).close_reactor();
  Py_RETURN_NONE;
}

PyObject* loop_ready_handles(PyObject* self, PyObject*) {
  const ReadyQueue& ready = LoopCore::of(self).ready();
  PyRef list = PyRef::steal(PyList_New(static_cast<Py_ssize_t>(ready.size())));
  for (std::size_t i = 0; list && i < ready.size(); ++i) {
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), PyRef::borrow(ready[i]).take());
  }
  return list.take();
}

PyObject* loop_scheduled_handles(PyObject* self, PyObject*) {
  const TimerHeap& timers = LoopCore::of(self).timers();
  PyRef list = PyRef::steal(PyList_New(static_cast<Py_ssize_t>(timers.size())));
  for (std::size_t i = 0; list && i < timers.size(); ++i) {
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i),
                    PyRef::borrow(reinterpret_cast<PyObject*>(timers[i])).take());
  }
  return list.take();
}

PyObject* loop_clear_ready(PyObject* self, PyObject*) {
  LoopCore::of(self).clear_ready();
  Py_RETURN_NONE;
}

PyObject* loop_clear_scheduled(PyObject* self, PyObject*) {
  LoopCore::of(self).clear_timers();
  Py_RETURN_NONE;
}

template <class Function>
PyCFunction function(Function body) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(body));
}

// clang-format off
PyMethodDef methods[] = {
    {"call_soon", function(loop_call_soon), METH_FASTCALL | METH_KEYWORDS,
     "call_soon(callback, *args, context=None)\n--\n\nCall it in the next iteration."},
    {"call_soon_threadsafe", function(loop_call_soon_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe(callback, *args, context=None)\n--\n\nSame, from any thread."},
    {"call_later", function(loop_call_later), METH_FASTCALL | METH_KEYWORDS,
     "call_later(delay, callback, *args, context=None)\n--\n\nCall it in delay seconds."},
    {"call_at", function(loop_call_at), METH_FASTCALL | METH_KEYWORDS,
     "call_at(when, callback, *args, context=None)\n--\n\nCall it when time() is when."},
    {"create_task", function(loop_create_task), METH_FASTCALL | METH_KEYWORDS,
     "create_task(coro, *, name=None, context=None)\n--\n\nRun a coroutine in a task."},
    {"create_future", loop_create_future, METH_NOARGS,
     "create_future()\n--\n\nReturn a future of this loop."},
    {"_add_callback", loop_add_callback, METH_O, nullptr},

    {"add_reader", function(loop_add_reader), METH_FASTCALL,
     "add_reader(fd, callback, *args)\n--\n\nCall it whenever fd can be read."},
    {"add_writer", function(loop_add_writer), METH_FASTCALL,
     "add_writer(fd, callback, *args)\n--\n\nCall it whenever fd can be written."},
    {"remove_reader", loop_remove_reader, METH_O,
     "remove_reader(fd)\n--\n\nReturn whether there was a reader."},
    {"remove_writer", loop_remove_writer, METH_O,
     "remove_writer(fd)\n--\n\nReturn whether there was a writer."},
    {"_add_reader", function(loop_add_transport_reader), METH_FASTCALL, nullptr},
    {"_add_writer", function(loop_add_transport_writer), METH_FASTCALL, nullptr},
    {"_remove_reader", loop_remove_transport_reader, METH_O, nullptr},
    {"_remove_writer", loop_remove_transport_writer, METH_O, nullptr},
    {"_interest", loop_interest, METH_O, nullptr},
    {"_watched", loop_watched, METH_NOARGS, nullptr},

    {"sock_recv", function(loop_sock_recv), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"sock_recv_into", function(loop_sock_recv_into), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"sock_recvfrom", function(loop_sock_recvfrom), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"sock_recvfrom_into", function(loop_sock_recvfrom_into), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"sock_sendall", function(loop_sock_sendall), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"sock_sendto", function(loop_sock_sendto), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"sock_accept", function(loop_sock_accept), METH_FASTCALL | METH_KEYWORDS, nullptr},

    {"time", loop_time, METH_NOARGS, "time()\n--\n\nReturn the loop's clock, in seconds."},
    {"stop", loop_stop, METH_NOARGS, "stop()\n--\n\nEnd the run after this iteration."},
    {"is_closed", loop_is_closed, METH_NOARGS, nullptr},
    {"is_running", loop_is_running, METH_NOARGS, nullptr},
    {"get_debug", loop_get_debug, METH_NOARGS, nullptr},
    {"_check_closed", loop_check_closed, METH_NOARGS, nullptr},
    {"_run_once", loop_run_once, METH_NOARGS,
     "_run_once()\n--\n\nRun one iteration; waits if nothing is ready."},
    {"_run", loop_run, METH_NOARGS, nullptr},
    {"_write_to_self", loop_wake, METH_NOARGS, nullptr},
    {"_open_reactor", loop_open_reactor, METH_NOARGS, nullptr},
    {"_close_reactor", loop_close_reactor, METH_NOARGS, nullptr},
    {"_ready_handles", loop_ready_handles, METH_NOARGS, nullptr},
    {"_scheduled_handles", loop_scheduled_handles, METH_NOARGS, nullptr},
    {"_clear_ready", loop_clear_ready, METH_NOARGS, nullptr},
    {"_clear_scheduled", loop_clear_scheduled, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

PyGetSetDef properties[] = {
    {"_debug", get_debug, set_debug, nullptr, nullptr},
    {"_closed", get_closed, set_closed, nullptr, nullptr},
    {"_stopping", get_stopping, set_stopping, nullptr, nullptr},
    {"_thread_id", get_thread, set_thread, nullptr, nullptr},
    {"_task_factory", get_task_factory, set_task_factory, nullptr, nullptr},
    {"backend", get_backend, nullptr, "What it sleeps in: 'io_uring' or 'epoll'.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(loop_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(loop_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(loop_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(loop_clear)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"erlang._native.LoopCore", sizeof(LoopObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

bool add_loop_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.loops.core_type);
}

}  // namespace penstock::python
