// SPDX-License-Identifier: Apache-2.0
// Any Python object, sent and read again: what arrives is what was sent, or there is an error.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "decode.hpp"
#include "encode.hpp"
#include "ends.hpp"
#include "image.hpp"
#include "interpreter.hpp"
#include "objects.hpp"
#include "penstock/host.hpp"

namespace penstock::fuzz {
namespace {

using python::PyRef;

/// Has a table of atoms, as the VM has.
class Atoms final : public Host {
 public:
  [[nodiscard]] Status send(std::span<const std::uint8_t>, const Message&,
                            const Channel*) noexcept override {
    return Status::unreachable;
  }
  [[nodiscard]] Status whereis(std::string_view, Message&) noexcept override {
    return Status::unreachable;
  }
  /// The last character of a new atom says what becomes of it.
  [[nodiscard]] Status atom(std::string_view utf8, std::uint64_t& word) noexcept override {
    const auto [found, is_new] = words_.try_emplace(std::string(utf8), names_.size() << 6 | 0xB);
    if (is_new) {
      if (utf8.ends_with('L') || utf8.ends_with('M') || utf8.ends_with('N')) {
        words_.erase(found);
        return utf8.back() == 'L'   ? Status::limit
               : utf8.back() == 'M' ? Status::out_of_memory
                                    : Status::too_large;
      }
      names_.push_back(&found->first);
    }
    word = found->second;
    return Status::ok;
  }
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override {
    std::uint64_t const index = word >> 6;
    *ok = (word & 0x3F) == 0xB && index < names_.size();
    if (!*ok) return 0;
    std::ranges::copy(*names_[index], name.begin());
    return names_[index]->size();
  }
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override {
    return wire::is_pid_like(word, 0x13);
  }

 private:
  std::map<std::string, std::uint64_t> words_;
  std::vector<const std::string*> names_;
};

struct World {
  python::ModuleState& state = start_python();
  LinkEnd end;
  Objects objects{state, end};
  Atoms atoms;
};

World& world() {
  static World& world = *new World;
  return world;
}

enum class Way : std::uint8_t { lending, whole, reply };

bool encode(Message& message, PyObject* object, Way way) {
  python::ModuleState& state = world().state;
  switch (way) {
    case Way::lending:
      return python::encode(state, message, object);
    case Way::whole:
      return python::encode_whole(state, message, object);
    default:
      return python::encode_reply(state, message, object);
  }
}

/// A list that changed, an object without attributes, and what user code raises are further ones.
void require_error() {
  require(PyErr_Occurred() != nullptr);
  if (PyErr_ExceptionMatches(PyExc_RuntimeError) != 0) return PyErr_Clear();
  require_refusal(true);
}

/// Another process reads the same.
void pass_on(const Message& sent, PyObject* read) {
  python::ModuleState& state = world().state;
  Message portable;
  require(wire::to_portable(sent.bytes(), world().end, portable) == Status::ok);
  Message ours;
  require(wire::from_portable(portable.bytes(), world().end, ours) == Status::ok);
  const PyRef there = PyRef::steal(python::decode(state, ours));
  require(there && is_image(state, read, there.get()));
  // Not every stranger may name what a link may. No term is more than it was.
  portable.mark_foreign();
  const PyRef theirs = PyRef::steal(python::decode(state, portable));
  if (!theirs) return require_refusal(false);
  require(is_image(state, read, theirs.get()));
}

/// False: it is refused, for a good reason.
bool send(PyObject* object, Way way, std::uint8_t countdown, Message& sent) {
  const Failing failing(countdown);
  if (encode(sent, object, way)) {
    require(PyErr_Occurred() == nullptr);
    return true;
  }
  require_error();
  return false;
}

/// Around what is as deep as can be, it is too deep.
void read_deeper(const Message& sent) {
  if (sent.size() < wire::kMaxDepth) return;
  Message deeper;
  require(wire::Writer(deeper).tuple(1));
  std::uint8_t* const room = deeper.extend(sent.size());
  require(room != nullptr);
  std::ranges::copy(sent.bytes(), room);
  deeper.mark_foreign();
  const PyRef read = PyRef::steal(python::decode(world().state, deeper));
  if (!read) require_refusal(false);
}

void check(PyObject* object, Way way, std::uint8_t countdown) {
  python::ModuleState& state = world().state;
  Message sent;
  if (!send(object, way, countdown, sent)) return;
  const PyRef read = PyRef::steal(python::decode(state, sent));
  // A list is no key of a dict, though one that hides in an object may be.
  if (!read) return require_refusal(false);
  const bool is_changed = world().objects.is_wild() || way == Way::reply;
  require(is_changed || is_image(state, object, read.get()));
  pass_on(sent, read.get());
  read_deeper(sent);
  Message once;
  require(python::encode_whole(state, once, read.get()));
  const PyRef again = PyRef::steal(python::decode(state, once));
  require(again && is_image(state, read.get(), again.get()));
  Message twice;
  require(python::encode_whole(state, twice, again.get()));
  require(std::ranges::equal(once.bytes(), twice.bytes()));
}

void one(Input input, Way way, std::uint8_t countdown) {
  Objects& objects = world().objects;
  {
    const PyRef object = objects.make(input);
    check(object.get(), way, countdown);
  }
  objects.forget();
}

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  penstock::set_host(&penstock::fuzz::world().atoms);
  return 0;
}

/// How it is sent; which allocation is the first that fails, 0 for none; and the object.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock::fuzz;
  Input input(data, size);
  const auto way = static_cast<Way>(input.byte() % 3);
  std::uint8_t const countdown = input.byte();
  leaves_nothing(world().state, [&] { one(input, way, 0); });
  if (countdown != 0) leaves_nothing(world().state, [&] { one(input, way, countdown); });
  return 0;
}
