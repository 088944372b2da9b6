// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "module_state.hpp"
#include "penstock/byte_stream.hpp"
#include "penstock/channel.hpp"
#include "penstock/message.hpp"
#include "penstock/wire.hpp"
#include "small_stack.hpp"

namespace penstock::python {

/// One conversion to wire form. Containers that are being converted are on an explicit stack, each
/// held by a strong reference, because user code (tolist) may run between two elements; a list is
/// measured again before each of its elements, and a dict is read into a tuple before its first.
class Encoder {
 public:
  Encoder(ModuleState& state, Message& message) noexcept
      : state_(state), message_(message), writer_(message) {}
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder() {
    for (const Frame& frame : stack_) drop(frame.container);
  }

  /// False: an exception is set.
  bool run(PyObject* object) { return value(object, false) && finish(); }
  bool run_reply(PyObject* object);

 private:
  enum class Kind : std::uint8_t {
    tuple,
    list,
    dict,       // `container` is a tuple key, value, key, value ...
    converted,  // `container` is what tolist() returned, its only element.
  };
  struct Frame {
    PyObject* container;
    Py_ssize_t index;  // Elements begun.
    Py_ssize_t count;
    std::uint32_t first_key;  // Of a dict whose keys are compared: its first entry in keys_.
    Kind kind;
    bool in_key;  // Part of a dict's key.
    bool compares_keys;
  };
  /// Where the wire form of a key lies in the message.
  struct KeySpan {
    std::size_t begin;
    std::size_t end;
    std::uint32_t pair;
  };

  bool finish();
  bool next_of(Frame& frame);
  bool close_container();

  bool value(PyObject* object, bool in_key);
  bool subclass_value(PyObject* object, bool in_key);
  bool foreign_value(PyObject* object, bool in_key);

  bool text(PyObject* str);
  bool floating(double number);
  bool raw_bytes(const void* data, Py_ssize_t size, bool in_key);
  bool view(PyObject* memoryview, bool in_key);
  bool channel(Channel& channel);
  bool stream(ByteStream& stream);
  bool open_tuple(PyObject* tuple, bool in_key);
  bool open_list(PyObject* list, bool in_key);
  bool open_dict(PyObject* dict, bool in_key);
  bool open_converted(PyObject* object, bool in_key);
  bool open(Kind kind, PyRef container, Py_ssize_t count, bool in_key);

  bool keys_differ(const Frame& frame);

  /// Turns a refusal of the writer into an exception.
  bool wrote(bool ok);
  bool fits(Py_ssize_t size);
  /// Raises `type` with `what` and the path of the element being converted.
  bool refuse(PyObject* type, const std::string& what);
  bool refuse_type(PyObject* object);
  [[nodiscard]] std::string path() const;
  void append_step(const Frame& frame, std::string& text) const;

  ModuleState& state_;
  Message& message_;
  wire::Writer writer_;
  SmallStack<Frame, 16> stack_;
  SmallStack<KeySpan, 8> keys_;
};

}  // namespace penstock::python
