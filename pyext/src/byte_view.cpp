// SPDX-License-Identifier: Apache-2.0
#include "byte_view.hpp"

#include <structmember.h>

#include <cstring>
#include <new>

#include "buffer_view.hpp"
#include "byte_receiving.hpp"
#include "channel_base.hpp"
#include "lent_bytes.hpp"
#include "penstock/bytes.hpp"
#include "types.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

/// A slice shares the memory of its view unless it would keep too much of it alive: from this size
/// on, and if it is at least this part of the whole.
constexpr std::size_t kLeastShared = 4096;
constexpr std::size_t kLeastPart = 4;

/// A large binary that views refer to, counted in the channel it came from.
class ViewedBinary final : public Object {
 public:
  ViewedBinary(Ref<wire::PinnedBytes> binary, Channel& channel, const Home* home) noexcept
      : home_(home), binary_(std::move(binary)), channel_(Ref<Channel>::borrow(&channel)) {
    channel_->pin(binary_->bytes().size());
  }
  [[nodiscard]] const wire::PinnedBytes& binary() const noexcept { return *binary_; }
  /// Of the interpreter that the views belong to.
  [[nodiscard]] const Home* home() const noexcept { return home_; }

 private:
  ~ViewedBinary() override { channel_->unpin(binary_->bytes().size()); }
  const Home* const home_;
  const Ref<wire::PinnedBytes> binary_;
  const Ref<Channel> channel_;
};

/// One of `binary` and `copy` keeps the bytes, until released.
struct ViewObject {
  PyObject_HEAD Py_ssize_t size;
  const std::uint8_t* data;
  ViewedBinary* binary;  ///< Owned.
  PyObject* copy;        ///< bytes.
  PyObject* weak_references;
  Py_ssize_t exports;  ///< Buffers that somebody has of it.
  Py_hash_t hash;      ///< -1: not known yet.
};

ViewObject& as_view(PyObject* object) noexcept { return *reinterpret_cast<ViewObject*>(object); }

std::span<const std::uint8_t> bytes_in(const ViewObject& self) noexcept {
  return {self.data, static_cast<std::size_t>(self.size)};
}

bool is_released(const ViewObject& self) noexcept {
  return self.binary == nullptr && self.copy == nullptr;
}

/// False: ValueError is set.
bool require_view(const ViewObject& self) {
  if (!is_released(self)) return true;
  PyErr_SetString(PyExc_ValueError, "operation forbidden on released ByteView object");
  return false;
}

void drop_memory(ViewObject& self) {
  if (ViewedBinary* const binary = std::exchange(self.binary, nullptr)) {
    const DropsWithGil here(binary->home());
    binary->release();
  }
  drop(std::exchange(self.copy, nullptr));
}

// Making
// -------------------------------------------------------------------------------------------

/// A view of nothing yet; nullptr: MemoryError is set.
ViewObject* allocate(PyTypeObject* type) {
  PyObject* const object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  as_view(object).hash = -1;
  return &as_view(object);
}

/// Takes `copy` over, which may be nullptr: an exception is set.
PyObject* view_of_copy(PyTypeObject* type, PyRef copy) {
  ViewObject* const self = copy ? allocate(type) : nullptr;
  if (self == nullptr) return nullptr;
  self->data = reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(copy.get()));
  self->size = PyBytes_GET_SIZE(copy.get());
  self->copy = copy.take();
  return reinterpret_cast<PyObject*>(self);
}

PyObject* view_of_part(PyTypeObject* type, const ViewObject& of, Py_ssize_t start,
                       Py_ssize_t size) {
  ViewObject* const self = allocate(type);
  if (self == nullptr) return nullptr;
  self->data = of.data + start;
  self->size = size;
  self->binary = Ref<ViewedBinary>::borrow(of.binary).take();
  self->copy = PyRef::borrow(of.copy).take();
  return reinterpret_cast<PyObject*>(self);
}

/// Bytes that a view keeps alive.
std::size_t kept_by(const ViewObject& self) noexcept {
  return self.binary != nullptr ? self.binary->binary().bytes().size()
                                : static_cast<std::size_t>(PyBytes_GET_SIZE(self.copy));
}

