// SPDX-License-Identifier: Apache-2.0
#include "exceptions.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "penstock/host.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

namespace {

constexpr Py_ssize_t kMaxMessage = 8192;
constexpr std::size_t kMaxClassName = 255;
constexpr std::size_t kMaxTraceback = 65536;

std::string_view class_name(PyObject* exception) {
  std::string_view const name = Py_TYPE(exception)->tp_name;  // "module.Class" or "Class".
  return name.substr(name.rfind('.') + 1).substr(0, kMaxClassName);
}

/// str(exception), or empty if that fails.
PyRef message_of(PyObject* exception) {
  PyRef text = PyRef::steal(PyObject_Str(exception));
  PyErr_Clear();
  return text;
}

/// As Python would print it, or empty if that fails.
PyRef traceback_of(PyObject* exception) {
  const PyRef module = PyRef::steal(PyImport_ImportModule("traceback"));
  const PyRef lines =
      module ? PyRef::steal(PyObject_CallMethod(module.get(), "format_exception", "O", exception))
             : PyRef();
  const PyRef nothing = lines ? PyRef::steal(PyUnicode_New(0, 0)) : PyRef();
  PyRef text = nothing ? PyRef::steal(PyUnicode_Join(nothing.get(), lines.get())) : PyRef();
  PyRef bytes =
      text ? PyRef::steal(PyUnicode_AsEncodedString(text.get(), "utf-8", "replace")) : PyRef();
  PyErr_Clear();
  return bytes;
}

std::span<const std::uint8_t> utf8_of(PyObject* bytes) noexcept {
  if (bytes == nullptr) return {};
  return {reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(bytes)),
          std::min(kMaxTraceback, static_cast<std::size_t>(PyBytes_GET_SIZE(bytes)))};
}

bool append_atom(wire::Writer& writer, std::string_view name) {
  Host* const erlang = host();
  if (erlang == nullptr) return writer.atom(name);
  std::uint64_t word = 0;
  if (erlang->atom(name, word) == Status::ok) return writer.atom_word(word);
  return writer.bytes(wire::kBinary,
                      {reinterpret_cast<const std::uint8_t*>(name.data()), name.size()});
}

bool append_characters(wire::Writer& writer, PyObject* text) {
  const Py_ssize_t count = text == nullptr ? 0 : std::min(PyUnicode_GET_LENGTH(text), kMaxMessage);
  if (count == 0) return writer.tag(wire::kNil);
  bool ok = writer.list(static_cast<std::uint32_t>(count));
  for (Py_ssize_t i = 0; ok && i < count; ++i) {
    const Py_UCS4 character = PyUnicode_READ_CHAR(text, i);
    const bool is_surrogate = character >= 0xD800 && character <= 0xDFFF;
    ok = writer.integer(is_surrogate ? 0xFFFD : character);
  }
  return ok && writer.end_list();
}

}  // namespace

void raise_not_shared() {
  PyErr_SetString(
      PyExc_ValueError,
      "a channel or buffer that was not made with shared => true cannot go to another process");
}

PyRef take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return PyRef::steal(PyErr_GetRaisedException());
#else
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (value != nullptr && traceback != nullptr) PyException_SetTraceback(value, traceback);
  drop(type);
  drop(traceback);
  return PyRef::steal(value);
#endif
}

std::string exception_text() {
  const PyRef exception = take_exception();
  if (!exception) return "unknown Python error";
  const PyRef message = message_of(exception.get());
  const char* const utf8 = message ? PyUnicode_AsUTF8(message.get()) : nullptr;
  PyErr_Clear();
  return std::string(class_name(exception.get())) + ": " + (utf8 != nullptr ? utf8 : "");
}

void describe_exception(Message& answer, bool with_traceback) {
  answer.clear();
  wire::Writer writer(answer);
  const PyRef exception = take_exception();
  if (!exception) {
    (void)append_atom(writer, "unknown_python_error");
    return;
  }
  if (PyErr_GivenExceptionMatches(exception.get(), PyExc_KeyboardInterrupt) != 0) {
    (void)append_atom(writer, "interrupted");  // Fits inside a message: cannot fail.
    return;
  }
  const PyRef message = message_of(exception.get());
  const PyRef traceback = with_traceback ? traceback_of(exception.get()) : PyRef();
  if (writer.tuple(with_traceback ? 3 : 2) && append_atom(writer, class_name(exception.get())) &&
      append_characters(writer, message.get()) &&
      (!with_traceback || writer.bytes(wire::kBinary, utf8_of(traceback.get())))) {
    return;
  }
  answer.clear();
  wire::Writer short_writer(answer);
  (void)(short_writer.tuple(2) && append_atom(short_writer, "MemoryError") &&
         short_writer.tag(wire::kNil));
}

}  // namespace penstock::python
