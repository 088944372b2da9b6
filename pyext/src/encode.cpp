// SPDX-License-Identifier: Apache-2.0
#include "encode.hpp"

#include <cmath>
#include <cstring>

#include "atom.hpp"
#include "buffer_object.hpp"
#include "buffer_view.hpp"
#include "capsule.hpp"
#include "encoder.hpp"
#include "integers.hpp"
#include "lent_bytes.hpp"
#include "opaque.hpp"
#include "penstock/bytes.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

std::span<const std::uint8_t> as_span(const void* data, Py_ssize_t size) {
  return {static_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)};
}

}  // namespace

// Elements
// -----------------------------------------------------------------------------------------

bool Encoder::finish() {
  while (!stack_.empty()) {
    Frame& frame = stack_.top();
    if (frame.index < frame.count ? !next_of(frame) : !close_container()) return false;
  }
  return true;
}

bool Encoder::next_of(Frame& frame) {
  const Py_ssize_t index = frame.index++;
  switch (frame.kind) {
    case Kind::tuple:
      return value(PyTuple_GET_ITEM(frame.container, index), frame.in_key);
    case Kind::converted:
      return value(frame.container, frame.in_key);
    case Kind::list:
      if (PyList_GET_SIZE(frame.container) != frame.count) {
        return refuse(PyExc_RuntimeError, "list changed size while it was converted");
      }
      return value(PyList_GET_ITEM(frame.container, index), frame.in_key);
    case Kind::dict:
      break;
  }
  const bool is_key = index % 2 == 0;
  if (frame.compares_keys) {
    if (!is_key) {
      keys_.top().end = message_.size();
    } else if (!keys_.push({message_.size(), 0, static_cast<std::uint32_t>(index / 2)})) {
      return wrote(false);
    }
  }
  return value(PyTuple_GET_ITEM(frame.container, index), frame.in_key || is_key);
}

bool Encoder::close_container() {
  const Frame& frame = stack_.top();
  if (frame.kind == Kind::list && !wrote(writer_.end_list())) return false;
  if (frame.kind == Kind::dict && frame.compares_keys && !keys_differ(frame)) return false;
  PyObject* const container = frame.container;
  stack_.pop();
  drop(container);
  return true;
}

bool Encoder::open(Kind kind, PyRef container, Py_ssize_t count, bool in_key) {
  if (stack_.size() == wire::kMaxDepth) {
    return refuse(PyExc_ValueError, "nesting deeper than " + std::to_string(wire::kMaxDepth));
  }
  if (!stack_.push({container.get(), 0, count, 0, kind, in_key, false})) return wrote(false);
  (void)container.take();
  return true;
}

bool Encoder::open_tuple(PyObject* tuple, bool in_key) {
  const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
  if (!fits(count) || !wrote(writer_.tuple(static_cast<std::uint32_t>(count)))) return false;
  return count == 0 || open(Kind::tuple, PyRef::borrow(tuple), count, in_key);
}

bool Encoder::open_list(PyObject* list, bool in_key) {
  const Py_ssize_t count = PyList_GET_SIZE(list);
  if (count == 0) return wrote(writer_.tag(wire::kNil));
  if (!fits(count) || !wrote(writer_.list(static_cast<std::uint32_t>(count)))) return false;
  return open(Kind::list, PyRef::borrow(list), count, in_key);
}

bool Encoder::open_converted(PyObject* object, bool in_key) {
  const PyRef held = PyRef::borrow(object);
  PyRef plain = PyRef::steal(PyObject_CallMethodNoArgs(object, state_.names.tolist));
  // A level of its own, so that a tolist that returns more of its kind comes to an end.
  return plain && open(Kind::converted, std::move(plain), 1, in_key);
}

// Values
// -------------------------------------------------------------------------------------------

bool Encoder::value(PyObject* object, bool in_key) {
  PyTypeObject* const type = Py_TYPE(object);
  if (type == &PyUnicode_Type) return text(object);
  if (type == &PyLong_Type) return wrote(append_int(writer_, object));
  if (type == &PyTuple_Type) return open_tuple(object, in_key);
  if (type == &PyBytes_Type) return exact_bytes(object, in_key);
  if (type == &PyList_Type) return open_list(object, in_key);
  if (type == &PyDict_Type) return open_dict(object, in_key);
  if (type == &PyFloat_Type) return floating(PyFloat_AS_DOUBLE(object));
  if (object == Py_None) return wrote(writer_.tag(wire::kNone));
  if (object == Py_True) return wrote(writer_.tag(wire::kTrue));
  if (object == Py_False) return wrote(writer_.tag(wire::kFalse));
  if (is_opaque(state_, object)) {
    const auto wire = wire_of(object);
    std::uint8_t* const room = message_.extend(wire.size());
    if (room != nullptr) std::memcpy(room, wire.data(), wire.size());
    return wrote(room != nullptr);
  }
  if (is_atom(state_, object)) return wrote(append_atom(writer_, object));
  return subclass_value(object, in_key);
}

