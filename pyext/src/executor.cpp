// SPDX-License-Identifier: Apache-2.0
#include "executor.hpp"

#include <algorithm>
#include <utility>

#include "awaiting.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "exceptions.hpp"
#include "lent_bytes.hpp"
#include "markers.hpp"
#include "penstock/host.hpp"
#include "running_scope.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

constinit thread_local Executor* this_executor = nullptr;

bool is_request(Operation operation) noexcept {
  return operation <= Operation::forget || operation == Operation::thread ||
         operation == Operation::cancel;
}

}  // namespace

Executor::Executor(ModuleState& state, Interruptible& interrupts, std::uint64_t process,
                   Channel& requests, Ref<Channel> inbox)
    : state_(state),
      interrupts_(interrupts),
      process_(process),
      requests_(requests),
      inbox_(std::move(inbox)),
      caller_(Caller::of_context(state, inbox_, *this)),
      path_{process},
      namespaces_(state) {
  this_executor = this;
  PyErr_Clear();
}

Executor::~Executor() { this_executor = nullptr; }

Executor* Executor::of_this_thread() noexcept { return this_executor; }

// Requests
// ------------------------------------------------------------------------------------------------

void Executor::execute(const Message& request) {
  serve(request, false);
  // Answers that came too late for who asked, and what was asked of one that has ended since.
  if (caller_ != nullptr) caller_->serve();
}

void Executor::execute_nested(const Message& request) { serve(request, true); }

bool Executor::read_request(wire::Reader& reader, Request& request, Path& path) const {
  wire::Item item;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallTuple) return false;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallInteger) return false;
  request.operation = static_cast<Operation>(item.integer);
  if (!is_request(request.operation) || reader.next(item) != Status::ok) return false;
  request.process = item.word;
  if (request.operation == Operation::forget) return item.tag == wire::kPidWord;
  if (item.tag != wire::kHandle || item.kind != static_cast<std::uint8_t>(wire::HandleKind::call)) {
    return false;
  }
  request.call = Ref<Call>::borrow(static_cast<Call*>(item.object));
  if (request.operation == Operation::cancel) return true;
  if (reader.next(item) != Status::ok) return false;
  if (item.tag == wire::kNil) return true;
  if (item.tag != wire::kList) return false;
  path.clear();
  for (std::uint32_t left = item.count; left > 0; --left) {
    if (reader.next(item) != Status::ok || item.tag != wire::kPidWord) return false;
    path.push_back(item.word);
  }
  if (std::find(path.begin(), path.end(), process_) == path.end()) path.push_back(process_);
  return reader.end_list();
}

void Executor::serve(const Message& message, bool is_nested) {
  wire::Reader reader(message.bytes());
  Request request;
  Path path{process_};
  if (!read_request(reader, request, path)) return;
  if (request.operation == Operation::forget) {
    namespaces_.forget(request.process);
    return PyErr_Clear();
  }
  // What is to be cancelled has ended, or is interrupted.
  if (request.operation == Operation::cancel) return;
  std::swap(path_, path);
  run(request, reader, is_nested);
  namespaces_.settle(*request.call);
  std::swap(path_, path);
  PyErr_Clear();
}

void Executor::run(const Request& request, wire::Reader& reader, bool is_nested) {
  // Before start(): an interrupt that comes with a cancellation finds the call here, or the
  // cancellation comes first and start() refuses.
  RunningScope running(state_, interrupts_, *request.call);
  if (request.operation == Operation::resume ? !request.call->is_running()
                                             : !request.call->start()) {
    return;
  }
  running.begin_scope();
  begin_time_slice();
  PyRef result = perform(request, reader);
  // Nobody else gets a turn while something waits for this: it goes on here.
  while (is_nested && result && is_inline_marker(state_, result.get())) {
    result = request.call->is_running() ? call_marked(*request.call, result.get()) : PyRef();
  }
  if (server_ != nullptr && result && is_awaitable(result.get())) {
    result = run_apart(result);
  }
  settle(running, request.call, request.operation, std::move(result));
}

PyRef Executor::perform(const Request& request, wire::Reader& reader) {
  switch (request.operation) {
    case Operation::eval:
      return evaluate(*request.call, reader);
    case Operation::exec:
      return execute_statements(*request.call, reader);
    default:
      return call_function(request, reader);
  }
}

