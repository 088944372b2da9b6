// SPDX-License-Identifier: Apache-2.0
#include "objects.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "atom.hpp"
#include "buffer_object.hpp"
#include "capsule.hpp"
#include "opaque.hpp"
#include "utf8.hpp"

namespace penstock::fuzz {

namespace {

using python::PyRef;

constexpr int kDeepest = 40;

constexpr const char* kClasses = R"(
class Str(str): pass
class Int(int): pass
class Float(float): pass
class Bytes(bytes): pass
class Tuple(tuple): pass
class List(list): pass
class Dict(dict): pass
class Hashable(list):
    __hash__ = object.__hash__

class Array:
    ndim = 1
    def __init__(self, value):
        self.value = value
    def tolist(self):
        return self.value

class Evil:
    """Finds the list that was made last, without which it would be in a cycle."""
    ndim = 0
    victim = None
    def __init__(self, deed):
        self.deed = deed
    def tolist(self):
        victim = Evil.victim
        if self.deed == 0 and victim: victim.clear()
        elif self.deed == 1 and victim: victim.append(1)
        elif self.deed == 2 and victim: victim[-1] = 'another'
        elif self.deed == 3: return self
        elif self.deed == 4: raise ValueError('evil')
        return self.deed

class Liar:
    def __getattr__(self, name):
        raise TypeError(name)

class Shapeless:
    ndim = 1
)";

PyRef run_classes() {
  PyRef globals = PyRef::steal(PyDict_New());
  const PyRef done =
      globals ? PyRef::steal(PyRun_String(kClasses, Py_file_input, globals.get(), globals.get()))
              : PyRef();
  if (!done) PyErr_Print();
  require(static_cast<bool>(done));
  return globals;
}

PyRef none() { return PyRef::borrow(Py_None); }

std::span<const std::uint8_t> some(Input& input) {
  std::uint8_t const size = input.byte();
  return input.take(size);
}

}  // namespace

Objects::Objects(python::ModuleState& state, const LinkEnd& end)
    : state_(state),
      classes_(run_classes()),
      release_(PyRef::steal(PyUnicode_InternFromString("release"))),
      victim_(PyRef::steal(PyUnicode_InternFromString("victim"))),
      channel_(PyRef::steal(python::new_channel_capsule(end.channel()))),
      stream_(PyRef::steal(python::new_buffer(state, end.stream()))) {
  require(channel_ && stream_);
}

PyObject* Objects::named(const char* name) const {
  PyObject* const found = PyDict_GetItemString(classes_.get(), name);
  require(found != nullptr);
  return found;
}

PyRef Objects::make(Input& input) {
  is_wild_ = false;
  PyRef made = value(input, 0);
  require(PyErr_Occurred() == nullptr);
  return made;
}

void Objects::forget() { require(PyObject_SetAttrString(named("Evil"), "victim", Py_None) == 0); }

PyRef Objects::value(Input& input, int depth) {
  if (input.is_over() || depth > kDeepest) return none();
  std::uint8_t const kind = input.byte() % 24;
  PyRef made;
  switch (kind) {
    case 0:
      made = tuple(input, depth);
      break;
    case 1:
      made = list(input, depth);
      break;
    case 2:
      made = dict(input, depth);
      break;
    case 3:
      made = subclass(input, depth);
      break;
    case 4:
      made = array(input, depth);
      break;
    case 5:
      made = nested(input, depth);
      break;
    default:
      made = scalar(input, kind);
  }
  if (made) return made;
  PyErr_Clear();  // Of these arguments there is none.
  return none();
}

