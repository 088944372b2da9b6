// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "note.hpp"
#include "penstock/channel.hpp"
#include "penstock/domain.hpp"
#include "penstock/shared_queue.hpp"

namespace penstock::sharing {

/// The address of a socket. Throws system_error.
struct SocketAddress {
  explicit SocketAddress(const std::string& address);
  alignas(8) unsigned char bytes[128] = {};
  socklen_t size = 0;
};
/// Throws system_error.
[[nodiscard]] Descriptor new_socket();
[[noreturn]] void fail(int error, const std::string& what);

/// A socket that listens at an address, whose name goes with it.
///
/// Threads: any.
class Listener {
 public:
  Listener() = default;
  /// "": there is none. Throws system_error.
  explicit Listener(const std::string& address);
  ~Listener() { close(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Not to be used once somebody may close().
  [[nodiscard]] int socket() const noexcept { return socket_.get(); }
  void remove_name() noexcept;
  void close() noexcept;

 private:
  Descriptor socket_;
  std::string path_;     // "": none, or not ours any more.
  struct stat file_ {};  // What we made there.
};

/// One that is left when this goes.
struct OwnDomain {
  explicit OwnDomain(Ref<Domain> domain) noexcept : ref(std::move(domain)) {}
  ~OwnDomain() {
    if (ref) ref->leave();
  }
  OwnDomain(const OwnDomain&) = delete;
  OwnDomain& operator=(const OwnDomain&) = delete;
  Ref<Domain> ref;
};

/// Of processes without a VM. Lives as long as the process.
[[nodiscard]] wire::Porter& plain_porter() noexcept;

/// What the creator of a shared channel has beside it: process number 0 of its domain, which only
/// keeps the memory in order, and a thread that lets others in. The creator's own channel belongs
/// to number 1, as if it had come by the same way. Ends when that channel has gone and nobody else
/// is left.
///
/// Threads: any, but for those marked.
class Gathering final : public std::enable_shared_from_this<Gathering> {
 public:
  /// Throws system_error or bad_alloc.
  [[nodiscard]] static Ref<Channel> begin(const std::string& address, std::uint64_t max_size,
                                          Channel::Content content);
  /// Of a channel that this process created; empty: it did not.
  [[nodiscard]] static std::shared_ptr<Gathering> of(const Channel& channel);
  /// Throws system_error or bad_alloc.
  [[nodiscard]] Descriptor invite();
  static void remove_names() noexcept;

  Gathering(const std::string& address, std::uint64_t max_size, Channel::Content content);

 private:
  class Registry;
  /// Who has not been let in yet.
  struct Guest {
    Descriptor socket;
    std::int64_t deadline_ns;
    Descriptor process = {};  ///< Once it has said hello.
    pid_t pid = 0;
    bool is_done = false;
  };
  struct Member {
    Descriptor socket;  ///< None: it closed it, and may live.
    Descriptor process;
    unsigned number;
    bool is_done = false;
  };
  static constexpr std::int64_t kPatience_ns = 5'000'000'000;
  static constexpr std::int64_t kPause_ns = 100'000'000;  // Without descriptors to accept with.
  static constexpr std::size_t kMostGuests = 64;

  [[nodiscard]] Ref<Channel> own_channel();
  [[nodiscard]] static SharedQueue& queue_of(Channel& channel) noexcept {
    return static_cast<SharedQueue&>(*channel.shared());
  }
  void channel_gone(const Channel& channel) noexcept;
  void wake() noexcept;

  // Of the thread.
  void run();
  void end() noexcept;
  void take_news();
  void look();
  void accept_some();
  void forget_late_guests(std::int64_t now) noexcept;
  static void refuse(const Descriptor& socket, int error) noexcept;
  void hear(Guest& guest) noexcept;
  [[nodiscard]] int answer(Guest& guest, const ReceivedNote& said) noexcept;
  [[nodiscard]] int admit(Guest& guest) noexcept;
  void hear(Member& member) noexcept;
  void lose(Member& member) noexcept;

  Listener listener_;
  const Descriptor wake_;
  const OwnDomain domain_;
  const Ref<Channel> keeper_;

  std::mutex mutex_;  // Guards what follows.
  bool is_ending_ = false;
  std::vector<Descriptor> invited_;

  // Of the thread.
  std::int64_t accept_again_ns_ = 0;
  bool has_closed_ = false;
  std::vector<Guest> guests_;
  std::vector<Member> members_;
};

}  // namespace penstock::sharing
