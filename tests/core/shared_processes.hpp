// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <thread>
#include <vector>

#include "penstock/shared_queue.hpp"
#include "penstock/wire.hpp"

/// Several "processes" in this one: each has a domain and a mapping of its own.
namespace penstock::test {

/// Atoms are their own names, and nothing else crosses.
class Names final : public wire::Porter {
 public:
  std::size_t atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept override {
    *ok = word < 10;
    name[0] = static_cast<char>('0' + word);
    return 1;
  }
  Status token_of(wire::HandleKind, Object&, std::uint64_t*) noexcept override {
    return Status::not_shared;
  }
  Status object_of(wire::HandleKind, std::uint64_t, Ref<Object>*) noexcept override {
    return Status::corrupt;
  }
  bool is_pid(std::uint64_t) noexcept override { return false; }
};

inline Names names;

struct Processes {
  explicit Processes(unsigned count, std::uint64_t max_size = 0,
                     Channel::Content content = Channel::Content::terms) {
    domains.push_back(Domain::create());
    channels.push_back(SharedQueue::create(domains[0], names, max_size, content));
    while (domains.size() < count) join();
  }
  ~Processes() {
    channels.clear();
    for (const Ref<Domain>& domain : domains) domain->leave();
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  unsigned join() {
    const unsigned number = domains[0]->admit().value();
    domains.push_back(Domain::join(dup(domains[0]->descriptor()), number));
    auto& queue = static_cast<SharedQueue&>(*channels[0]->shared());
#ifdef __SANITIZE_THREAD__
    // It takes two mappings of one memory for two, and sees no order between them.
    auto memory = queue.memory();
#else
    auto memory = SharedQueue::map(dup(queue.descriptor()), queue.shape());
#endif
    channels.push_back(
        SharedQueue::attach(domains.back(), names, std::move(memory), queue.shape()));
    return number;
  }
  Channel& operator[](std::size_t index) const { return *channels[index]; }

  std::vector<Ref<Domain>> domains;
  std::vector<Ref<Channel>> channels;
};

inline std::int64_t soon() { return now_ns() + 20'000'000'000; }

/// Until so many wait there, in that process.
inline void until_waiting_near(WaitList& line, std::uint32_t count) {
  while (line.waiting_near() != count) std::this_thread::yield();
}

/// Its memory, for who breaks the rules.
inline Segment memory_of(Channel& channel) {
  auto& queue = static_cast<SharedQueue&>(*channel.shared());
  return Segment::attach(dup(queue.descriptor()),
                         sizeof(SharedHeader) + MpscRing::bytes_for(queue.shape().capacity));
}
inline SharedHeader& header_of(const Segment& memory) {
  return *reinterpret_cast<SharedHeader*>(memory.memory().data());
}
inline MpscProducer producer_in(const Segment& memory, MpscRing::Owner owner) {
  return {memory.memory().subspan(sizeof(SharedHeader)), header_of(memory).capacity, owner};
}

}  // namespace penstock::test
