// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <new>

#include "atoms.hpp"
#include "channel_resource.hpp"
#include "codec.hpp"
#include "external.hpp"
#include "guard.hpp"
#include "identity.hpp"
#include "penstock/bytes.hpp"
#include "pinned.hpp"
#include "stream_resource.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

Encoder::~Encoder() {
  for (; depth_ > 0; --depth_) {
    Open& open = stack_[depth_ - 1];
    if (open.kind == Kind::map) enif_map_iterator_destroy(env_, &open.pairs);
  }
}

// Walking
// -----------------------------------------------------------------------------------------

Encoder::Outcome Encoder::term(ERL_NIF_TERM term) noexcept {
  const Outcome outcome = one(term);
  return outcome == Outcome::ok ? run() : outcome;
}

Encoder::Outcome Encoder::elements(const ERL_NIF_TERM* elements, std::uint32_t count) noexcept {
  const Outcome outcome = open(Kind::tuple, count);
  if (outcome != Outcome::ok) return outcome;
  stack_[depth_ - 1].elements = elements;
  return run();
}

Encoder::Outcome Encoder::run() noexcept {
  ERL_NIF_TERM term{};
  for (;;) {
    const Step step = next(&term);
    if (step != Step::term) return written(step == Step::done);
    if (const Outcome outcome = one(term); outcome != Outcome::ok) return outcome;
  }
}

Encoder::Step Encoder::next(ERL_NIF_TERM* term) noexcept {
  for (; depth_ > 0; --depth_) {
    Open& top = stack_[depth_ - 1];
    if (top.kind == Kind::map) {
      if (next_of_map(env_, top, term)) return Step::term;
      enif_map_iterator_destroy(env_, &top.pairs);
      continue;
    }
    if (top.begun < top.count) {
      if (top.kind == Kind::tuple) {
        *term = top.elements[top.begun];
      } else {
        (void)enif_get_list_cell(env_, top.tail, term, &top.tail);
      }
      ++top.begun;
      return Step::term;
    }
    if (top.kind == Kind::list && !writer_.end_list()) return Step::out_of_memory;
  }
  return Step::done;
}

bool Encoder::next_of_map(ErlNifEnv* env, Open& map, ERL_NIF_TERM* term) noexcept {
  ERL_NIF_TERM key{};
  ERL_NIF_TERM value{};
  if (!map.at_key) {
    if (map.begun == map.count) return false;
    if (map.begun > 0) (void)enif_map_iterator_next(env, &map.pairs);
    ++map.begun;
  }
  (void)enif_map_iterator_get_pair(env, &map.pairs, &key, &value);
  *term = map.at_key ? value : key;
  map.at_key = !map.at_key;
  return true;
}

Encoder::Outcome Encoder::open(Kind kind, std::uint32_t count) noexcept {
  if (depth_ == wire::kMaxDepth) return refuse(atoms().too_deep);
  if (!afford(count)) return Outcome::too_much_work;
  const bool inside_key = in_key();
  if (depth_ == capacity_ && !grow()) return Outcome::out_of_memory;
  Open& opened = stack_[depth_++];
  opened.kind = kind;
  opened.in_key = inside_key;
  opened.at_key = false;
  opened.begun = 0;
  opened.count = count;
  return Outcome::ok;
}

bool Encoder::grow() noexcept {
  std::uint32_t const capacity = std::min(capacity_ * 4, wire::kMaxDepth);
  std::unique_ptr<Open[]> larger(new (std::nothrow) Open[capacity]);
  if (!larger) return false;
  std::memcpy(larger.get(), stack_, depth_ * sizeof(Open));
  heap_ = std::move(larger);
  stack_ = heap_.get();
  capacity_ = capacity;
  return true;
}

bool Encoder::in_key() const noexcept {
  if (depth_ == 0) return false;
  const Open& top = stack_[depth_ - 1];
  return top.in_key || top.at_key;
}

bool Encoder::afford(std::uint32_t count) noexcept {
  if (count > affordable_) return go_on();
  affordable_ -= count;
  return true;
}

bool Encoder::afford_bytes(std::size_t bytes) noexcept {
  return bytes + message_.size() <= kMaxBytesAtOnce || go_on();
}

