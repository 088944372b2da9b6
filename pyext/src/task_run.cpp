// SPDX-License-Identifier: Apache-2.0
#include "task_run.hpp"

#include "awaiting.hpp"
#include "encode.hpp"
#include "exceptions.hpp"
#include "markers.hpp"
#include "task_scope.hpp"
#include "task_server.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

ModuleState& state_of_type(PyObject* object) noexcept {
  return **static_cast<ModuleState**>(PyType_GetModuleState(Py_TYPE(object)));
}

bool is_any_marker(const ModuleState& state, PyObject* value) noexcept {
  return is_marker(state, value) || is_inline_marker(state, value);
}

}  // namespace

/// One step of a run: what the loop's task asks of its coroutine.
class TaskStep {
 public:
  TaskStep(ModuleState& state, TaskRunObject& run) noexcept
      : state_(state), run_(run), server_(run.server), call_(Ref<Call>::borrow(run.call)) {}

  /// Sends `value`, or throws `thrown`, the arguments of throw().
  [[nodiscard]] PySendResult make(PyObject* value, PyObject* thrown, PyObject** result);

 private:
  enum class Outcome : std::uint8_t { yielded, result, failed };
  /// `*value`: what is yielded, or the result.
  [[nodiscard]] Outcome drive(PyObject* value, PyObject* thrown, PyRef* out);
  [[nodiscard]] Outcome drive_iterator(PyObject* value, PyObject* thrown, PyRef* out);
  [[nodiscard]] Outcome take_up(PyRef value, PyRef* out);
  [[nodiscard]] PyRef follow(PyObject* marker);
  [[nodiscard]] PyRef in_thread(PyObject* marker);
  void write_answer(Outcome outcome, PyObject* result);
  void cancel_if_given_up();
  void end();

  ModuleState& state_;
  TaskRunObject& run_;
  TaskServer* const server_;
  const Ref<Call> call_;
  Message answer_;
  Call::Outcome how_ = Call::Outcome::ok_term;
  PyRef cancelled_;  // The CancelledError that the task is to see, too.
};

// Going on
// ------------------------------------------------------------------------------------------------

PyRef TaskStep::in_thread(PyObject* marker) {
  const PyRef function = server_->executor_.find_marked(*call_, marker);
  if (!function) return {};
  return call_in_thread(function.get(), as_marker(marker).args, as_marker(marker).kwargs);
}

PyRef TaskStep::follow(PyObject* marker) {
  const MarkerObject& to = as_marker(marker);
  if (to.module == nullptr) {
    Caller* const caller = Caller::of_this_thread(state_);
    const ErlangFunction function{
        to.function,
        {PySequence_Fast_ITEMS(to.args), static_cast<std::size_t>(PyTuple_GET_SIZE(to.args))}};
    return PyRef::steal(caller != nullptr ? caller->start(function) : nullptr);
  }
  if (run_.is_threaded) return in_thread(marker);
  return server_->executor_.call_marked(*call_, marker);
}

TaskStep::Outcome TaskStep::take_up(PyRef value, PyRef* out) {
  if (!value) return Outcome::failed;
  if (is_any_marker(state_, value.get())) {
    run_.marker = value.take();
    *out = PyRef::borrow(Py_None);  // Others have their turn.
    return Outcome::yielded;
  }
  if (is_awaitable(value.get())) {
    run_.iterator = awaiting_iterator(value.get()).take();
    return run_.iterator == nullptr ? Outcome::failed : drive_iterator(Py_None, nullptr, out);
  }
  *out = std::move(value);
  return Outcome::result;
}

TaskStep::Outcome TaskStep::drive_iterator(PyObject* value, PyObject* thrown, PyRef* out) {
  PyObject* object = nullptr;
  // It may be dropped meanwhile, by close().
  const PyRef iterator = PyRef::borrow(run_.iterator);
  Resumed resumed{};
  if (thrown != nullptr) {
    resumed = throw_into(state_, iterator.get(), thrown, &object);
  } else {
    const PySendResult sent = PyIter_Send(iterator.get(), value, &object);
    resumed = sent == PYGEN_NEXT     ? Resumed::yielded
              : sent == PYGEN_RETURN ? Resumed::returned
                                     : Resumed::raised;
  }
  PyRef got = PyRef::steal(object);
  if (resumed == Resumed::yielded) {
    *out = std::move(got);
    return Outcome::yielded;
  }
  drop(std::exchange(run_.iterator, nullptr));
  if (resumed == Resumed::raised) return Outcome::failed;
  if (is_any_marker(state_, got.get())) return take_up(std::move(got), out);
  *out = std::move(got);
  return Outcome::result;
}

