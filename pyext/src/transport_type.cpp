// SPDX-License-Identifier: Apache-2.0
#include <structmember.h>

#include <cstddef>
#include <initializer_list>
#include <new>

#include "stream_transport.hpp"
#include "transport_methods.hpp"
#include "types.hpp"

/// The Python types of transports: one with what they have in common, and those derived from it.
namespace penstock::python {

namespace {

/// An instance of `erlang._native.StreamTransport`.
struct StreamObject {
  TransportObject head;
  StreamTransport transport;
};

TransportObject& head_of(PyObject* object) noexcept {
  return *reinterpret_cast<TransportObject*>(object);
}

PyObject* null_for_none(PyObject* object) noexcept { return object == Py_None ? nullptr : object; }

template <class Object>
PyObject* allocate(PyTypeObject* type, LoopCore& loop) {
  PyObject* const self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  auto* const object = reinterpret_cast<Object*>(self);
  using Made = decltype(object->transport);
  object->head.transport = new (&object->transport) Made(loop, object->head);
  return self;
}

/// The loop's half in C++; nullptr: TypeError is set.
LoopCore* core_of(PyTypeObject* type, PyObject* loop) {
  PyObject* const module = PyType_GetModuleByDef(type, &native_module);
  if (module == nullptr) return nullptr;
  LoopCore* const core = LoopCore::find(state_of(module), loop);
  if (core == nullptr) PyErr_SetString(PyExc_TypeError, "not a loop of erlang");
  return core;
}

PyObject* stream_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  const char* names[] = {"loop", "sock", "protocol", "waiter", "extra", "server", nullptr};
  Transport::Parts parts{};
  parts.waiter = parts.extra = parts.server = Py_None;
  if (PyArg_ParseTupleAndKeywords(args, keywords, "OOO|OOO", const_cast<char**>(names), &parts.loop,
                                  &parts.socket, &parts.protocol, &parts.waiter, &parts.extra,
                                  &parts.server) == 0) {
    return nullptr;
  }
  parts.waiter = null_for_none(parts.waiter);
  parts.extra = null_for_none(parts.extra);
  parts.server = null_for_none(parts.server);
  LoopCore* const core = core_of(type, parts.loop);
  if (core == nullptr) return nullptr;
  PyRef self = PyRef::steal(allocate<StreamObject>(type, *core));
  if (!self || !StreamTransport::of(self.get()).open_stream(parts)) return nullptr;
  return self.take();
}

/// asyncio's classes would do again what has been done.
int transport_init(PyObject*, PyObject*, PyObject*) { return 0; }

void transport_finalize(PyObject* self) {
  if (head_of(self).transport != nullptr) Transport::of(self).finalize();
}

int transport_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(head_of(self).extra);
  Py_VISIT(head_of(self).dict);
  return head_of(self).transport == nullptr ? 0 : Transport::of(self).traverse(visit, arg);
}

int transport_clear(PyObject* self) {
  if (head_of(self).transport != nullptr) Transport::of(self).clear();
  drop(std::exchange(head_of(self).extra, nullptr));
  drop(std::exchange(head_of(self).dict, nullptr));
  return 0;
}

void transport_dealloc(PyObject* self) {
  if (PyObject_CallFinalizerFromDealloc(self) != 0) return;
  PyObject_GC_UnTrack(self);
  PyObject_ClearWeakRefs(self);
  (void)transport_clear(self);
  if (head_of(self).transport != nullptr) head_of(self).transport->~Transport();
  free_instance(self);
}

// clang-format off
PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(TransportObject, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TransportObject, weak_references), READONLY,
     nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
// clang-format on

