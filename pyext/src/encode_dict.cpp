// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "encoder.hpp"

/// Dicts, whose keys may become one term although they are different in Python: 'a' and b'a', None
/// and the atom `none`.
namespace penstock::python {

namespace {

/// Whether keys that differ in Python surely differ in Erlang: all of one of these types.
bool keys_are_safe(PyObject* pairs) noexcept {
  PyTypeObject* const type = Py_TYPE(PyTuple_GET_ITEM(pairs, 0));
  if (type != &PyUnicode_Type && type != &PyLong_Type && type != &PyBytes_Type) return false;
  for (Py_ssize_t i = 2; i < PyTuple_GET_SIZE(pairs); i += 2) {
    if (!Py_IS_TYPE(PyTuple_GET_ITEM(pairs, i), type)) return false;
  }
  return true;
}

/// The dict as a tuple key, value, key, value ...; nullptr: an exception is set. Nothing but the
/// allocation of the tuple can run user code (a garbage collection), and that comes first.
PyObject* snapshot(PyObject* dict) {
  for (;;) {
    const Py_ssize_t count = PyDict_GET_SIZE(dict);
    PyRef pairs = PyRef::steal(PyTuple_New(2 * count));
    if (!pairs) return nullptr;
    if (PyDict_GET_SIZE(dict) != count) continue;
    PyObject* key = nullptr;
    PyObject* item = nullptr;
    Py_ssize_t position = 0;
    for (Py_ssize_t i = 0; i < 2 * count && PyDict_Next(dict, &position, &key, &item) != 0;
         i += 2) {
      PyTuple_SET_ITEM(pairs.get(), i, PyRef::borrow(key).take());
      PyTuple_SET_ITEM(pairs.get(), i + 1, PyRef::borrow(item).take());
    }
    return pairs.take();
  }
}

}  // namespace

bool Encoder::open_dict(PyObject* dict, bool in_key) {
  // Two maps with the same pairs may be written in two orders, so keys could not be compared.
  if (in_key) return refuse_type(dict);
  const Py_ssize_t count = PyDict_GET_SIZE(dict);
  if (count == 0) return wrote(writer_.map(0));
  PyRef pairs = PyRef::steal(snapshot(dict));
  if (!pairs) return false;
  const Py_ssize_t entries = PyTuple_GET_SIZE(pairs.get());
  if (entries == 0) return wrote(writer_.map(0));
  const bool compares_keys = !keys_are_safe(pairs.get());
  if (!fits(entries) || !wrote(writer_.map(static_cast<std::uint32_t>(entries / 2))) ||
      !open(Kind::dict, std::move(pairs), entries, in_key)) {
    return false;
  }
  stack_.top().compares_keys = compares_keys;
  stack_.top().first_key = static_cast<std::uint32_t>(keys_.size());
  return true;
}

bool Encoder::keys_differ(const Frame& frame) {
  const std::uint8_t* const bytes = message_.bytes().data();
  const auto compare = [bytes](const KeySpan& left, const KeySpan& right) {
    std::size_t const left_size = left.end - left.begin;
    std::size_t const right_size = right.end - right.begin;
    if (left_size != right_size) return left_size < right_size ? -1 : 1;
    return std::memcmp(bytes + left.begin, bytes + right.begin, left_size);
  };
  KeySpan* const first = keys_.begin() + frame.first_key;
  std::sort(first, keys_.end(),
            [&](const KeySpan& left, const KeySpan& right) { return compare(left, right) < 0; });
  const KeySpan* const twin = std::adjacent_find(
      first, keys_.end(),
      [&](const KeySpan& left, const KeySpan& right) { return compare(left, right) == 0; });
  if (twin == keys_.end()) {
    keys_.shrink(frame.first_key);
    return true;
  }
  const Py_ssize_t pair = std::max(twin[0].pair, twin[1].pair);
  const PyRef key = PyRef::borrow(PyTuple_GET_ITEM(frame.container, 2 * pair));
  std::string what = "two keys of a dict become the same Erlang term: ";
  const PyRef shown = PyRef::steal(PyObject_Repr(key.get()));
  const char* const utf8 = shown ? PyUnicode_AsUTF8(shown.get()) : nullptr;
  PyErr_Clear();
  what += utf8 != nullptr ? utf8 : Py_TYPE(key.get())->tp_name;
  // The dict is the culprit, not its last value.
  const PyRef container = PyRef::steal(stack_.top().container);
  stack_.pop();
  return refuse(PyExc_ValueError, what);
}

}  // namespace penstock::python
