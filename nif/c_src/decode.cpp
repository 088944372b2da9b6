// SPDX-License-Identifier: Apache-2.0
#include <new>
#include <string_view>
#include <vector>

#include "atom_limit.hpp"
#include "atoms.hpp"
#include "call.hpp"
#include "channel_resource.hpp"
#include "codec.hpp"
#include "foreign_binary.hpp"
#include "identity.hpp"
#include "penstock/portable.hpp"
#include "penstock/wire_reader.hpp"
#include "scratch.hpp"
#include "stream_resource.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

namespace {

using wire::Item;

/// More than this is given back after use, so that one huge message does not cost its memory for
/// ever on every thread that saw one.
constexpr std::size_t kKeptTerms = 64 * 1024;

class Decoder {
 public:
  Decoder(ErlNifEnv* env, const Message& message, Scratch& scratch) noexcept
      : env_(env),
        reader_(message.bytes()),
        is_foreign_(message.is_foreign()),
        terms_(scratch.terms),
        open_(scratch.open) {
    terms_.clear();
    open_.clear();
  }

  Status run(ERL_NIF_TERM* term) {
    for (;;) {
      Item item{};
      if (reader_.next_inlined(item) != Status::ok) return Status::corrupt;
      bool complete = true;
      if (const Status status = begin(item, term, &complete); status != Status::ok) return status;
      while (complete) {
        if (open_.empty()) return reader_.at_end() ? Status::ok : Status::corrupt;
        terms_.push_back(*term);
        if (--open_.back().missing > 0) break;
        if (!close(term)) return Status::corrupt;
      }
    }
  }

 private:
  /// Makes a scalar's term, or opens a container and says that it is not complete.
  Status begin(const Item& item, ERL_NIF_TERM* term, bool* complete) {
    if (is_foreign_ && !may_come_from_elsewhere(item)) return Status::corrupt;
    switch (item.tag) {
      case wire::kSmallTuple:
      case wire::kLargeTuple:
      case wire::kList:
      case wire::kMap:
        return open(item, term, complete);
      case wire::kSmallAtom:
      case wire::kAtom:
        return atom(item, term);
      case wire::kSmallBig:
      case wire::kLargeBig:
        return big_integer(item, term) ? Status::ok : Status::corrupt;
      case wire::kOpaque:
        // They all come from here, so nothing in them is new; from a worker they may be anything.
        if (!wire::may_be_external(item.kind, item.bytes)) return Status::corrupt;
        return enif_binary_to_term(env_, item.bytes.data(), item.bytes.size(), term,
                                   ERL_NIF_BIN2TERM_SAFE) == item.bytes.size()
                   ? Status::ok
                   : Status::corrupt;
      case wire::kHandle:
        return handle(item, term);
      default:
        return scalar(item, term) ? Status::ok : Status::corrupt;
    }
  }

  /// What has a meaning only where it was written is not to be followed.
  static bool may_come_from_elsewhere(const Item& item) noexcept {
    switch (item.tag) {
      case wire::kAtomWord:
      case wire::kHandle:
      case wire::kPinned:
        return false;
      case wire::kPidWord:
        return vm_host().is_pid(item.word);
      default:
        return true;
    }
  }

  bool scalar(const Item& item, ERL_NIF_TERM* term) {
    switch (item.tag) {
      case wire::kTrue:
        *term = atoms().true_;
        return true;
      case wire::kFalse:
        *term = atoms().false_;
        return true;
      case wire::kNone:
        *term = atoms().none;
        return true;
      case wire::kAtomWord:
      case wire::kPidWord:
        *term = item.word;  // Both are words that are valid in every environment.
        return true;
      case wire::kSmallInteger:
      case wire::kInteger:
        *term = enif_make_int64(env_, item.integer);
        return true;
      case wire::kFloat:
        *term = enif_make_double(env_, item.floating);
        return true;
      case wire::kNil:
        *term = enif_make_list(env_, 0);
        return true;
      case wire::kBinary:
      case wire::kBytes:
        *term = copied_binary(env_, item.bytes);
        return true;
      case wire::kBytesTuple:
        *term = enif_make_tuple2(env_, atoms().bytes, copied_binary(env_, item.bytes));
        return true;
      case wire::kPinned:
        *term = pinned(item);
        return true;
      default:
        return false;
    }
  }

  Status atom(const Item& item, ERL_NIF_TERM* term) noexcept {
    const std::string_view name(reinterpret_cast<const char*>(item.bytes.data()),
                                item.bytes.size());
    const Status status = atom_from_utf8(env_, name, term);
    return status == Status::too_large ? Status::corrupt : status;
  }

