// SPDX-License-Identifier: Apache-2.0
#include "executor.hpp"

#include "call_scope.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "exceptions.hpp"
#include "penstock/host.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

/// One request of `owner` is in progress. At the end no interrupt meant for it is left behind: the
/// next request must not get it.
class Running {
 public:
  Running(Interruptible& owner, const Call& call) : owner_(owner) {
    parking().set_running(owner_, &call);
  }
  ~Running() {
    parking().set_running(owner_, nullptr);
    // Interrupts are set with the GIL, which we hold: from here on none comes.
    PyThreadState* const thread = PyThreadState_Get();
    if (thread->async_exc != nullptr) PyThreadState_SetAsyncExc(thread->thread_id, nullptr);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  Interruptible& owner_;
};

/// `name` imported, from sys.modules if it is there.
PyRef import_module(PyObject* name) {
  PyRef top = PyRef::steal(PyImport_ImportModuleLevelObject(name, nullptr, nullptr, nullptr, 0));
  if (!top || PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), 1) < 0) return top;
  // Of 'a.b' that is a; b was imported, too.
  PyRef module = PyRef::steal(PyImport_GetModule(name));
  if (!module && PyErr_Occurred() == nullptr) {
    PyErr_Format(PyExc_ModuleNotFoundError, "No module named %R", name);
  }
  return module;
}

}  // namespace

void Executor::execute(const Message& request) {
  wire::Reader reader(request.bytes());
  wire::Item item;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallTuple) return;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallInteger) return;
  const auto operation = static_cast<Operation>(item.integer);
  if (reader.next(item) != Status::ok) return;
  if (operation == Operation::forget) {
    if (item.tag == wire::kPidWord) namespaces_.forget(item.word);
    PyErr_Clear();
    return;
  }
  if (item.tag != wire::kHandle || item.kind != static_cast<std::uint8_t>(wire::HandleKind::call)) {
    return;
  }
  const auto call = Ref<Call>::borrow(static_cast<Call*>(item.object));
  run(operation, *call, reader);
  namespaces_.settle(*call);
  PyErr_Clear();
}

void Executor::run(Operation operation, Call& call, wire::Reader& reader) {
  Message answer;
  auto outcome = Call::Outcome::ok_term;
  {
    // Before start(): an interrupt that comes with a cancellation finds the call here, or the
    // cancellation comes first and start() refuses.
    const Running running(interrupts_, call);
    if (!call.start()) return;
    const CallScope scope(state_, call.caller());
    const PyRef result = operation == Operation::call   ? call_function(call, reader)
                         : operation == Operation::eval ? evaluate(call, reader)
                                                        : execute_statements(call, reader);
    if (!result || (operation != Operation::exec && !encode(state_, answer, result.get()))) {
      outcome = Call::Outcome::error_term;
      describe_exception(answer);
    } else if (operation == Operation::exec) {
      outcome = Call::Outcome::ok;
    }
  }
  call.finish(outcome, answer);
}

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

PyRef Executor::find_function(Call& call, PyObject* module, PyObject* name) {
  if (PyUnicode_CompareWithASCIIString(module, "__main__") != 0) {
    const PyRef found = import_module(module);
    return found ? PyRef::steal(PyObject_GetAttr(found.get(), name)) : PyRef();
  }
  const PyRef variables = namespaces_.find(call.caller());
  PyObject* const function = variables ? PyDict_GetItemWithError(variables.get(), name) : nullptr;
  if (function == nullptr && PyErr_Occurred() == nullptr) {
    PyErr_Format(PyExc_AttributeError, "module '__main__' has no attribute %R", name);
  }
  return PyRef::borrow(function);
}

PyRef Executor::call_function(Call& call, wire::Reader& reader) {
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
  const PyRef function = args ? find_function(call, module.get(), name.get()) : PyRef();
  if (!function) return {};
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