/// Answers with the result, or with the exception that is set; or sees to it that the call goes on.
void Executor::settle(RunningScope& running, const Ref<Call>& call, Operation operation,
                      PyRef result) {
  const DropsWithGil here(state_.home);  // Bytes that another process gets a copy of.
  Message answer;
  auto outcome = operation == Operation::exec ? Call::Outcome::ok : Call::Outcome::ok_term;
  bool is_done = result && operation == Operation::exec;
  if (result && (is_marker(state_, result.get()) || is_inline_marker(state_, result.get()))) {
    if (!is_done && running.end()) {
      PyErr_SetNone(parking().is_stopping(interrupts_) ? state_.application_stopped
                                                       : PyExc_KeyboardInterrupt);
    } else if (!is_done && go_elsewhere(call, result.get())) {
      return;
    }
  } else if (result && !is_done) {
    is_done = encode(state_, answer, result.get());
  }
  if (!is_done) {
    outcome = Call::Outcome::error_term;
    describe_exception(answer, call->wants_traceback());
  }
  (void)running.end();
  call->finish(outcome, answer);
}

// Markers
// ------------------------------------------------------------------------------------------------

/// False: an exception is set.
bool Executor::go_elsewhere(const Ref<Call>& call, PyObject* marker) {
  const MarkerObject& to = as_marker(marker);
  if (is_inline_marker(state_, marker)) {
    if (chains_.empty()) parking().set_suspended(interrupts_, true);
    chains_.push_back({call, path_, PyRef::borrow(marker)});
    return true;
  }
  if (to.module != nullptr) return resume_later(call, marker);
  Caller* const caller = Caller::of_this_thread(state_);
  if (caller == nullptr) return false;
  const ErlangFunction function{
      to.function,
      {PySequence_Fast_ITEMS(to.args), static_cast<std::size_t>(PyTuple_GET_SIZE(to.args))}};
  return caller->schedule(*call, function);
}

/// As a request behind all others.
bool Executor::resume_later(const Ref<Call>& call, PyObject* marker) {
  const MarkerObject& to = as_marker(marker);
  Message request;
  wire::Writer writer(request);
  bool ok = writer.tuple(7) && writer.integer(static_cast<std::int64_t>(Operation::resume)) &&
            writer.handle(wire::HandleKind::call, Ref<Object>::borrow(call.get())) &&
            writer.list(static_cast<std::uint32_t>(path_.size()));
  for (const std::uint64_t pid : path_) ok = ok && writer.pid_word(pid);
  if (!ok || !writer.end_list()) {
    PyErr_NoMemory();
    return false;
  }
  const PyRef args = PyRef::steal(PySequence_List(to.args));
  const PyRef kwargs = to.kwargs != nullptr ? PyRef::borrow(to.kwargs) : PyRef::steal(PyDict_New());
  if (!args || !kwargs || !encode(state_, request, to.module) ||
      !encode(state_, request, to.function) || !encode(state_, request, args.get()) ||
      !encode(state_, request, kwargs.get())) {
    return false;
  }
  // One inside of another, that waits, comes back to where it is.
  const bool is_nested = interrupts_.running != nullptr;
  switch ((is_nested ? *inbox_ : requests_).try_send(request)) {
    case Status::ok:
      return true;
    case Status::closed:
      PyErr_SetNone(state_.application_stopped);
      return false;
    default:
      PyErr_NoMemory();
      return false;
  }
}

void Executor::go_on() {
  Chain chain = std::move(chains_.front());
  chains_.pop_front();
  std::swap(path_, chain.path);
  {
    RunningScope running(state_, interrupts_, *chain.call);
    if (chain.call->is_running()) {
      running.begin_scope();
      begin_time_slice();
      PyRef result;
      if (parking().take_suspended_request(interrupts_)) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
      } else {
        result = call_marked(*chain.call, chain.marker.get());
      }
      settle(running, chain.call, Operation::call, std::move(result));
      namespaces_.settle(*chain.call);
    }
  }
  std::swap(path_, chain.path);
  PyErr_Clear();
  if (chains_.empty()) parking().set_suspended(interrupts_, false);
}

PyRef Executor::call_marked(Call& call, PyObject* marker) {
  const MarkerObject& to = as_marker(marker);
  const PyRef function = find_marked(call, marker);
  if (!function) return {};
  return PyRef::steal(PyObject_Call(function.get(), to.args, to.kwargs));
}

/// Where the marker was made first: names of a namespace are found whoever runs it.
PyRef Executor::find_marked(Call& call, PyObject* marker) {
  const MarkerObject& to = as_marker(marker);
  if (to.globals != nullptr) {
    PyObject* const own = PyDict_GetItemWithError(to.globals, state_.names.dunder_name);
    const bool is_own =
        own != nullptr && PyUnicode_Check(own) && PyUnicode_Compare(own, to.module) == 0;
    PyObject* const found = is_own ? PyDict_GetItemWithError(to.globals, to.function) : nullptr;
    if (found != nullptr) return PyRef::borrow(found);
    if (PyErr_Occurred() != nullptr) return {};
  }
  PyRef found = find_function(call, to.module, to.function);
  if (!found && PyErr_ExceptionMatches(PyExc_AttributeError) != 0) {
    PyErr_Format(PyExc_NameError, "name %R is not defined in %R", to.function, to.module);
  }
  return found;
}

