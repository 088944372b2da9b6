// SPDX-License-Identifier: Apache-2.0
#include "identity.hpp"

#include <cstring>
#include <new>
#include <span>

#include "external.hpp"
#include "penstock/shim.hpp"

namespace penstock::nif {

namespace {

/// An object's peer: the numbers of its last known reference, from which the VM finds the living
/// reference again, or learns that it is gone, without a race against its collection. The numbers
/// alone, because a node may get a name, or another one, while the object lives.
///
/// Edges:
///   N1  unlock -> lock of lock_: the numbers.
class Identity final : public Object {
 public:
  /// Takes the lock for the life of this object.
  class Access {
   public:
    explicit Access(Identity& identity) noexcept : identity_(identity) {
      for (unsigned turn = 0; identity_.lock_.exchange(1, order::acquire("N1")) != 0; ++turn) {
        spin_pause(turn);
      }
    }
    ~Access() { identity_.lock_.store(0, order::release("N1")); }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

   private:
    Identity& identity_;
  };

  /// Hold Access, unless nobody else knows this object yet. False when memory ran out.
  [[nodiscard]] bool set(ErlNifEnv* env, ERL_NIF_TERM reference) noexcept {
    const External external(env, reference);
    const std::span<const std::uint8_t> numbers = numbers_of(external.bytes());
    if (numbers.empty() || numbers.size() > sizeof numbers_) return false;
    std::memcpy(numbers_, numbers.data(), numbers.size());
    size_ = numbers.size();
    return true;
  }

  /// The term that was set, as the VM knows it now: false if that is nothing any more. What it
  /// refers to is the caller's to check. Hold Access.
  [[nodiscard]] bool term(ErlNifEnv* env, ERL_NIF_TERM* term) const noexcept {
    if (size_ == 0) return false;
    // Any reference of this node says how the node calls itself at present.
    const External any(env, enif_make_ref(env));
    std::uint8_t bytes[kMaxReferenceBytes];
    std::size_t const size = any.bytes().size();
    if (numbers_of(any.bytes()).size() != size_ || size > sizeof bytes) return false;
    std::memcpy(bytes, any.bytes().data(), size - size_);
    std::memcpy(bytes + size - size_, numbers_, size_);
    return enif_binary_to_term(env, bytes, size, term, 0) != 0;
  }

 private:
  /// The end of a NEWER_REFERENCE_EXT: version, tag, count as u16, node, creation, count numbers.
  [[nodiscard]] static std::span<const std::uint8_t> numbers_of(
      std::span<const std::uint8_t> external) noexcept {
    constexpr std::uint8_t kNewerReference = 90;
    if (external.size() < 4 || external[1] != kNewerReference) return {};
    std::size_t const size = (std::size_t{external[2]} << 8 | external[3]) * 4;
    return size <= external.size() - 4 ? external.last(size) : std::span<const std::uint8_t>();
  }

  // 255 characters of node name, of up to 4 bytes, and 32 bytes of everything else.
  static constexpr std::size_t kMaxReferenceBytes = 255 * 4 + 36;

  Atomic<std::uint32_t> lock_{0};
  std::size_t size_ = 0;
  std::uint8_t numbers_[5 * 4];
};

/// The object's peer, made if need be. Throws bad_alloc.
Identity& identity_of(Addressable& object) {
  if (Object* peer = object.peer()) return static_cast<Identity&>(*peer);
  Ref<Object> made = Ref<Object>::steal(new Identity());
  (void)object.set_peer(made);  // If another thread was first, theirs is as good.
  return static_cast<Identity&>(*object.peer());
}

}  // namespace

bool remember_reference(ErlNifEnv* env, ERL_NIF_TERM reference, Addressable& object) noexcept {
  if (object.peer() != nullptr) return true;  // Whoever set it has written its numbers, or will.
  Ref<Object> made = Ref<Object>::steal(new (std::nothrow) Identity());
  if (!made) return false;
  if (!static_cast<Identity&>(*made).set(env, reference)) return false;
  (void)object.set_peer(made);
  return true;
}

ERL_NIF_TERM reference_to(ErlNifEnv* env, Addressable& object, IsReferenceTo is_reference_to,
                          MakeReference make_reference) {
  Identity& identity = identity_of(object);
  const Identity::Access access(identity);
  ERL_NIF_TERM term{};
  if (identity.term(env, &term) && is_reference_to(env, term, object)) return term;
  term = make_reference(env, object);
  if (!identity.set(env, term)) throw std::bad_alloc();
  return term;
}

}  // namespace penstock::nif