PyType_Slot transport_slots[] = {
    {Py_tp_init, reinterpret_cast<void*>(transport_init)},
    {Py_tp_finalize, reinterpret_cast<void*>(transport_finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(transport_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(transport_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(transport_clear)},
    {Py_tp_repr, reinterpret_cast<void*>(transport_repr)},
    {Py_tp_methods, transport_methods},
    {Py_tp_getset, transport_properties},
    {Py_tp_members, members},
    {0, nullptr},
};

PyType_Slot stream_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(stream_new)},
    {Py_tp_init, reinterpret_cast<void*>(transport_init)},
    {Py_tp_finalize, reinterpret_cast<void*>(transport_finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(transport_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(transport_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(transport_clear)},
    {Py_tp_methods, stream_transport_methods},
    {Py_tp_getset, stream_transport_properties},
    {0, nullptr},
};

constexpr unsigned int kFlags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;

PyType_Spec transport_spec = {"erlang._native.BaseTransport", sizeof(TransportObject), 0,
                              kFlags | Py_TPFLAGS_DISALLOW_INSTANTIATION, transport_slots};
PyType_Spec stream_spec = {"erlang._native.StreamTransport", sizeof(StreamObject), 0, kFlags,
                           stream_slots};

/// Whether asyncio's class keeps its slot where TransportObject has it, and adds nothing else.
/// False: ImportError is set.
bool fits(PyObject* base) {
  const auto* const type = reinterpret_cast<PyTypeObject*>(base);
  const PyRef slot = PyRef::steal(PyObject_GetAttrString(base, "_extra"));
  if (!slot) return false;
  if (Py_TYPE(slot.get()) == &PyMemberDescr_Type &&
      reinterpret_cast<PyMemberDescrObject*>(slot.get())->d_member->offset ==
          static_cast<Py_ssize_t>(offsetof(TransportObject, extra)) &&
      type->tp_basicsize <= static_cast<Py_ssize_t>(offsetof(TransportObject, dict)) &&
      type->tp_dictoffset == 0 && type->tp_weaklistoffset == 0) {
    return true;
  }
  PyErr_Format(PyExc_ImportError, "%s is not laid out as expected", type->tp_name);
  return false;
}

bool make(PyObject* module, PyType_Spec& spec, std::initializer_list<PyObject*> bases,
          PyTypeObject*& place) {
  const PyRef tuple = PyRef::steal(PyTuple_New(static_cast<Py_ssize_t>(bases.size())));
  if (!tuple) return false;
  Py_ssize_t index = 0;
  for (PyObject* const base : bases) {
    PyTuple_SET_ITEM(tuple.get(), index++, PyRef::borrow(base).take());
  }
  place = reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, tuple.get()));
  return place != nullptr && PyModule_AddType(module, place) == 0;
}

/// What base_events.sendfile() and start_tls() ask for.
bool add_abilities(PyObject* type) {
  const PyRef constants = PyRef::steal(PyImport_ImportModule("asyncio.constants"));
  const PyRef modes =
      constants ? PyRef::steal(PyObject_GetAttrString(constants.get(), "_SendfileMode")) : PyRef();
  const PyRef native =
      modes ? PyRef::steal(PyObject_GetAttrString(modes.get(), "TRY_NATIVE")) : PyRef();
  return native && PyObject_SetAttrString(type, "_sendfile_compatible", native.get()) == 0 &&
         PyObject_SetAttrString(type, "_start_tls_compatible", Py_True) == 0;
}

}  // namespace

bool make_transport_types(PyObject* module, ModuleState& state) {
  LoopLibrary& library = state.loops;
  const PyRef transports = PyRef::steal(PyImport_ImportModule("asyncio.transports"));
  if (!transports) return false;
  const PyRef base = PyRef::steal(PyObject_GetAttrString(transports.get(), "_FlowControlMixin"));
  return base && fits(base.get()) &&
         make(module, transport_spec, {base.get()}, library.transport_type) &&
         make(module, stream_spec, {reinterpret_cast<PyObject*>(library.transport_type)},
              library.stream_transport_type) &&
         add_abilities(reinterpret_cast<PyObject*>(library.stream_transport_type));
}

}  // namespace penstock::python
