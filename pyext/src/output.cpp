// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <mutex>
#include <utility>

#include "call_scope.hpp"
#include "capsule.hpp"
#include "opaque.hpp"
#include "penstock/python/runtime.hpp"

namespace penstock::python {

namespace {

/// Where output goes now, in this process.
///
/// Threads: any. The mutex is held for a few instructions.
class Outlet {
 public:
  void set_settings(OutputSettings settings) noexcept {
    const std::lock_guard lock(mutex_);
    settings_ = settings;
  }
  [[nodiscard]] OutputSettings settings() noexcept {
    const std::lock_guard lock(mutex_);
    return settings_;
  }
  [[nodiscard]] Ref<Channel> replace(Ref<Channel> channel) noexcept {
    const std::lock_guard lock(mutex_);
    return Ref<Channel>::steal(std::exchange(channel_, channel.take()));
  }
  [[nodiscard]] Ref<Channel> channel() noexcept {
    const std::lock_guard lock(mutex_);
    return Ref<Channel>::borrow(channel_);
  }

 private:
  std::mutex mutex_;
  OutputSettings settings_;
  Channel* channel_ = nullptr;  // Owned. Not a Ref: threads may outlast static destructors.
};

constinit Outlet outlet;

Ref<Channel> replace_channel(Ref<Channel> successor) noexcept {
  // In this order: whoever finds the old one closed finds its successor, or none.
  Ref<Channel> old = outlet.replace(std::move(successor));
  if (old) old->close();
  return old;
}

PyObject* caller(PyObject* module, PyObject*) {
  const CallScope* const scope = CallScope::current();
  if (scope == nullptr) Py_RETURN_NONE;
  return pid_of_word(state_of(module), scope->caller());
}

PyObject* note_output(PyObject*, PyObject*) {
  if (CallScope* const scope = CallScope::current()) scope->note_output();
  Py_RETURN_NONE;
}

PyObject* current_channel(PyObject*, PyObject*) {
  Ref<Channel> channel = outlet.channel();
  if (!channel) Py_RETURN_NONE;
  return new_channel_capsule(std::move(channel));
}

PyObject* reply_channel(PyObject*, PyObject*) {
  Ref<Channel> channel = Channel::create(0);
  if (!channel) return PyErr_NoMemory();
  channel->add_sender();  // Erlang becomes one only when it gets the reference.
  return new_channel_capsule(std::move(channel));
}

PyObject* at_call_end(PyObject* module, PyObject* callable) {
  drop(std::exchange(state_of(module).at_call_end, PyRef::borrow(callable).take()));
  Py_RETURN_NONE;
}

}  // namespace

Ref<Channel> open_output(Ref<Channel> channel, OutputSettings settings) {
  outlet.set_settings(settings);
  return replace_channel(std::move(channel));
}

Ref<Channel> close_output() { return replace_channel({}); }

Ref<Channel> output_channel() { return outlet.channel(); }

OutputSettings output_settings() { return outlet.settings(); }

bool install_output() {
  const OutputSettings settings = outlet.settings();
  if (!settings.logs && !settings.text) return true;
  const PyRef module = PyRef::steal(PyImport_ImportModule("erlang._output"));
  if (!module) return false;
  PyObject* const logs = settings.logs ? Py_True : Py_False;
  PyObject* const text = settings.text ? Py_True : Py_False;
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethod(module.get(), "install", "OO", logs, text)));
}

// clang-format off
PyMethodDef output_functions[] = {
    {"_caller", caller, METH_NOARGS,
     "_caller()\n--\n\n"
     "Return the pid of the Erlang process whose call runs on this thread, or None."},
    {"_note_output", note_output, METH_NOARGS,
     "_note_output()\n--\n\nThe call that runs on this thread, if any, has written something."},
    {"_output_channel", current_channel, METH_NOARGS,
     "_output_channel()\n--\n\n"
     "Return the reference of the channel that output goes to, or None: nobody takes it."},
    {"_reply_channel", reply_channel, METH_NOARGS,
     "_reply_channel()\n--\n\nReturn the reference of a new channel without limit."},
    {"_at_call_end", at_call_end, METH_O,
     "_at_call_end(callable, /)\n--\n\n"
     "Have callable called at the end of each call that has written something."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
