// SPDX-License-Identifier: Apache-2.0
#include "task_server.hpp"

#include <new>

#include "awaiting.hpp"
#include "encode.hpp"
#include "exceptions.hpp"
#include "gil.hpp"
#include "loop_core.hpp"
#include "parking.hpp"
#include "task_run.hpp"
#include "task_scope.hpp"
#include "types.hpp"

namespace penstock::python {

TaskServer::TaskServer(ModuleState& state, Executor& executor, PyObject* loop,
                       PyObject* closed) noexcept
    : state_(state),
      executor_(executor),
      loop_(PyRef::borrow(loop)),
      closed_(PyRef::borrow(closed)) {}

// Life
// ------------------------------------------------------------------------------------------------

bool TaskServer::start(PyObject* object) {
  LoopCore* const loop = LoopCore::find(state_, loop_.get());
  if (loop == nullptr) {
    PyErr_SetString(PyExc_TypeError, "the loop must be an ErlangEventLoop");
    return false;
  }
  if (loop->reactor() == nullptr) return false;
  mailbox_ = LoopMailbox::create(&executor_.interrupts_, loop->shared_reactor());
  waiter_ = mailbox_ ? Ref<InboxWaiter>::steal(
                           new (std::nothrow) InboxWaiter(Ref<Mailbox>::borrow(mailbox_.get())))
                     : Ref<InboxWaiter>();
  if (!waiter_) {
    PyErr_NoMemory();
    return false;
  }
  if (!loop->add_source(*this)) return false;
  parking().add(*mailbox_);
  object_ = PyRef::borrow(object);
  executor_.server_ = this;
  return true;
}

void TaskServer::end() noexcept {
  if (std::exchange(has_ended_, true) || !object_) return;
  const PyRef object = std::move(object_);  // Which refers to this.
  LoopCore::of(loop_.get()).remove_source(*this);
  executor_.server_ = nullptr;
  leave_line();
  parking().remove(*mailbox_);
  take_fired(mailbox_->close());
  while (runs_ != nullptr) {
    TaskRunObject& run = *runs_;
    run.server = nullptr;
    run.call->set_runner(nullptr);
    run.call->lose();
    forget_call(run);
    runs_ = run.next;
    if (runs_ != nullptr) runs_->previous = nullptr;
    drop(reinterpret_cast<PyObject*>(&run));
  }
}

int TaskServer::traverse(visitproc visit, void* arg) const {
  Py_VISIT(loop_.get());
  Py_VISIT(closed_.get());
  Py_VISIT(object_.get());
  for (TaskRunObject* run = runs_; run != nullptr; run = run->next) Py_VISIT(run);
  return 0;
}

// Receiving
// ------------------------------------------------------------------------------------------------

bool TaskServer::serve() {
  take_fired(mailbox_->take());
  if (parking().must_stop(&executor_.interrupts_)) return finish();
  if (waiter_->is_linked) return true;  // Nothing has come.
  Channel& requests = executor_.requests_;
  for (int count = 0; count < kAtOnce; ++count) {
    Message message;
    switch (requests.try_receive(message)) {
      case Status::ok:
        if (idle_since_ns_ != 0) spin_.learn(now_ns() - std::exchange(idle_since_ns_, 0));
        handle(message);
        break;
      case Status::closed:
        return finish();
      default:
        serve_caller();
        return true;
    }
    // It may have said that it stops; then nothing more begins, and dropped a call answers.
    if (has_ended_) return true;
  }
  serve_caller();
  return true;
}

/// What was asked by one further down a path, and answers that came too late for who asked.
void TaskServer::serve_caller() {
  if (executor_.caller_ != nullptr) executor_.caller_->serve();
}

bool TaskServer::is_something_there() const noexcept {
  return executor_.requests_.size() != 0 || executor_.requests_.is_closed();
}

bool TaskServer::comes_soon(std::int64_t deadline) {
  if (waiter_->is_linked) return false;
  if (is_something_there()) return true;
  idle_since_ns_ = now_ns();
  const GilRelease released;
  return spin_.spin(idle_since_ns_, deadline, [this] { return is_something_there(); });
}

bool TaskServer::has_come() {
  // One that was being fired when it left the line: the loop was awake, and is not woken again.
  take_fired(mailbox_->take());
  if (waiter_->is_linked) return parking().must_stop(&executor_.interrupts_);
  waiter_->retain();  // The line's.
  waiter_->is_linked = true;
  executor_.requests_.data_waiters().add(*waiter_);
  if (!is_something_there() && !parking().must_stop(&executor_.interrupts_)) return false;
  leave_line();
  return true;
}

void TaskServer::leave_line() noexcept {
  if (!waiter_ || !waiter_->is_linked || !executor_.requests_.data_waiters().remove(*waiter_)) {
    return;
  }
  waiter_->is_linked = false;
  waiter_->release();
}

bool TaskServer::finish() {
  const PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(closed_.get(), state_.names.done));
  if (!done || done.get() == Py_True) return static_cast<bool>(done);
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethodOneArg(closed_.get(), state_.names.set_result, Py_None)));
}

// Requests
// ------------------------------------------------------------------------------------------------

void TaskServer::handle(Message& message) {
  wire::Reader reader(message.bytes());
  Executor::Request request;
  path_.assign(1, executor_.process_);
  if (executor_.read_request(reader, request, path_)) {
    switch (request.operation) {
      case Operation::forget:
        executor_.namespaces_.forget(request.process);
        break;
      case Operation::cancel:
        cancel(*request.call);
        break;
      default:
        run(request, reader);
    }
  }
  PyErr_Clear();
}

