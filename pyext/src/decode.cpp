// SPDX-License-Identifier: Apache-2.0
#include "decode.hpp"

#include <bit>
#include <cstring>
#include <string_view>

#include "buffer_object.hpp"
#include "capsule.hpp"
#include "integers.hpp"
#include "key_census.hpp"
#include "lent_bytes.hpp"
#include "opaque.hpp"
#include "penstock/channel.hpp"
#include "penstock/host.hpp"
#include "penstock/portable.hpp"
#include "penstock/wire_reader.hpp"
#include "small_stack.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

PyObject* malformed() {
  PyErr_SetString(PyExc_ValueError, "malformed message");
  return nullptr;
}

/// Of an atom's name in a table. Which names share one is of no consequence but for the time it
/// takes. Whole words: bytes that are gathered in memory wait for each other there.
std::uint64_t place_of(std::span<const std::uint8_t> name) noexcept {
  const std::uint8_t* const at = name.data();
  std::size_t const size = name.size();
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (size >= 8) {
    first = wire::load<std::uint64_t>(at);
    last = wire::load<std::uint64_t>(at + size - 8);
  } else if (size >= 4) {
    first = last = std::uint64_t{wire::load<std::uint32_t>(at + size - 4)} << 32 |
                   wire::load<std::uint32_t>(at);
  } else if (size > 0) {
    first = last = std::uint64_t{at[size - 1]} << 16 | std::uint64_t{at[size / 2]} << 8 | at[0];
  }
  return (first ^ std::rotl(last, 29) ^ size) * 0x9E3779B97F4A7C15 >> 32;
}

bool is_ascii_str(PyObject* str, std::span<const std::uint8_t> bytes) noexcept {
  return static_cast<std::size_t>(PyUnicode_GET_LENGTH(str)) == bytes.size() &&
         std::memcmp(PyUnicode_1BYTE_DATA(str), bytes.data(), bytes.size()) == 0;
}

/// Builds one term. Containers under construction are on an explicit stack, so that deep terms
/// do not grow the C stack; a container is stored into its parent when it is complete.
class Decoder {
 public:
  Decoder(ModuleState& state, wire::Reader& reader, Trust trust) noexcept
      : state_(state), reader_(reader), trust_(trust) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() {
    for (const Frame& frame : stack_) {
      drop(frame.container);
      drop(frame.key);
    }
  }

  PyObject* run();

 private:
  enum class Kind : std::uint8_t { tuple, list, dict };
  struct Frame {
    PyObject* container;
    PyObject* key;  // Of a dict: the key whose value comes next, or nullptr.
    std::uint32_t index;
    std::uint32_t count;
    Kind kind;
  };

  /// A complete value, or nullptr: a container was opened (and is on the stack), or an exception is
  /// set and failed_ too.
  PyObject* head();
  PyObject* open(Kind kind, PyObject* container, std::uint32_t count);
  /// Puts `value` (taken over) into the innermost container. False: an exception is set.
  bool store(Frame& frame, PyObject* value);
  PyObject* atom(std::uint64_t word);
  PyObject* named_atom(std::span<const std::uint8_t> utf8);
  PyObject* opaque(const wire::Item& item, const std::uint8_t* start);
  PyObject* handle(const wire::Item& item);
  PyObject* pinned(const wire::Item& item);
  [[nodiscard]] bool is_pid(std::uint64_t word) const noexcept;

  ModuleState& state_;
  wire::Reader& reader_;
  const Trust trust_;
  bool failed_ = false;
  SmallStack<Frame, 16> stack_;
  KeyCensus census_;  // Of the large dict that was begun last.
};

PyObject* Decoder::run() {
  for (;;) {
    PyObject* value = head();
    if (value == nullptr) {
      if (failed_) return nullptr;
      continue;
    }
    for (;;) {
      if (stack_.empty()) return value;
      Frame& frame = stack_.top();
      if (!store(frame, value)) return nullptr;
      if (frame.index < frame.count) break;
      if (frame.kind == Kind::list && !reader_.end_list()) return malformed();
      value = frame.container;
      stack_.pop();
    }
  }
}

