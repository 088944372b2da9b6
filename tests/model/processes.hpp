// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "explorer.hpp"
#include "penstock/shared_queue.hpp"
#include "penstock/shared_stream.hpp"

/// Several "processes" in a scenario: each has a domain, and a channel or a stream of its own over
/// the same memory. Their threads that listen are run by scenarios in which somebody sleeps; in the
/// others they find at the end that their process is left.
namespace penstock::model {

/// Nothing but bytes crosses.
class NoTerms final : public wire::Porter {
 public:
  std::size_t atom_name(std::uint64_t, std::span<char>, bool* ok) noexcept override {
    *ok = false;
    return 0;
  }
  Status token_of(wire::HandleKind, Object&, std::uint64_t*) noexcept override {
    return Status::not_shared;
  }
  Status object_of(wire::HandleKind, std::uint64_t, Ref<Object>*) noexcept override {
    return Status::corrupt;
  }
  bool is_pid(std::uint64_t) noexcept override { return false; }
};
inline NoTerms no_terms;

class Domains {
 public:
  explicit Domains(unsigned count) {
    domains_.push_back(Domain::create());
    while (domains_.size() < count) (void)join();
  }
  ~Domains() {
    for (unsigned number = 0; number < domains_.size(); ++number) {
      domains_[number]->leave();
      if (listened_[number] == 0) run_started(number);
    }
  }
  Domains(const Domains&) = delete;
  Domains& operator=(const Domains&) = delete;

  unsigned join() {
    const unsigned number = domains_[0]->admit().value();
    domains_.push_back(Domain::join(domains_[0]->descriptor(), number));
    return number;
  }
  const Ref<Domain>& operator[](std::size_t number) const { return domains_[number]; }
  [[nodiscard]] std::size_t count() const { return domains_.size(); }

  /// The thread of that process which listens, until leave().
  void listen(unsigned number) {
    listened_[number] = 1;
    run_started(number);
  }

 private:
  std::vector<Ref<Domain>> domains_;
  std::array<std::uint32_t, Domain::kMost> listened_{};
};

/// A channel of raw bytes.
class Channels {
 public:
  Channels(Domains& domains, std::uint64_t max_size) {
    channels_.push_back(
        SharedQueue::create(domains[0], no_terms, max_size, Channel::Content::bytes));
    while (channels_.size() < domains.count()) attach(domains[channels_.size()]);
  }
  void attach(const Ref<Domain>& domain) {
    SharedQueue& first = queue(0);
    channels_.push_back(SharedQueue::attach(
        domain, no_terms, SharedQueue::map(first.descriptor(), first.shape()), first.shape()));
  }
  Channel& operator[](std::size_t number) const { return *channels_[number]; }
  /// Of a process that may have died: nobody destroys it.
  void abandon(std::size_t number) { (void)channels_[number].take(); }
  [[nodiscard]] SharedQueue& queue(std::size_t number) const {
    return static_cast<SharedQueue&>(*channels_[number]->shared());
  }
  /// For who does by hand what a process does that dies.
  [[nodiscard]] MpscProducer producer_of(unsigned process) const {
    return {queue(0).memory()->memory().subspan(sizeof(SharedHeader)), queue(0).shape().capacity,
            static_cast<MpscRing::Owner>(process + 1)};
  }

 private:
  std::vector<Ref<Channel>> channels_;
};

class Streams {
 public:
  Streams(Domains& domains, const ByteStream::Options& options) {
    streams_.push_back(SharedStream::create(domains[0], no_terms, options));
    const auto& first = static_cast<const SharedStream&>(*streams_[0]->shared_memory());
    while (streams_.size() < domains.count()) {
      streams_.push_back(SharedStream::attach(domains[streams_.size()], no_terms,
                                              SharedStream::map(first.descriptor(), first.shape()),
                                              first.shape()));
    }
  }
  ByteStream& operator[](std::size_t number) const { return *streams_[number]; }
  /// As of a channel.
  void abandon(std::size_t number) { (void)streams_[number].take(); }

 private:
  std::vector<Ref<ByteStream>> streams_;
};

}  // namespace penstock::model