bool Encoder::subclass_value(PyObject* object, bool in_key) {
  if (PyUnicode_Check(object)) return text(object);
  if (PyLong_Check(object)) return wrote(append_int(writer_, object));
  if (PyFloat_Check(object)) return floating(PyFloat_AS_DOUBLE(object));
  if (PyTuple_Check(object)) return open_tuple(object, in_key);
  if (PyList_Check(object)) return open_list(object, in_key);
  if (PyDict_Check(object)) return open_dict(object, in_key);
  if (PyBytes_Check(object)) {
    return raw_bytes(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), in_key);
  }
  if (PyByteArray_Check(object)) {
    return raw_bytes(PyByteArray_AS_STRING(object), PyByteArray_GET_SIZE(object), in_key);
  }
  if (PyMemoryView_Check(object)) return view(object, in_key);
  return foreign_value(object, in_key);
}

bool Encoder::foreign_value(PyObject* object, bool in_key) {
  if (Channel* const found = channel_of(state_, object)) return channel(*found);
  if (ByteStream* const found = stream_of(state_, object)) return stream(*found);
  const PyRef held = PyRef::borrow(object);  // __getattr__ may be anything.
  // A class has the attributes of its instances, but is not one.
  if (PyType_Check(object)) return refuse_type(object);
  for (PyObject* const name : {state_.names.ndim, state_.names.tolist}) {
    const PyRef attribute = PyRef::steal(PyObject_GetAttr(object, name));
    if (attribute) continue;
    if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return false;
    PyErr_Clear();
    return refuse_type(object);
  }
  return open_converted(object, in_key);
}

bool Encoder::text(PyObject* str) {
#if PY_VERSION_HEX < 0x030C0000
  if (PyUnicode_READY(str) != 0) return false;
#endif
  if (PyUnicode_IS_COMPACT_ASCII(str)) {
    const Py_ssize_t size = PyUnicode_GET_LENGTH(str);
    return fits(size) &&
           wrote(writer_.bytes(wire::kBinary, as_span(PyUnicode_1BYTE_DATA(str), size)));
  }
  const Py_ssize_t size = utf8_size(str);
  if (size < 0) {
    return refuse(PyExc_ValueError, "cannot convert a str with a lone surrogate to an Erlang term");
  }
  if (!fits(size)) return false;
  std::uint8_t* const room = writer_.bytes_room(wire::kBinary, static_cast<std::uint32_t>(size));
  if (room == nullptr) return wrote(false);
  write_utf8(str, room);
  return true;
}

bool Encoder::floating(double number) {
  if (std::isfinite(number)) return wrote(writer_.floating(number));
  return wrote(writer_.atom(std::isnan(number) ? "nan" : number > 0 ? "infinity" : "neg_infinity"));
}

bool Encoder::raw_bytes(const void* data, Py_ssize_t size, bool in_key) {
  // In keys 'a' and b'a' must look the same, because in Erlang they are.
  const wire::Tag as = in_key ? wire::kBinary : wire::kBytes;
  return fits(size) && wrote(writer_.bytes(as, as_span(data, size)));
}

bool Encoder::exact_bytes(PyObject* bytes, bool in_key) {
  const Py_ssize_t size = PyBytes_GET_SIZE(bytes);
  // Keys are compared by their wire form.
  if (!lends_ || in_key || size < static_cast<Py_ssize_t>(bytes::kPinThreshold)) {
    return raw_bytes(PyBytes_AS_STRING(bytes), size, in_key);
  }
  Ref<wire::PinnedBytes> lent = LentBytes::lend(bytes, state_.home);
  return fits(size) && wrote(lent && writer_.pinned(wire::PinnedAs::bytes, std::move(lent)));
}

bool Encoder::view(PyObject* memoryview, bool in_key) {
  BufferView buffer;
  if (!buffer.get(memoryview, PyBUF_FULL_RO)) return false;
  if (!fits(buffer.len)) return false;
  std::uint8_t* const room = writer_.bytes_room(in_key ? wire::kBinary : wire::kBytes,
                                                static_cast<std::uint32_t>(buffer.len));
  if (room == nullptr) return wrote(false);
  return PyBuffer_ToContiguous(room, &buffer, buffer.len, 'C') == 0;
}

bool Encoder::channel(Channel& channel) {
  return wrote(writer_.handle(wire::HandleKind::channel, Ref<Object>::borrow(&channel)));
}

bool Encoder::stream(ByteStream& stream) {
  return wrote(writer_.handle(wire::HandleKind::stream, Ref<Object>::borrow(&stream)));
}

// Whole terms
// --------------------------------------------------------------------------------------

bool Encoder::run_reply(PyObject* object) {
  if (!PyTuple_Check(object) || PyTuple_GET_SIZE(object) == 0 ||
      !PyUnicode_Check(PyTuple_GET_ITEM(object, 0))) {
    return run(object);
  }
  const PyRef tag = PyRef::steal(atom_of(state_, PyTuple_GET_ITEM(object, 0)));
  if (!tag || !open_tuple(object, false)) return false;
  stack_.top().index = 1;
  return wrote(append_atom(writer_, tag.get())) && finish();
}

bool encode(ModuleState& state, Message& message, PyObject* object) {
  return Encoder(state, message, true).run(object);
}

bool encode_reply(ModuleState& state, Message& message, PyObject* object) {
  return Encoder(state, message, true).run_reply(object);
}

bool encode_whole(ModuleState& state, Message& message, PyObject* object) {
  return Encoder(state, message, false).run(object);
}

}  // namespace penstock::python
