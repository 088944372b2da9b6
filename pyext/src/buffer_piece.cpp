// SPDX-License-Identifier: Apache-2.0
#include "buffer_piece.hpp"

#include "types.hpp"

namespace penstock::python {

namespace {

struct PieceObject {
  PyObject_HEAD Object* owner;  ///< Owned.
  const std::uint8_t* data;
  Py_ssize_t size;
};

PieceObject& as_piece(PyObject* object) noexcept { return *reinterpret_cast<PieceObject*>(object); }

int piece_get_buffer(PyObject* object, Py_buffer* view, int flags) {
  const PieceObject& self = as_piece(object);
  return PyBuffer_FillInfo(view, object, const_cast<std::uint8_t*>(self.data), self.size, 1, flags);
}

void piece_dealloc(PyObject* object) {
  as_piece(object).owner->release();
  free_instance(object);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(piece_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(piece_get_buffer)},
    {0, nullptr},
};

PyType_Spec spec = {
    "erlang.BufferPiece", sizeof(PieceObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyObject* new_piece(ModuleState& state, ByteStream::Reading::Piece piece, Py_ssize_t size) {
  PieceObject* const self = PyObject_New(PieceObject, state.piece_type);
  if (self == nullptr) return nullptr;
  self->owner = piece.owner.take();
  self->data = piece.data;
  self->size = size;
  return reinterpret_cast<PyObject*>(self);
}

bool add_piece_type(PyObject* module, ModuleState& state) {
  return make_type(module, spec, state.piece_type);
}

}  // namespace penstock::python