void TaskServer::run(const Executor::Request& request, wire::Reader& reader) {
  Message answer;
  auto outcome = request.operation == Operation::exec ? Call::Outcome::ok : Call::Outcome::ok_term;
  PyRef value;
  {
    // Before start(), see Executor::run.
    TaskScope scope(*this, *request.call, path_.size() > 1 ? &path_ : nullptr);
    if (!request.call->start()) return;
    scope.begin();
    value = executor_.perform(request, reader);
    if (value && goes_on(state_, value.get())) {
      const bool is_threaded = request.operation == Operation::thread;
      value = new_task_run(state_, *this, request.call, std::move(value), is_threaded);
    } else if (value && outcome == Call::Outcome::ok_term) {
      if (!encode(state_, answer, value.get())) value = PyRef();
    }
    if (!value) {
      if (!describe(*request.call, answer)) return;
      outcome = Call::Outcome::error_term;
    }
  }
  executor_.namespaces_.settle(*request.call);
  if (value && Py_IS_TYPE(value.get(), state_.task_run_type)) {
    start_task(value);
  } else {
    request.call->finish(outcome, answer);
  }
}

bool TaskServer::describe(Call& call, Message& answer) const {
  if (PyErr_ExceptionMatches(state_.application_stopped) != 0 &&
      parking().must_stop(&executor_.interrupts_)) {
    PyErr_Clear();
    call.lose();
    return false;
  }
  describe_exception(answer, call.wants_traceback());
  return true;
}

void TaskServer::start_task(const PyRef& object) {
  TaskRunObject& run = as_task_run(object.get());
  if (path_.size() > 1) run.path = new (std::nothrow) Path(std::move(path_));
  run.call->set_runner(&run);
  run.next = runs_;
  if (runs_ != nullptr) runs_->previous = &run;
  runs_ = &run;
  (void)PyRef::borrow(object.get()).take();  // The list's.
  PyRef task =
      PyRef::steal(PyObject_CallMethodOneArg(loop_.get(), state_.names.create_task, object.get()));
  if (!task) {
    const Ref<Call> call = Ref<Call>::borrow(run.call);
    remove(run);
    Message answer;
    if (describe(*call, answer)) call->finish(Call::Outcome::error_term, answer);
  } else if (!run.is_done) {  // As it may be if the program has tasks begin at once.
    run.task = task.take();
  }
}

void TaskServer::remove(TaskRunObject& run) noexcept {
  if (run.next != nullptr) run.next->previous = run.previous;
  (run.previous != nullptr ? run.previous->next : runs_) = run.next;
  run.server = nullptr;
  run.call->set_runner(nullptr);
  drop(reinterpret_cast<PyObject*>(&run));
}

void TaskServer::cancel(const Call& call) {
  auto* const run = static_cast<TaskRunObject*>(call.runner());
  if (run != nullptr) cancel_task(state_, *run);
}

// The Python object
// ------------------------------------------------------------------------------------------------

namespace {

struct ServerObject {
  PyObject_HEAD TaskServer* server;
};

TaskServer*& server_of(PyObject* object) noexcept {
  return reinterpret_cast<ServerObject*>(object)->server;
}

PyObject* server_new(PyTypeObject* type, PyObject* args, PyObject* /*keywords*/) {
  PyObject* loop = nullptr;
  PyObject* closed = nullptr;
  if (PyArg_ParseTuple(args, "OO:TaskServer", &loop, &closed) == 0) return nullptr;
  Executor* const executor = Executor::of_this_thread();
  if (executor == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "not the thread of a context");
    return nullptr;
  }
  ModuleState& state = **static_cast<ModuleState**>(PyType_GetModuleState(type));
  if (state.cancelled_error == nullptr) {
    const PyRef asyncio = PyRef::steal(PyImport_ImportModule("asyncio"));
    if (!asyncio) return nullptr;
    state.cancelled_error = PyObject_GetAttrString(asyncio.get(), "CancelledError");
    if (state.cancelled_error == nullptr) return nullptr;
  }
  PyRef self = PyRef::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  server_of(self.get()) = new (std::nothrow) TaskServer(state, *executor, loop, closed);
  if (server_of(self.get()) == nullptr) return PyErr_NoMemory();
  if (!server_of(self.get())->start(self.get())) return nullptr;
  return self.take();
}

PyObject* server_end(PyObject* object, PyObject*) {
  server_of(object)->end();
  Py_RETURN_NONE;
}

int server_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  const TaskServer* const server = server_of(object);
  return server == nullptr ? 0 : server->traverse(visit, arg);
}

int server_clear(PyObject* object) {
  if (server_of(object) != nullptr) server_of(object)->end();
  return 0;
}

void server_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  delete std::exchange(server_of(object), nullptr);
  free_instance(object);
}

PyMethodDef methods[] = {
    {"end", server_end, METH_NOARGS, "Answer what still runs: its context ends."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(server_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(server_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(server_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(server_clear)},
    {Py_tp_methods, methods},
    {Py_tp_doc,
     const_cast<char*>("Takes the requests of this thread's context in its event loop.")},
    {0, nullptr},
};

PyType_Spec spec = {"erlang.TaskServer", sizeof(ServerObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

bool add_task_server_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.task_server_type);
}

}  // namespace penstock::python