PyObject* Decoder::open(Kind kind, PyObject* container, std::uint32_t count) {
  if (container != nullptr && count == 0) return container;
  if (container == nullptr) {
    failed_ = true;
  } else if (stack_.size() == wire::kMaxDepth) {
    drop(container);
    PyErr_Format(PyExc_ValueError, "nesting deeper than %u", unsigned{wire::kMaxDepth});
    failed_ = true;
  } else if (!stack_.push({container, nullptr, 0, count, kind})) {
    drop(container);
    PyErr_NoMemory();
    failed_ = true;
  }
  return nullptr;
}

bool Decoder::store(Frame& frame, PyObject* value) {
  switch (frame.kind) {
    case Kind::tuple:
      PyTuple_SET_ITEM(frame.container, frame.index++, value);
      return true;
    case Kind::list:
      PyList_SET_ITEM(frame.container, frame.index++, value);
      return true;
    case Kind::dict:
      break;
  }
  if (frame.key == nullptr) {
    frame.key = value;
    return true;
  }
  const PyRef key = PyRef::steal(std::exchange(frame.key, nullptr));
  const PyRef owned = PyRef::steal(value);
  if (trust_ == Trust::stranger && frame.count >= KeyCensus::kMany) {
    if (frame.index == 0) census_.begin();
    if (!census_.add(key.get())) return false;
  }
  ++frame.index;
  return PyDict_SetItem(frame.container, key.get(), owned.get()) == 0;
}

// NOLINTNEXTLINE(readability-function-size): one case for each tag of the format.
PyObject* Decoder::head() {
  const std::uint8_t* const start = reader_.position();
  wire::Item item{};
  if (reader_.next_inlined(item) != Status::ok) {
    failed_ = true;
    return malformed();
  }
  PyObject* value = nullptr;
  switch (item.tag) {
    case wire::kSmallTuple:
    case wire::kLargeTuple:
      return open(Kind::tuple, PyTuple_New(item.count), item.count);
    case wire::kList:
      // An empty list is kNil; encoders write no kList without elements.
      if (item.count == 0 && !reader_.end_list()) break;
      return open(Kind::list, PyList_New(item.count), item.count);
    case wire::kMap:
      return open(Kind::dict, PyDict_New(), item.count);
    case wire::kNil:
      value = PyList_New(0);
      break;
    case wire::kTrue:
      value = PyRef::borrow(Py_True).take();
      break;
    case wire::kFalse:
      value = PyRef::borrow(Py_False).take();
      break;
    case wire::kNone:
      value = PyRef::borrow(Py_None).take();
      break;
    case wire::kAtomWord:
      value = atom(item.word);
      break;
    case wire::kSmallAtom:
    case wire::kAtom:
      value = named_atom(item.bytes);
      break;
    case wire::kSmallInteger:
    case wire::kInteger:
      value = PyLong_FromLongLong(item.integer);
      break;
    case wire::kSmallBig:
    case wire::kLargeBig:
      value = int_of_magnitude(item.kind != 0, item.bytes);
      break;
    case wire::kFloat:
      value = PyFloat_FromDouble(item.floating);
      break;
    case wire::kBinary:
      value = str_or_bytes(item.bytes);
      break;
    case wire::kBytes:
    case wire::kBytesTuple:
      value = bytes_of(item.bytes);
      break;
    case wire::kPidWord:
      value = is_pid(item.word) ? pid_of_word(state_, item.word) : malformed();
      break;
    case wire::kOpaque:
      value = opaque(item, start);
      break;
    case wire::kHandle:
      value = handle(item);
      break;
    case wire::kToken:
      break;  // None ever comes out of portable form.
    case wire::kPinned:
      value = pinned(item);
      break;
  }
  if (value == nullptr) {
    failed_ = true;
    if (PyErr_Occurred() == nullptr) return malformed();
  }
  return value;
}