PyObject* slice(const ViewObject& self, PyTypeObject* type, Py_ssize_t start, Py_ssize_t step,
                Py_ssize_t count) {
  const auto size = static_cast<std::size_t>(count);
  if (step == 1) {
    if (size >= kLeastShared && size >= kept_by(self) / kLeastPart) {
      return view_of_part(type, self, start, count);
    }
    return view_of_copy(type, PyRef::steal(bytes_of({self.data + start, size})));
  }
  PyRef copy = PyRef::steal(PyBytes_FromStringAndSize(nullptr, count));
  if (copy) {
    char* const to = PyBytes_AS_STRING(copy.get());
    for (Py_ssize_t i = 0; i < count; ++i) to[i] = static_cast<char>(self.data[start + i * step]);
  }
  return view_of_copy(type, std::move(copy));
}

// Elements and slices
// --------------------------------------------------------------------------------

Py_ssize_t view_length(PyObject* object) {
  return require_view(as_view(object)) ? as_view(object).size : -1;
}

/// `index` is not negative unless it is outside: the interpreter has added the length.
PyObject* view_item(PyObject* object, Py_ssize_t index) {
  const ViewObject& self = as_view(object);
  if (!require_view(self)) return nullptr;
  if (index < 0 || index >= self.size) {
    PyErr_SetString(PyExc_IndexError, "ByteView index out of range");
    return nullptr;
  }
  return PyLong_FromLong(self.data[index]);
}

PyObject* view_subscript(PyObject* object, PyObject* key) {
  if (PySlice_Check(key)) {
    Py_ssize_t start = 0;
    Py_ssize_t stop = 0;
    Py_ssize_t step = 0;
    if (PySlice_Unpack(key, &start, &stop, &step) != 0) return nullptr;
    // Only now: the slice's indices may be objects that release the view.
    const ViewObject& self = as_view(object);
    if (!require_view(self)) return nullptr;
    const Py_ssize_t count = PySlice_AdjustIndices(self.size, &start, &stop, step);
    return slice(self, Py_TYPE(object), start, step, count);
  }
  if (PyIndex_Check(key) == 0) {
    PyErr_Format(PyExc_TypeError, "ByteView indices must be integers or slices, not %.200s",
                 Py_TYPE(key)->tp_name);
    return nullptr;
  }
  Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
  if (index == -1 && PyErr_Occurred() != nullptr) return nullptr;
  if (index < 0) index += as_view(object).size;
  return view_item(object, index);
}

// Contents
// -----------------------------------------------------------------------------------------

PyObject* view_tobytes(PyObject* object, PyObject*) {
  ViewObject& self = as_view(object);
  if (!require_view(self)) return nullptr;
  PyObject* const whole = self.copy != nullptr
                              ? self.copy
                              : LentBytes::object_of(self.binary->binary(), self.binary->home());
  if (whole != nullptr && PyBytes_GET_SIZE(whole) == self.size) return PyRef::borrow(whole).take();
  ++self.exports;  // Nobody may release it meanwhile.
  PyObject* const copy = copied_bytes(bytes_in(self));
  --self.exports;
  return copy;
}

int view_getbuffer(PyObject* object, Py_buffer* buffer, int flags) {
  ViewObject& self = as_view(object);
  buffer->obj = nullptr;  // As the protocol wants it after an error.
  if (!require_view(self)) return -1;
  const int result =
      PyBuffer_FillInfo(buffer, object, const_cast<std::uint8_t*>(self.data), self.size, 1, flags);
  if (result == 0) ++self.exports;
  return result;
}

void view_releasebuffer(PyObject* object, Py_buffer*) { --as_view(object).exports; }

/// As that of bytes with the same contents, because it is equal to them.
Py_hash_t view_hash(PyObject* object) {
  ViewObject& self = as_view(object);
  if (self.hash != -1) return self.hash;
  if (!require_view(self)) return -1;
  auto* const memory = reinterpret_cast<char*>(const_cast<std::uint8_t*>(self.data));
  const PyRef view = PyRef::steal(PyMemoryView_FromMemory(memory, self.size, PyBUF_READ));
  if (view) self.hash = PyObject_Hash(view.get());
  return self.hash;
}

