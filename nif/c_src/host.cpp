// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>
#include <type_traits>

#include "atom_limit.hpp"
#include "atoms.hpp"
#include "codec.hpp"
#include "counters.hpp"
#include "external.hpp"
#include "penstock/wire.hpp"
#include "scratch.hpp"
#include "vm_domain.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

namespace {

/// The thread's environment for sending, empty at both ends of a scope.
class SendEnv {
 public:
  SendEnv() : env_(per_thread<Scratch>().send_env.get()) {}
  ~SendEnv() { enif_clear_env(env_); }
  SendEnv(const SendEnv&) = delete;
  SendEnv& operator=(const SendEnv&) = delete;
  [[nodiscard]] ErlNifEnv* get() const noexcept { return env_; }

 private:
  ErlNifEnv* const env_;
};

/// enif_send reaches local processes only; a process of ours sends on to other nodes.
Status forward(ErlNifEnv* env, ERL_NIF_TERM pid, ERL_NIF_TERM term) noexcept {
  ErlNifPid forwarder{};
  if (enif_whereis_pid(nullptr, atoms().py_forwarder, &forwarder) == 0) return Status::unreachable;
  const ERL_NIF_TERM request = enif_make_tuple3(env, atoms().penstock_forward, pid, term);
  return enif_send(nullptr, &forwarder, env, request) != 0 ? Status::ok : Status::unreachable;
}

Status send_term(ErlNifEnv* env, const wire::Item& pid, ERL_NIF_TERM term) noexcept {
  if (pid.tag == wire::kPidWord) {
    const ErlNifPid local{pid.word};
    return enif_send(nullptr, &local, env, term) != 0 ? Status::ok : Status::unreachable;
  }
  ERL_NIF_TERM remote{};
  if (pid.tag != wire::kOpaque || pid.kind != static_cast<std::uint8_t>(wire::OpaqueKind::pid) ||
      enif_binary_to_term(env, pid.bytes.data(), pid.bytes.size(), &remote,
                          ERL_NIF_BIN2TERM_SAFE) == 0 ||
      enif_is_pid(env, remote) == 0) {
    return Status::corrupt;
  }
  ErlNifPid local{};
  if (enif_get_local_pid(env, remote, &local) == 0) return forward(env, remote, term);
  return enif_send(nullptr, &local, env, term) != 0 ? Status::ok : Status::unreachable;
}

std::size_t latin1_to_utf8(std::span<const unsigned char> from, std::span<char> to) noexcept {
  std::size_t size = 0;
  for (const unsigned char c : from) {
    if (size + 2 > to.size()) return size;
    if (c < 0x80) {
      to[size++] = static_cast<char>(c);
    } else {
      to[size++] = static_cast<char>(0xC0 | c >> 6);
      to[size++] = static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  return size;
}

/// Names of the atoms that a thread sent to other processes last. Atoms are never forgotten.
class AtomNames {
 public:
  [[nodiscard]] std::string_view find(std::uint64_t word) const noexcept {
    const Entry& entry = entry_of(word);
    return entry.word == word ? std::string_view(entry.name, entry.size) : std::string_view();
  }
  void insert(std::uint64_t word, std::string_view name) noexcept {
    if (name.size() > kLongest) return;
    Entry& entry = const_cast<Entry&>(entry_of(word));
    entry.word = word;
    entry.size = static_cast<std::uint8_t>(name.copy(entry.name, kLongest));
  }

 private:
  static constexpr std::size_t kLongest = 55;
  struct Entry {
    std::uint64_t word = 0;  // No atom's.
    std::uint8_t size = 0;
    char name[kLongest];
  };
  [[nodiscard]] const Entry& entry_of(std::uint64_t word) const noexcept {
    return entries_[word / 64 % std::size(entries_)];  // The low bits say that it is an atom.
  }
  Entry entries_[64];
};

std::size_t find_atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept;

}  // namespace

VmHost& vm_host() noexcept {
  static_assert(std::is_trivially_destructible_v<VmHost>, "the VM halts while others still use it");
  static constinit VmHost host;
  return host;
}

Status VmHost::send(std::span<const std::uint8_t> pid, const Message& message,
                    const Channel* /*inbox*/) noexcept {
  try {
    wire::Item receiver{};
    if (wire::Reader(pid).next(receiver) != Status::ok) return Status::corrupt;
    const SendEnv env;
    ERL_NIF_TERM term{};
    if (const Status status = decode(env.get(), message, &term); status != Status::ok) {
      return status;
    }
    return send_term(env.get(), receiver, term);
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

Status VmHost::whereis(std::string_view name, Message& pid) noexcept {
  try {
    const SendEnv env;
    ERL_NIF_TERM atom{};
    ErlNifPid found{};
    if (!existing_atom(env.get(), name, &atom) || enif_whereis_pid(nullptr, atom, &found) == 0) {
      return Status::unreachable;
    }
    return wire::Writer(pid).pid_word(found.pid) ? Status::ok : Status::out_of_memory;
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

Status VmHost::atom(std::string_view utf8, std::uint64_t& word) noexcept {
  try {
    const SendEnv env;
    ERL_NIF_TERM atom{};
    const Status status = atom_from_utf8(env.get(), utf8, &atom);
    if (status == Status::ok) word = atom;
    return status;
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

/// Words come from other processes only once there is a domain.
bool VmHost::is_pid(std::uint64_t word) noexcept {
  const VmDomain* const domain = vm_domain_if_any();
  return domain != nullptr && wire::is_pid_like(word, domain->pid);
}

std::size_t VmHost::atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  AtomNames& names = per_thread<AtomNames>();
  if (const std::string_view known = names.find(word); !known.empty()) {
    *ok = known.size() <= name.size();
    return *ok ? known.copy(name.data(), name.size()) : 0;
  }
  std::size_t const size = find_atom_name(word, name, ok);
  if (*ok) names.insert(word, {name.data(), size});
  return size;
}

namespace {

std::size_t find_atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  *ok = false;
  try {
    const SendEnv env;
    const ERL_NIF_TERM atom = word;
    if (enif_is_atom(env.get(), atom) == 0) return 0;
    char latin1[256];
    const int length = enif_get_atom(env.get(), atom, latin1, sizeof latin1, ERL_NIF_LATIN1);
    if (length > 0) {
      *ok = true;
      const auto* const bytes = reinterpret_cast<const unsigned char*>(latin1);
      return latin1_to_utf8({bytes, static_cast<std::size_t>(length) - 1}, name);
    }
    // Other characters: version, SMALL_ATOM_UTF8_EXT or ATOM_UTF8_EXT, length of 1 or 2 bytes.
    const External external(env.get(), atom);
    std::size_t const head = external.bytes().size() > 2
                                 ? (external.bytes()[1] == wire::kSmallAtom ? 3U : 4U)
                                 : external.bytes().size();
    const auto utf8 = external.bytes().subspan(head);
    if (utf8.empty() || utf8.size() > name.size()) return 0;
    std::memcpy(name.data(), utf8.data(), utf8.size());
    *ok = true;
    return utf8.size();
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

}  // namespace

}  // namespace penstock::nif