// Functions
// ------------------------------------------------------------------------------------------------

PyRef Executor::read(wire::Reader& reader) { return PyRef::steal(decode(state_, reader)); }

/// An atom or a binary. The atoms that read as None, True and False have names as well.
PyRef Executor::read_name(wire::Reader& reader) {
  wire::Reader again = reader;
  PyRef name = read(reader);
  if (!name || PyUnicode_CheckExact(name.get())) return name;
  wire::Item item;
  if (again.next(item) == Status::ok && (item.tag == wire::kSmallAtom || item.tag == wire::kAtom)) {
    return PyRef::steal(str_of(item.bytes));
  }
  if (item.tag == wire::kAtomWord && host() != nullptr) {
    char text[1024];
    bool ok = true;
    std::size_t const size = host()->atom_name(item.word, text, &ok);
    return PyRef::steal(str_of({reinterpret_cast<const std::uint8_t*>(text), size}));
  }
  if (item.tag == wire::kTrue) return PyRef::steal(PyUnicode_FromString("true"));
  if (item.tag == wire::kFalse) return PyRef::steal(PyUnicode_FromString("false"));
  if (item.tag == wire::kNone) return PyRef::steal(PyUnicode_FromString("none"));
  PyErr_Format(PyExc_TypeError, "a name must be text, not '%.200s'", Py_TYPE(name.get())->tp_name);
  return {};
}

/// What the calling process defined goes before what is in the module __main__.
PyRef Executor::find_function(Call& call, PyObject* module, PyObject* name) {
  if (PyUnicode_CompareWithASCIIString(module, "__main__") == 0) {
    const bool anywhere = server_ != nullptr;
    PyRef found = anywhere ? namespaces_.find_name_anywhere(call.caller(), name)
                           : namespaces_.find_name(call.caller(), name);
    if (found || PyErr_Occurred() != nullptr) return found;
  }
  const PyRef found = modules_.import(module);
  return found ? PyRef::steal(PyObject_GetAttr(found.get(), name)) : PyRef();
}

PyRef Executor::call_function(const Request& request, wire::Reader& reader) {
  const PyRef module = read_name(reader);
  if (!module) return {};
  const PyRef name = read_name(reader);
  if (!name) return {};
  const PyRef list = read(reader);
  if (!list) return {};
  const PyRef keywords = read(reader);
  if (!keywords) return {};
  if (!PyList_CheckExact(list.get()) || !PyDict_CheckExact(keywords.get())) {
    PyErr_SetString(PyExc_TypeError, "arguments must be a list, keyword arguments a map");
    return {};
  }
  const PyRef args = PyRef::steal(PyList_AsTuple(list.get()));
  const PyRef function = args ? find_function(*request.call, module.get(), name.get()) : PyRef();
  if (!function) return {};
  if (request.operation == Operation::thread && server_ != nullptr) {
    return call_in_thread(function.get(), args.get(), keywords.get());
  }
  PyObject* const named = PyDict_GET_SIZE(keywords.get()) > 0 ? keywords.get() : nullptr;
  return PyRef::steal(PyObject_Call(function.get(), args.get(), named));
}

PyRef Executor::evaluate(Call& call, wire::Reader& reader) {
  const PyRef source = read(reader);
  if (!source) return {};
  const PyRef locals = read(reader);
  if (!locals) return {};
  if (!PyDict_CheckExact(locals.get())) {
    PyErr_SetString(PyExc_TypeError, "local variables must be a map");
    return {};
  }
  const PyRef code = code_.expression(source.get());
  if (!code) return {};
  const PyRef globals = PyRef::borrow(namespaces_.of(call));
  if (!globals) return {};
  const bool has_locals = PyDict_GET_SIZE(locals.get()) > 0;
  return PyRef::steal(
      PyEval_EvalCode(code.get(), globals.get(), has_locals ? locals.get() : globals.get()));
}

PyRef Executor::execute_statements(Call& call, wire::Reader& reader) {
  const PyRef source = read(reader);
  if (!source) return {};
  const PyRef code = code_.statements(source.get());
  if (!code) return {};
  const PyRef globals = PyRef::borrow(namespaces_.of(call));
  if (!globals) return {};
  return PyRef::steal(PyEval_EvalCode(code.get(), globals.get(), globals.get()));
}

}  // namespace penstock::python
