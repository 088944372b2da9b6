// SPDX-License-Identifier: Apache-2.0
#include "encoder.hpp"

/// How a conversion that cannot be done is reported: what, and where in the object.
namespace penstock::python {

namespace {

constexpr std::size_t kStepsShown = 8;  // Of a deep path, at either end.
constexpr std::size_t kKeyBytesShown = 64;

/// repr of keys whose repr is not user code, the type of others.
std::string key_text(PyObject* key) {
  if (PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key)) {
    const PyRef repr = PyRef::steal(PyObject_Repr(key));
    const char* const utf8 = repr ? PyUnicode_AsUTF8(repr.get()) : nullptr;
    if (utf8 != nullptr) {
      std::string text = utf8;
      if (text.size() <= kKeyBytesShown) return text;
      std::size_t cut = kKeyBytesShown;
      while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
      return text.substr(0, cut) + "...";
    }
    PyErr_Clear();
  }
  return std::string(1, '<').append(Py_TYPE(key)->tp_name).append(1, '>');
}

}  // namespace

void Encoder::append_step(const Frame& frame, std::string& text) const {
  if (frame.kind == Kind::converted) return;
  const Py_ssize_t index = frame.index - 1;
  if (frame.kind != Kind::dict) {
    text.append(1, '[').append(std::to_string(index)).append(1, ']');
    return;
  }
  const char* const ends = index % 2 == 0 ? "{}" : "[]";  // {'a'}: the key itself.
  text.append(1, ends[0])
      .append(key_text(PyTuple_GET_ITEM(frame.container, index & ~Py_ssize_t{1})))
      .append(1, ends[1]);
}

std::string Encoder::path() const {
  std::string text;
  std::size_t const depth = stack_.size();
  for (std::size_t i = 0; i < depth; ++i) {
    if (depth > 2 * kStepsShown && i == kStepsShown) {
      text += "...";
      i = depth - kStepsShown;
    }
    append_step(stack_[i], text);
  }
  return text;
}

bool Encoder::refuse(PyObject* type, const std::string& what) {
  const std::string where = path();
  PyErr_SetString(type, where.empty() ? what.c_str() : (what + " (at " + where + ")").c_str());
  return false;
}

bool Encoder::refuse_type(PyObject* object) {
  return refuse(PyExc_TypeError, std::string("cannot convert '") + Py_TYPE(object)->tp_name +
                                     "' object to an Erlang term");
}

bool Encoder::wrote(bool ok) {
  if (!ok && PyErr_Occurred() == nullptr) PyErr_NoMemory();
  return ok;
}

bool Encoder::fits(Py_ssize_t size) {
  if (static_cast<std::size_t>(size) <= Message::kMaxBytes - message_.size()) return true;
  return refuse(PyExc_ValueError, "a message has at most 2 GiB");
}

}  // namespace penstock::python