bool Decoder::is_pid(std::uint64_t word) const noexcept {
  return trust_ == Trust::own || host() == nullptr || host()->is_pid(word);
}

PyObject* Decoder::atom(std::uint64_t word) {
  if (trust_ == Trust::stranger) return malformed();
  if (PyObject* const known = state_.atom_strings.find(word)) return PyRef::borrow(known).take();
  Host* const erlang = host();
  if (erlang == nullptr) return malformed();
  char name[1024];
  bool ok = true;
  std::size_t const size = erlang->atom_name(word, name, &ok);
  if (!ok) return malformed();
  PyObject* const value = atom_value({reinterpret_cast<const std::uint8_t*>(name), size});
  if (value != nullptr) state_.atom_strings.insert(word, value);
  return value;
}

/// Interned strings that nobody keeps would be made, interned and forgotten for each message.
PyObject* Decoder::named_atom(std::span<const std::uint8_t> utf8) {
  PyObject*& recent = state_.recent_atoms[place_of(utf8) % state_.recent_atoms.size()];
  if (recent != nullptr && is_ascii_str(recent, utf8)) return PyRef::borrow(recent).take();
  if (!is_utf8(utf8)) return malformed();
  PyObject* const value = atom_value(utf8);
  if (value != nullptr && PyUnicode_Check(value) && PyUnicode_IS_ASCII(value)) {
    drop(std::exchange(recent, PyRef::borrow(value).take()));
  }
  return value;
}

PyObject* Decoder::opaque(const wire::Item& item, const std::uint8_t* start) {
  // Who sends it on to Erlang is the one who is blamed there.
  if (item.kind >= state_.opaque_types.size() ||
      (trust_ == Trust::stranger && !wire::may_be_external(item.kind, item.bytes))) {
    return malformed();
  }
  return new_opaque(state_, static_cast<wire::OpaqueKind>(item.kind),
                    {start, static_cast<std::size_t>(reader_.position() - start)});
}

PyObject* Decoder::handle(const wire::Item& item) {
  if (trust_ == Trust::stranger) return malformed();
  switch (static_cast<wire::HandleKind>(item.kind)) {
    case wire::HandleKind::channel:
      return new_channel_capsule(Ref<Channel>::borrow(static_cast<Channel*>(item.object)));
    case wire::HandleKind::stream:
      return new_buffer(state_, Ref<ByteStream>::borrow(static_cast<ByteStream*>(item.object)));
    default:
      return malformed();
  }
}

PyObject* Decoder::pinned(const wire::Item& item) {
  if (trust_ == Trust::stranger) return malformed();
  const auto& pinned = *static_cast<const wire::PinnedBytes*>(item.object);
  if (PyObject* const lent = LentBytes::object_of(pinned, state_.home))
    return PyRef::borrow(lent).take();
  const auto bytes = pinned.bytes();
  const bool is_binary = item.kind == static_cast<std::uint8_t>(wire::PinnedAs::binary);
  return is_binary ? str_or_bytes(bytes) : bytes_of(bytes);
}

}  // namespace

PyObject* atom_value(std::span<const std::uint8_t> utf8) {
  const std::string_view name{reinterpret_cast<const char*>(utf8.data()), utf8.size()};
  if (name == "true") return PyRef::borrow(Py_True).take();
  if (name == "false") return PyRef::borrow(Py_False).take();
  if (name == "nil" || name == "none" || name == "undefined") return PyRef::borrow(Py_None).take();
  PyObject* str = str_of(utf8);
  if (str != nullptr) PyUnicode_InternInPlace(&str);
  return str;
}

PyObject* decode(ModuleState& state, wire::Reader& reader, Trust trust) {
  return Decoder(state, reader, trust).run();
}

PyObject* decode(ModuleState& state, const Message& message) {
  wire::Reader reader(message.bytes());
  const Trust trust = message.is_foreign() ? Trust::stranger : Trust::own;
  PyRef value = PyRef::steal(decode(state, reader, trust));
  if (value && !reader.at_end()) return malformed();
  return value.take();
}

}  // namespace penstock::python