TaskStep::Outcome TaskStep::drive(PyObject* value, PyObject* thrown, PyRef* out) {
  if (run_.marker == nullptr) return drive_iterator(value, thrown, out);
  const PyRef marker = PyRef::steal(std::exchange(run_.marker, nullptr));
  if (thrown == nullptr) return take_up(follow(marker.get()), out);
  PyObject* const first = PyTuple_GET_ITEM(thrown, 0);
  PyErr_SetObject(
      PyExceptionInstance_Check(first) ? reinterpret_cast<PyObject*>(Py_TYPE(first)) : first,
      first);
  return Outcome::failed;
}

// Answering
// ------------------------------------------------------------------------------------------------

void TaskStep::write_answer(Outcome outcome, PyObject* result) {
  if (outcome == Outcome::result && encode(state_, answer_, result)) return;
  how_ = Call::Outcome::error_term;
  if (PyErr_ExceptionMatches(state_.cancelled_error) != 0) {
    cancelled_ = take_exception();
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(cancelled_.get())), cancelled_.get());
  }
  (void)server_->describe(*call_, answer_);  // Else finish() will do nothing.
}

void TaskStep::cancel_if_given_up() {
  if (call_ && call_->is_cancelled()) cancel_task(state_, run_);
}

void TaskStep::end() {
  run_.is_done = true;
  drop(std::exchange(run_.task, nullptr));
  if (run_.server != nullptr) run_.server->remove(run_);
  forget_call(run_);
}

PySendResult TaskStep::make(PyObject* value, PyObject* thrown, PyObject** result) {
  PyRef out;
  Outcome outcome{};
  run_.is_running = true;
  if (server_ == nullptr) {
    // The call was answered when the loop began to end.
    outcome = run_.iterator != nullptr ? drive_iterator(value, thrown, &out) : Outcome::result;
    if (outcome == Outcome::failed) cancelled_ = take_exception();
  } else {
    TaskScope scope(*server_, *call_, run_.path);
    scope.begin();
    outcome = drive(value, thrown, &out);
    if (outcome != Outcome::yielded) write_answer(outcome, out.get());
    scope.end();
  }
  run_.is_running = false;
  if (outcome == Outcome::yielded) {
    cancel_if_given_up();
    *result = out.take();
    return PYGEN_NEXT;
  }
  end();
  if (server_ != nullptr) call_->finish(how_, answer_);
  if (cancelled_) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(cancelled_.get())), cancelled_.get());
    *result = nullptr;
    return PYGEN_ERROR;
  }
  *result = PyRef::borrow(Py_None).take();
  return PYGEN_RETURN;
}

// The coroutine
// ------------------------------------------------------------------------------------------------