PyRef Objects::scalar(Input& input, std::uint8_t kind) {
  switch (kind) {
    case 6:
      return PyRef::steal(PyLong_FromLong(input.byte() - 128));
    case 7:
      return PyRef::steal(PyLong_FromLongLong(static_cast<long long>(input.word())));
    case 8: {
      const auto magnitude = input.take(input.number(2) % 300);
      return PyRef::steal(_PyLong_FromByteArray(magnitude.data(), magnitude.size(), 1, 1));
    }
    case 9:
      return PyRef::steal(PyFloat_FromDouble(std::bit_cast<double>(input.word())));
    case 10:
    case 11:
      return text(input);
    case 12:
      return bytes(input);
    case 13: {
      const PyRef made = bytes(input);
      return made ? PyRef::steal(PyByteArray_FromObject(made.get())) : PyRef();
    }
    case 14:
      return view(input);
    case 15:
      return PyRef::borrow(input.byte() % 2 != 0 ? Py_True : Py_False);
    case 16: {
      const PyRef name = text(input);
      return name ? PyRef::steal(python::atom_of(state_, name.get())) : PyRef();
    }
    case 17:
      return opaque(input);
    case 18:
      return PyRef::borrow(input.byte() % 2 != 0 ? channel_.get() : stream_.get());
    case 19:
      return evil(input);
    case 20: {
      constexpr const char* kNames[] = {"Array", "Evil", "Str", "Liar", "Shapeless"};
      PyObject* const type = named(kNames[input.byte() % 5]);
      is_wild_ = true;
      // A class, or an instance of some.
      return input.byte() % 2 == 0 ? PyRef::borrow(type) : PyRef::steal(PyObject_CallNoArgs(type));
    }
    case 21:
      return PyRef::steal(PyByteArray_FromStringAndSize(nullptr, 0));
    default:
      return none();
  }
}

/// Of characters of one, two or four bytes, lone surrogates among them.
PyRef Objects::text(Input& input) {
  constexpr const char* kKnown[] = {"true", "false",    "none",         "undefined",
                                    "nan",  "infinity", "neg_infinity", "nil"};
  std::uint8_t const how = input.byte();
  if (how >= 248) return PyRef::steal(PyUnicode_FromString(kKnown[how - 248]));
  const auto data = some(input);
  if (how == 240) {  // Longer than an atom's name, or nearly.
    const PyRef part = PyRef::steal(python::str_or_bytes(data));
    return PyRef::steal(part ? PySequence_Repeat(part.get(), 3) : nullptr);
  }
  if (how % 4 == 0) return PyRef::steal(python::str_or_bytes(data));
  std::vector<Py_UCS4> characters;
  for (std::size_t i = 0; i + 3 < data.size(); i += 4) {
    std::uint32_t number = 0;
    std::memcpy(&number, data.data() + i, sizeof number);
    constexpr std::uint32_t kMost[] = {0x100, 0x10000, 0x110000};
    characters.push_back(number % kMost[how % 4 - 1]);
  }
  return PyRef::steal(PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, characters.data(),
                                                static_cast<Py_ssize_t>(characters.size())));
}

PyRef Objects::bytes(Input& input) {
  std::uint8_t const how = input.byte();
  if (how < 240) return PyRef::steal(python::bytes_of(some(input)));
  // So long that it is lent.
  const std::string many(std::size_t{8000} + input.number(1), static_cast<char>(how));
  return PyRef::steal(PyBytes_FromStringAndSize(many.data(), static_cast<Py_ssize_t>(many.size())));
}

/// Of every so-many-th byte, perhaps backwards.
PyRef Objects::view(Input& input) {
  const PyRef whole = bytes(input);
  const PyRef view = whole ? PyRef::steal(PyMemoryView_FromObject(whole.get())) : PyRef();
  const PyRef step = PyRef::steal(PyLong_FromLong(input.byte() % 5 - 2));
  const PyRef slice = step ? PyRef::steal(PySlice_New(Py_None, Py_None, step.get())) : PyRef();
  if (!view || !slice) return {};
  PyRef part = PyRef::steal(PyObject_GetItem(view.get(), slice.get()));
  if (part && input.byte() % 8 == 0) {
    (void)PyRef::steal(PyObject_CallMethodNoArgs(part.get(), release_.get()));
  }
  return part;
}