bool Encoder::go_on() noexcept {
  unlimited_ = unlimited_ || !on_normal_scheduler();
  return unlimited_;
}

Encoder::Outcome Encoder::refuse(ERL_NIF_TERM type) noexcept {
  refused_type_ = type;
  return Outcome::unsupported;
}

ERL_NIF_TERM Encoder::reason() noexcept {
  ERL_NIF_TERM path = enif_make_list(env_, 0);
  for (std::uint32_t level = depth_; level > 0; --level) {
    Open& open = stack_[level - 1];
    ERL_NIF_TERM step{};
    ERL_NIF_TERM value{};
    if (open.kind == Kind::map) {
      (void)enif_map_iterator_get_pair(env_, &open.pairs, &step, &value);
    } else {
      step = enif_make_uint(env_, open.begun);
    }
    path = enif_make_list_cell(env_, step, path);
  }
  return enif_make_tuple3(env_, atoms().unsupported, refused_type_, path);
}

// One term
// ----------------------------------------------------------------------------------------

Encoder::Outcome Encoder::one(ERL_NIF_TERM term) noexcept {
  switch (enif_term_type(env_, term)) {
    case ERL_NIF_TERM_TYPE_ATOM:
      return written(atom(term));
    case ERL_NIF_TERM_TYPE_PID:
      return pid(term);
    case ERL_NIF_TERM_TYPE_BITSTRING:
      return binary(term, wire::kBinary);
    case ERL_NIF_TERM_TYPE_TUPLE:
      return tuple(term);
    case ERL_NIF_TERM_TYPE_INTEGER:
      return integer(term);
    case ERL_NIF_TERM_TYPE_LIST:
      return list(term);
    case ERL_NIF_TERM_TYPE_MAP:
      return map(term);
    case ERL_NIF_TERM_TYPE_FLOAT: {
      double value{};
      (void)enif_get_double(env_, term, &value);
      return written(writer_.floating(value));
    }
    case ERL_NIF_TERM_TYPE_REFERENCE:
      return reference(term);
    case ERL_NIF_TERM_TYPE_PORT:
      return opaque(wire::OpaqueKind::port, term);
    case ERL_NIF_TERM_TYPE_FUN:
      // Its environment may be large.
      return go_on() ? opaque(wire::OpaqueKind::fun, term) : Outcome::too_much_work;
    default:
      return refuse(atoms().corrupt);
  }
}

bool Encoder::atom(ERL_NIF_TERM term) noexcept {
  const Atoms& known = atoms();
  if (term == known.true_) return writer_.tag(wire::kTrue);
  if (term == known.false_) return writer_.tag(wire::kFalse);
  if (term == known.none) return writer_.tag(wire::kNone);
  if (atoms_ == AtomsAs::words) return writer_.atom_word(term);
  char name[1020];
  bool ok = false;
  std::size_t const size = vm_host().atom_name(term, name, &ok);
  return ok && writer_.atom({name, size});
}

Encoder::Outcome Encoder::integer(ERL_NIF_TERM term) noexcept {
  ErlNifSInt64 small{};
  if (enif_get_int64(env_, term, &small) != 0) return written(writer_.integer(small));
  ErlNifUInt64 large{};
  if (enif_get_uint64(env_, term, &large) != 0) return written(writer_.unsigned_integer(large));
  if (!go_on()) return Outcome::too_much_work;  // It may have millions of digits.
  const External external(env_, term);
  // Version, SMALL_BIG_EXT or LARGE_BIG_EXT with a length of 1 or 4 bytes, sign, magnitude.
  const std::span<const std::uint8_t> bytes = external.bytes();
  if (bytes.empty()) return Outcome::out_of_memory;
  std::size_t const sign = bytes[1] == wire::kSmallBig ? 3 : 6;
  return written(writer_.big_integer(bytes[sign] != 0, bytes.subspan(sign + 1)));
}