namespace {

/// False: RuntimeError is set.
bool may_run(const TaskRunObject& self) {
  if (!self.is_running && !self.is_done && (self.iterator != nullptr || self.marker != nullptr)) {
    return true;
  }
  PyErr_SetString(PyExc_RuntimeError, self.is_running ? "coroutine already executing"
                                                      : "cannot reuse already awaited coroutine");
  return false;
}

PySendResult run_send(PyObject* object, PyObject* value, PyObject** result) {
  *result = nullptr;
  if (!may_run(as_task_run(object))) return PYGEN_ERROR;
  const PyRef alive = PyRef::borrow(object);
  return TaskStep(state_of_type(object), as_task_run(object)).make(value, nullptr, result);
}

/// What a coroutine's method returns.
PyObject* method_result(PySendResult sent, PyObject* result) {
  if (sent != PYGEN_RETURN) return result;
  drop(result);
  PyErr_SetNone(PyExc_StopIteration);
  return nullptr;
}

PyObject* run_next(PyObject* object) {
  PyObject* result = nullptr;
  const PySendResult sent = run_send(object, Py_None, &result);
  return method_result(sent, result);
}

PyObject* run_send_method(PyObject* object, PyObject* value) {
  PyObject* result = nullptr;
  const PySendResult sent = run_send(object, value, &result);
  return method_result(sent, result);
}

PyObject* run_throw(PyObject* object, PyObject* arguments) {
  if (PyTuple_GET_SIZE(arguments) == 0) {
    PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
    return nullptr;
  }
  if (!may_run(as_task_run(object))) return nullptr;
  const PyRef alive = PyRef::borrow(object);
  PyObject* result = nullptr;
  const PySendResult sent =
      TaskStep(state_of_type(object), as_task_run(object)).make(nullptr, arguments, &result);
  return method_result(sent, result);
}

int run_clear(PyObject* object) {
  TaskRunObject& self = as_task_run(object);
  drop(std::exchange(self.iterator, nullptr));
  drop(std::exchange(self.marker, nullptr));
  drop(std::exchange(self.task, nullptr));
  return 0;
}

/// False: an exception is set.
bool throw_exit(PyObject* object) {
  const PyRef alive = PyRef::borrow(object);
  const PyRef thrown = PyRef::steal(PyTuple_Pack(1, PyExc_GeneratorExit));
  if (!thrown) return false;
  PyObject* result = nullptr;
  const PySendResult sent =
      TaskStep(state_of_type(object), as_task_run(object)).make(nullptr, thrown.get(), &result);
  drop(result);
  if (sent == PYGEN_NEXT) PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
  return sent == PYGEN_RETURN;
}

PyObject* run_close(PyObject* object, PyObject*) {
  TaskRunObject& self = as_task_run(object);
  if (self.is_running && !may_run(self)) return nullptr;
  // Whoever waits for it is told.
  if (self.server != nullptr && !self.is_done && !throw_exit(object)) return nullptr;
  self.is_done = true;
  (void)run_clear(object);  // A coroutine without references closes itself.
  Py_RETURN_NONE;
}

PyObject* run_self(PyObject* object) { return PyRef::borrow(object).take(); }

PyObject* run_name(PyObject* object, void* name) {
  PyObject* const iterator = as_task_run(object).iterator;
  PyObject* const found = iterator == nullptr
                              ? nullptr
                              : PyObject_GetAttrString(iterator, static_cast<const char*>(name));
  if (found != nullptr) return found;
  PyErr_Clear();
  return PyUnicode_FromString("task");
}

int run_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_task_run(object).iterator);
  Py_VISIT(as_task_run(object).marker);
  Py_VISIT(as_task_run(object).task);
  return 0;
}

void run_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)run_clear(object);
  TaskRunObject& self = as_task_run(object);
  forget_call(self);
  delete self.path;
  free_instance(object);
}

PyMethodDef methods[] = {
    {"send", run_send_method, METH_O, nullptr},
    {"throw", run_throw, METH_VARARGS, nullptr},
    {"close", run_close, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"__name__", run_name, nullptr, nullptr, const_cast<char*>("__name__")},
    {"__qualname__", run_name, nullptr, nullptr, const_cast<char*>("__qualname__")},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(run_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(run_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(run_clear)},
    {Py_tp_iter, reinterpret_cast<void*>(run_self)},
    {Py_tp_iternext, reinterpret_cast<void*>(run_next)},
    {Py_am_await, reinterpret_cast<void*>(run_self)},
    {Py_am_send, reinterpret_cast<void*>(run_send)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"erlang.TaskRun", sizeof(TaskRunObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

bool goes_on(const ModuleState& state, PyObject* value) noexcept {
  return is_awaitable(value) || is_any_marker(state, value);
}

PyRef new_task_run(ModuleState& state, TaskServer& server, const Ref<Call>& call, PyRef value,
                   bool is_threaded) {
  const bool has_marker = is_any_marker(state, value.get());
  PyRef iterator = has_marker ? PyRef() : awaiting_iterator(value.get());
  if (!has_marker && !iterator) return {};
  TaskRunObject* const self = PyObject_GC_New(TaskRunObject, state.task_run_type);
  if (self == nullptr) return {};
  self->server = &server;
  self->call = Ref<Call>(call).take();
  self->path = nullptr;
  self->iterator = iterator.take();
  self->marker = has_marker ? value.take() : nullptr;
  self->task = nullptr;
  self->next = nullptr;
  self->previous = nullptr;
  self->is_threaded = is_threaded;
  self->is_done = false;
  self->is_running = false;
  self->is_cancelled = false;
  auto* const object = reinterpret_cast<PyObject*>(self);
  PyObject_GC_Track(object);
  return PyRef::steal(object);
}

void forget_call(TaskRunObject& run) noexcept {
  if (Call* const call = std::exchange(run.call, nullptr)) call->release();
}

void cancel_task(const ModuleState& state, TaskRunObject& run) {
  if (run.task == nullptr || std::exchange(run.is_cancelled, true)) return;
  const PyRef task = PyRef::borrow(run.task);
  (void)PyRef::steal(PyObject_CallMethodNoArgs(task.get(), state.names.cancel));
  PyErr_Clear();
}

bool add_task_run_type(PyObject* module, ModuleState& state) {
  return make_type(module, spec, state.task_run_type);
}

}  // namespace penstock::python