PyRef Objects::tuple(Input& input, int depth) {
  const Py_ssize_t count = input.byte() % 9;
  PyRef made = PyRef::steal(PyTuple_New(count));
  for (Py_ssize_t i = 0; made && i < count; ++i) {
    PyTuple_SET_ITEM(made.get(), i, value(input, depth + 1).take());
  }
  return made;
}

PyRef Objects::list(Input& input, int depth) {
  std::uint8_t const count = input.byte() % 9;
  PyRef made = PyRef::steal(PyList_New(0));
  for (std::uint8_t i = 0; made && i < count; ++i) {
    const PyRef element = value(input, depth + 1);
    (void)PyList_Append(made.get(), element.get());
  }
  if (made && input.byte() % 4 == 0) {
    (void)PyObject_SetAttr(named("Evil"), victim_.get(), made.get());
  }
  return made;
}

PyRef Objects::dict(Input& input, int depth) {
  PyRef made = PyRef::steal(PyDict_New());
  for (std::uint8_t left = input.byte() % 9; made && left != 0; --left) {
    const PyRef key = value(input, depth + 1);
    const PyRef item = value(input, depth + 1);
    if (PyDict_SetItem(made.get(), key.get(), item.get()) != 0) PyErr_Clear();
  }
  return made;
}

PyRef Objects::subclass(Input& input, int depth) {
  const PyRef plain = value(input, depth + 1);
  const char* name = nullptr;
  if (PyUnicode_Check(plain.get())) name = "Str";
  if (PyLong_CheckExact(plain.get())) name = "Int";
  if (PyFloat_Check(plain.get())) name = "Float";
  if (PyBytes_Check(plain.get())) name = "Bytes";
  if (PyTuple_Check(plain.get())) name = "Tuple";
  if (PyList_Check(plain.get())) name = input.byte() % 2 == 0 ? "List" : "Hashable";
  if (PyDict_Check(plain.get())) name = "Dict";
  return name != nullptr ? PyRef::steal(PyObject_CallOneArg(named(name), plain.get()))
                         : PyRef::borrow(plain.get());
}

PyRef Objects::array(Input& input, int depth) {
  const PyRef inside = value(input, depth + 1);
  return PyRef::steal(PyObject_CallOneArg(named("Array"), inside.get()));
}

PyRef Objects::evil(Input& input) {
  is_wild_ = true;
  const PyRef deed = PyRef::steal(PyLong_FromLong(input.byte() % 6));
  return PyRef::steal(PyObject_CallOneArg(named("Evil"), deed.get()));
}

PyRef Objects::opaque(Input& input) {
  std::uint8_t const how = input.byte();
  if (how % 2 == 0) return PyRef::steal(python::pid_of_word(state_, input.number(1) << 4 | 3));
  constexpr std::uint8_t kTags[] = {88, 90, 89, 112};
  const auto kind = static_cast<wire::OpaqueKind>(how / 2 % 4);
  Message wire;
  std::uint8_t external[8] = {131, kTags[how / 2 % 4]};
  std::ranges::copy(input.take(6), external + 2);
  require(wire::Writer(wire).opaque(kind, external));
  return PyRef::steal(python::new_opaque(state_, kind, wire.bytes()));
}

/// In many containers of one element.
PyRef Objects::nested(Input& input, int depth) {
  std::uint8_t const how = input.byte();
  const bool is_deep = depth == 0 && how == 255;  // Around the limit. They take long.
  const unsigned levels = is_deep ? 9'900U + input.byte() : how % 64U;
  PyRef made = value(input, depth + 1);
  for (unsigned level = 0; made && level < levels; ++level) {
    made = PyRef::steal(level % 2 == 0 ? PyTuple_Pack(1, made.get())
                                       : Py_BuildValue("[O]", made.get()));
  }
  return made;
}

}  // namespace penstock::fuzz
