// SPDX-License-Identifier: Apache-2.0
// What another process may send in place of a frame or a term.
#include <algorithm>

#include "input.hpp"
#include "penstock/frame.hpp"
#include "penstock/portable.hpp"
#include "penstock/wire.hpp"

namespace penstock::fuzz {
namespace {

using wire::HandleKind;

struct Thing final : public Object {};

/// Knows some atoms, pids and calls.
class Ends final : public wire::Porter {
 public:
  std::size_t atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept override {
    *ok = word < 256;
    if (*ok) std::fill_n(name.data(), word, 'a');
    return *ok ? word : 0;
  }
  Status token_of(HandleKind kind, Object& object, std::uint64_t* token) noexcept override {
    if (kind != HandleKind::call || &object != call_.get()) return Status::not_shared;
    *token = kToken;
    return Status::ok;
  }
  Status object_of(HandleKind kind, std::uint64_t token, Ref<Object>* object) noexcept override {
    if (kind != HandleKind::call || token != kToken) return Status::corrupt;
    *object = Ref<Object>::borrow(call_.get());
    return Status::ok;
  }
  bool is_pid(std::uint64_t word) noexcept override { return wire::is_pid_like(word, 0x13); }

 private:
  static constexpr std::uint64_t kToken = 7;
  const Ref<Thing> call_ = Ref<Thing>::steal(new Thing);
};

bool is_equal(std::span<const std::uint8_t> one, std::span<const std::uint8_t> other) {
  return std::ranges::equal(one, other);
}

/// Reads each head, as every decoder does, and looks at what it says is there.
void read_all(std::span<const std::uint8_t> bytes) {
  wire::Reader reader(bytes);
  wire::Item item{};
  while (!reader.at_end() && reader.next(item) == Status::ok) {
    require(item.bytes.empty() ||
            (item.bytes.data() >= bytes.data() && item.bytes.size() <= bytes.size()));
    // An element is a byte at least: whoever reserves by the count reserves no more than came.
    if (item.tag == wire::kList || item.tag == wire::kLargeTuple || item.tag == wire::kMap) {
      require(item.count <= bytes.size());
    }
    touch(item.bytes);
  }
}

/// What is accepted is ours, no longer than what came, and leaves as it came.
void convert(std::span<const std::uint8_t> bytes) {
  Ends ends;
  Message ours;
  if (wire::from_portable(bytes, ends, ours) != Status::ok) return;
  require(ours.size() <= bytes.size());
  read_all(ours.bytes());
  Message out;
  require(wire::to_portable(ours.bytes(), ends, out) == Status::ok);
  Message back;
  require(wire::from_portable(out.bytes(), ends, back) == Status::ok);
  require(is_equal(back.bytes(), ours.bytes()));
}

/// The same from the other end: whatever we send is read there as we meant it.
void encode(Input input) {
  Ends ends;
  Message ours;
  wire::Writer writer(ours);
  bool is_fine = true;
  for (int count = 0; is_fine && count < 40 && !input.is_over(); ++count) {
    switch (input.byte() % 8) {
      case 0:
        is_fine = writer.integer(static_cast<std::int64_t>(input.word()));
        break;
      case 1:
        is_fine = writer.unsigned_integer(input.word());
        break;
      case 2:
        is_fine = writer.big_integer(input.byte() % 2 == 0, input.take(input.number(2) % 300));
        break;
      case 3:
        is_fine = writer.bytes(wire::kBinary, input.take(input.byte()));
        break;
      case 4:
        is_fine = writer.atom_word(input.byte());
        break;
      case 5: {
        const auto name = input.take(input.byte());
        is_fine = writer.atom({reinterpret_cast<const char*>(name.data()), name.size()});
        break;
      }
      case 6:
        is_fine = writer.floating(1.0 / (1.0 + input.byte()));
        break;
      default:
        is_fine = writer.list(1) && writer.integer(input.byte()) && writer.end_list();
    }
  }
  require(is_fine);
  Message out;
  require(wire::to_portable(ours.bytes(), ends, out) == Status::ok);
  Message back;
  require(wire::from_portable(out.bytes(), ends, back) == Status::ok);
  require(is_equal(back.bytes(), out.bytes()));
}

void read_as_frame(std::span<const std::uint8_t> bytes) {
  FrameHead head{};
  std::span<const std::uint8_t> rest;
  if (!read_frame(bytes, &head, &rest)) return;
  require(rest.size() + sizeof head == bytes.size());
  Message again;
  require(begin_frame(again, head.kind, head.id, head.detail));
  require(is_equal(again.bytes(), bytes.first(sizeof head)));
  convert(rest);
}

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock::fuzz;
  const std::span<const std::uint8_t> bytes(data, size);
  read_all(bytes);
  convert(bytes);
  read_as_frame(bytes);
  encode({data, size});
  return 0;
}
