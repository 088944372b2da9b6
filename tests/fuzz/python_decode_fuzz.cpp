// SPDX-License-Identifier: Apache-2.0
// What another process may send in place of a term, read into Python objects, and sent again.
#include <algorithm>
#include <utility>
#include <vector>

#include "decode.hpp"
#include "encode.hpp"
#include "ends.hpp"
#include "image.hpp"
#include "interpreter.hpp"
#include "lent_bytes.hpp"

namespace penstock::fuzz {
namespace {

using python::PyRef;

python::ModuleState& state() {
  static python::ModuleState& state = start_python();
  return state;
}

LinkEnd& link_end() {
  static auto& end = *new LinkEnd;
  return end;
}

/// Of the objects of a term. The most that a byte can ask for is an empty list of its own: 56 bytes
/// in Python 3.11, 16 of the garbage collector's, and 8 in the list around it. A dict that grows is
/// there twice for a while.
std::size_t most_bytes(std::size_t wire) { return 16'384 + 96 * wire; }

bool fill(Message& message, std::span<const std::uint8_t> bytes) {
  std::uint8_t* const room = message.extend(bytes.size());
  if (room != nullptr) std::ranges::copy(bytes, room);
  return room != nullptr;
}

bool is_equal(const Message& one, const Message& other) {
  return std::ranges::equal(one.bytes(), other.bytes());
}

/// What was read can be sent, but for keys that were different Python objects only, and comes back
/// as it was.
void send_and_read(PyObject* value) {
  Message sent;
  if (!python::encode(state(), sent, value)) return require_refusal(false);
  const PyRef back = PyRef::steal(decode(state(), sent));
  require(back && is_image(state(), value, back.get()));
  Message once;
  require(python::encode_whole(state(), once, back.get()));
  Message portable;
  require(wire::to_portable(sent.bytes(), link_end(), portable) == Status::ok);
  Message ours;
  require(wire::from_portable(portable.bytes(), link_end(), ours) == Status::ok);
  const PyRef again = PyRef::steal(decode(state(), ours));
  require(again && is_image(state(), back.get(), again.get()));
  Message twice;
  require(python::encode_whole(state(), twice, again.get()) && is_equal(once, twice));
}

PyRef decode_bounded(const Message& message) {
  // A table of Python's may grow meanwhile: not again.
  for (int tries = 0;; ++tries) {
    restart_peak();
    std::size_t const before = held().bytes;
    PyRef value = PyRef::steal(decode(state(), message));
    if (peak_bytes() - before <= most_bytes(message.size())) return value;
    require(tries == 0);
    PyErr_Clear();
  }
}

void read(const Message& message) {
  const PyRef value = decode_bounded(message);
  if (!value) return require_refusal(false);
  require(PyErr_Occurred() == nullptr);
  send_and_read(value.get());
}

/// As from a channel that processes share.
void read_from_stranger(std::span<const std::uint8_t> bytes) {
  Message message;
  require(fill(message, bytes));
  message.mark_foreign();
  read(message);
}

/// Bytes that lie elsewhere.
class Foreign final : public wire::PinnedBytes {
 public:
  explicit Foreign(std::span<const std::uint8_t> bytes) noexcept : PinnedBytes(bytes) {}
};

/// As a large binary of Erlang.
void read_pinned(std::span<const std::uint8_t> bytes) {
  const std::vector<std::uint8_t> memory(bytes.begin(), bytes.end());
  for (const wire::PinnedAs as :
       {wire::PinnedAs::binary, wire::PinnedAs::bytes_tuple, wire::PinnedAs::bytes}) {
    Message message;
    auto pinned = Ref<wire::PinnedBytes>::steal(new Foreign(memory));
    require(wire::Writer(message).pinned(as, std::move(pinned)));
    Message portable;
    require(wire::to_portable(message.bytes(), link_end(), portable) == Status::ok);
    const PyRef here = PyRef::steal(decode(state(), message));
    portable.mark_foreign();
    const PyRef there = PyRef::steal(decode(state(), portable));
    require(here && there && is_image(state(), here.get(), there.get()));
  }
}

/// As what a link brings.
void read_from_link(std::span<const std::uint8_t> bytes) {
  Message message;
  if (wire::from_portable(bytes, link_end(), message) == Status::ok) read(message);
}

bool has_map(const Message& message) {
  wire::Reader reader(message.bytes());
  wire::Item item{};
  while (!reader.at_end() && reader.next(item) == Status::ok) {
    if (item.tag == wire::kMap) return true;
  }
  return false;
}

/// But for dicts: without memory for the first entry, Python 3.11 leaks key and value
/// (insert_to_emptydict).
void read_without_memory(std::span<const std::uint8_t> bytes, unsigned countdown) {
  Message message;
  if (wire::from_portable(bytes, link_end(), message) != Status::ok || has_map(message)) return;
  const Failing failing(countdown);
  const PyRef value = PyRef::steal(decode(state(), message));
  if (!value) return require_refusal(true);
  Message sent;
  if (!python::encode(state(), sent, value.get())) require_refusal(true);
}

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  (void)penstock::fuzz::state();
  return 0;
}

/// Which allocation is the first that fails, 0 for none; and the term.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock::fuzz;
  Input input(data, size);
  std::uint8_t const countdown = input.byte();
  const std::span<const std::uint8_t> term = input.take(size);
  leaves_nothing(state(), [&] { read_from_stranger(term); });
  leaves_nothing(state(), [&] { read_from_link(term); });
  leaves_nothing(state(), [&] { read_pinned(term); });
  if (countdown != 0) {
    leaves_nothing(state(), [&] { read_without_memory(term, countdown); });
  }
  return 0;
}