  Status handle(const Item& item, ERL_NIF_TERM* term) {
    switch (static_cast<wire::HandleKind>(item.kind)) {
      case wire::HandleKind::channel:
      case wire::HandleKind::inbox:
        *term = reference_to<ChannelResource>(env_, static_cast<Channel&>(*item.object));
        return Status::ok;
      case wire::HandleKind::stream:
        *term = reference_to<StreamResource>(env_, static_cast<ByteStream&>(*item.object));
        return Status::ok;
      case wire::HandleKind::call:
        // Every Call of this process is one of ours.
        *term = Resource<CallResource>::make(
                    Ref<NifCall>::borrow(static_cast<NifCall*>(static_cast<Call*>(item.object))))
                    .term(env_);
        return Status::ok;
      default:
        return Status::corrupt;
    }
  }

  ERL_NIF_TERM pinned(const Item& item) {
    const ERL_NIF_TERM term = binary_of(env_, static_cast<wire::PinnedBytes&>(*item.object));
    return item.kind == static_cast<std::uint8_t>(wire::PinnedAs::bytes_tuple)
               ? enif_make_tuple2(env_, atoms().bytes, term)
               : term;
  }

  /// Of any size: as external term format, which the VM reads.
  bool big_integer(const Item& item, ERL_NIF_TERM* term) {
    std::size_t const size = item.bytes.size();
    std::vector<std::uint8_t> external{131,
                                       wire::kLargeBig,
                                       static_cast<std::uint8_t>(size >> 24),
                                       static_cast<std::uint8_t>(size >> 16),
                                       static_cast<std::uint8_t>(size >> 8),
                                       static_cast<std::uint8_t>(size),
                                       item.kind};
    external.insert(external.end(), item.bytes.begin(), item.bytes.end());
    return enif_binary_to_term(env_, external.data(), external.size(), term, 0) != 0;
  }

  Status open(const Item& item, ERL_NIF_TERM* term, bool* complete) {
    const bool is_map = item.tag == wire::kMap;
    if (item.count == 0) {
      if (item.tag == wire::kList) return Status::corrupt;
      *term = is_map ? enif_make_new_map(env_) : enif_make_tuple_from_array(env_, nullptr, 0);
      return Status::ok;
    }
    if (open_.size() == wire::kMaxDepth) return Status::corrupt;
    // The reader has checked that so many elements can be there: no overflow, no huge reserve.
    std::uint32_t const missing = is_map ? item.count * 2 : item.count;
    open_.push_back({item.tag, missing, missing});
    *complete = false;
    return Status::ok;
  }

  /// Makes the innermost container of its terms, which are the last ones.
  bool close(ERL_NIF_TERM* term) {
    const Scratch::Open container = open_.back();
    open_.pop_back();
    const ERL_NIF_TERM* const first = terms_.data() + (terms_.size() - container.count);
    if (container.tag == wire::kList) {
      if (!reader_.end_list()) return false;
      *term = enif_make_list_from_array(env_, first, container.count);
    } else if (container.tag == wire::kMap) {
      if (!make_map(container.count / 2, term)) return false;
    } else {
      *term = enif_make_tuple_from_array(env_, first, container.count);
    }
    terms_.resize(terms_.size() - container.count);
    return true;
  }

  /// The last terms are key, value, key, value...; the VM wants all keys, then all values.
  bool make_map(std::size_t pairs, ERL_NIF_TERM* term) {
    std::size_t const first = terms_.size() - 2 * pairs;
    std::size_t const keys = terms_.size();
    terms_.resize(keys + 2 * pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
      terms_[keys + i] = terms_[first + 2 * i];
      terms_[keys + pairs + i] = terms_[first + 2 * i + 1];
    }
    const bool distinct =
        enif_make_map_from_arrays(env_, &terms_[keys], &terms_[keys + pairs], pairs, term) != 0;
    terms_.resize(keys);
    return distinct;
  }

  ErlNifEnv* const env_;
  wire::Reader reader_;
  const bool is_foreign_;
  std::vector<ERL_NIF_TERM>& terms_;
  std::vector<Scratch::Open>& open_;
};

}  // namespace

Status decode(ErlNifEnv* env, const Message& message, ERL_NIF_TERM* term) noexcept {
  try {
    Scratch& scratch = per_thread<Scratch>();
    const Status status = Decoder(env, message, scratch).run(term);
    if (scratch.terms.capacity() > kKeptTerms) std::vector<ERL_NIF_TERM>().swap(scratch.terms);
    return status;
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

}  // namespace penstock::nif