Encoder::Outcome Encoder::binary(ERL_NIF_TERM term, wire::Tag as) noexcept {
  ErlNifBinary inspected{};
  if (enif_inspect_binary(env_, term, &inspected) == 0) return refuse(atoms().bitstring);
  if (inspected.size >= bytes::kReferThreshold) {
    Ref<wire::PinnedBytes> pinned = PinnedBinary::create(env_, term);
    if (!pinned) return Outcome::out_of_memory;
    return written(
        writer_.pinned(as == wire::kBinary ? wire::PinnedAs::binary : wire::PinnedAs::bytes_tuple,
                       std::move(pinned)));
  }
  if (!afford_bytes(inspected.size)) return Outcome::too_much_work;
  return written(writer_.bytes(as, {inspected.data, inspected.size}));
}

Encoder::Outcome Encoder::tuple(ERL_NIF_TERM term) noexcept {
  int arity{};
  const ERL_NIF_TERM* elements{};
  (void)enif_get_tuple(env_, term, &arity, &elements);
  if (arity == 2 && elements[0] == atoms().bytes && enif_is_binary(env_, elements[1]) != 0) {
    return binary(elements[1], wire::kBytesTuple);
  }
  const auto count = static_cast<std::uint32_t>(arity);
  if (const Outcome outcome = open(Kind::tuple, count); outcome != Outcome::ok) return outcome;
  stack_[depth_ - 1].elements = elements;
  return written(writer_.tuple(count));
}

Encoder::Outcome Encoder::list(ERL_NIF_TERM term) noexcept {
  if (in_key()) return refuse(atoms().unhashable_key);
  ERL_NIF_TERM head{};
  ERL_NIF_TERM tail = term;
  std::uint32_t length = 0;
  while (enif_get_list_cell(env_, tail, &head, &tail) != 0) {
    if (++length > affordable_ && !unlimited_ && !go_on()) return Outcome::too_much_work;
  }
  if (enif_is_empty_list(env_, tail) == 0) return refuse(atoms().improper_list);
  if (length == 0) return written(writer_.tag(wire::kNil));
  if (const Outcome outcome = open(Kind::list, length); outcome != Outcome::ok) return outcome;
  stack_[depth_ - 1].tail = term;
  return written(writer_.list(length));
}

Encoder::Outcome Encoder::map(ERL_NIF_TERM term) noexcept {
  if (in_key()) return refuse(atoms().unhashable_key);
  std::size_t size{};
  (void)enif_get_map_size(env_, term, &size);
  const auto count = static_cast<std::uint32_t>(size);
  if (!afford(count)) return Outcome::too_much_work;  // Keys, beside the values of open().
  if (const Outcome outcome = open(Kind::map, count); outcome != Outcome::ok) return outcome;
  if (enif_map_iterator_create(env_, term, &stack_[depth_ - 1].pairs, ERL_NIF_MAP_ITERATOR_FIRST) ==
      0) {
    --depth_;  // Without an iterator to destroy.
    return Outcome::out_of_memory;
  }
  return written(writer_.map(count));
}

Encoder::Outcome Encoder::pid(ERL_NIF_TERM term) noexcept {
  ErlNifPid local{};
  if (enif_get_local_pid(env_, term, &local) != 0) return written(writer_.pid_word(local.pid));
  return opaque(wire::OpaqueKind::pid, term);
}

Encoder::Outcome Encoder::reference(ERL_NIF_TERM term) noexcept {
  if (const auto* const channel = Resource<ChannelResource>::get(env_, term)) {
    return handle(wire::HandleKind::channel, term, channel->core());
  }
  if (const auto* const stream = Resource<StreamResource>::get(env_, term)) {
    return handle(wire::HandleKind::stream, term, stream->core());
  }
  return opaque(wire::OpaqueKind::reference, term);
}

Encoder::Outcome Encoder::handle(wire::HandleKind kind, ERL_NIF_TERM reference,
                                 Addressable& object) noexcept {
  if (!remember_reference(env_, reference, object)) return Outcome::out_of_memory;
  return written(writer_.handle(kind, Ref<Object>::borrow(&object)));
}

Encoder::Outcome Encoder::opaque(wire::OpaqueKind kind, ERL_NIF_TERM term) noexcept {
  const External external(env_, term);
  if (external.bytes().empty()) return Outcome::out_of_memory;
  if (!afford_bytes(external.bytes().size())) return Outcome::too_much_work;
  return written(writer_.opaque(kind, external.bytes()));
}

}  // namespace penstock::nif