PyObject* view_compare(PyObject* left, PyObject* right, int operation) {
  if ((operation != Py_EQ && operation != Py_NE) || PyObject_CheckBuffer(right) == 0) {
    Py_RETURN_NOTIMPLEMENTED;
  }
  ViewObject& self = as_view(left);
  bool equal = left == right;
  if (!equal && !is_released(self)) {
    ++self.exports;  // The other's code may not release it.
    BufferView other;
    const bool is_bytes = other.get(right, PyBUF_SIMPLE);
    --self.exports;
    if (!is_bytes) {  // Not contiguous, or released.
      PyErr_Clear();
      Py_RETURN_NOTIMPLEMENTED;
    }
    const std::size_t size = other.bytes().size();
    equal = size == bytes_in(self).size() &&
            (size == 0 || std::memcmp(self.data, other.bytes().data(), size) == 0);
  }
  return PyBool_FromLong(equal == (operation == Py_EQ));
}

PyObject* view_repr(PyObject* object) {
  const ViewObject& self = as_view(object);
  if (is_released(self)) return PyUnicode_FromString("<erlang.ByteView, released>");
  return PyUnicode_FromFormat("<erlang.ByteView of %zd bytes>", self.size);
}

// Life
// ---------------------------------------------------------------------------------------------

PyObject* view_release(PyObject* object, PyObject*) {
  ViewObject& self = as_view(object);
  if (self.exports > 0) {
    return PyErr_Format(PyExc_BufferError, "ByteView has %zd exported buffer%s", self.exports,
                        self.exports == 1 ? "" : "s");
  }
  drop_memory(self);
  Py_RETURN_NONE;
}

PyObject* view_enter(PyObject* object, PyObject*) {
  return require_view(as_view(object)) ? PyRef::borrow(object).take() : nullptr;
}

PyObject* view_exit(PyObject* object, PyObject* const*, Py_ssize_t) {
  return view_release(object, nullptr);
}

void view_dealloc(PyObject* object) {
  ViewObject& self = as_view(object);
  if (self.weak_references != nullptr) PyObject_ClearWeakRefs(object);
  drop_memory(self);
  free_instance(object);
}

PyMethodDef methods[] = {
    {"tobytes", view_tobytes, METH_NOARGS, "tobytes()\n--\n\nReturn the contents as bytes."},
    {"__bytes__", view_tobytes, METH_NOARGS, nullptr},
    {"release", view_release, METH_NOARGS,
     "release()\n--\n\nGive the memory up. Raises BufferError while memoryviews of it exist."},
    {"__enter__", view_enter, METH_NOARGS, nullptr},
    {"__exit__", method(view_exit), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ViewObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(view_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(view_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(view_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(view_compare)},
    {Py_sq_length, reinterpret_cast<void*>(view_length)},
    {Py_sq_item, reinterpret_cast<void*>(view_item)},
    {Py_mp_length, reinterpret_cast<void*>(view_length)},
    {Py_mp_subscript, reinterpret_cast<void*>(view_subscript)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(view_getbuffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(view_releasebuffer)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_doc,
     const_cast<char*>("Bytes of a message, read-only, with the buffer protocol.\n\n"
                       "The memory lives until the last view of it and the last memoryview go.")},
    {0, nullptr},
};

PyType_Spec spec = {
    "erlang.ByteView", sizeof(ViewObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyObject* new_byte_view(ModuleState& state, Channel& channel, Message& message) {
  const bytes::View found = bytes::view(message);
  if (found.pinned == nullptr) {
    return view_of_copy(state.byte_view_type, PyRef::steal(copied_bytes(found.bytes)));
  }
  const DropsWithGil here(state.home);
  ViewObject* const self = allocate(state.byte_view_type);
  if (self == nullptr) return nullptr;
  const PyRef object = PyRef::steal(reinterpret_cast<PyObject*>(self));
  auto binary = Ref<wire::PinnedBytes>::borrow(found.pinned);
  self->binary = new (std::nothrow) ViewedBinary(std::move(binary), channel, state.home);
  if (self->binary == nullptr) return PyErr_NoMemory();
  self->data = found.bytes.data();
  self->size = static_cast<Py_ssize_t>(found.bytes.size());
  message.clear();
  return PyRef::borrow(object.get()).take();
}

bool add_byte_view_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.byte_view_type);
}

}  // namespace penstock::python
