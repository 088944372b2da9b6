// SPDX-License-Identifier: Apache-2.0
#include "victim.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <new>
#include <string_view>
#include <thread>
#include <vector>

#include "eventually.hpp"
#include "hook.hpp"
#include "link_victim.hpp"
#include "penstock/bytes.hpp"
#include "penstock/sharing.hpp"
#include "stream_victim.hpp"

namespace penstock::kill {

namespace {

std::int64_t soon() { return now_ns() + 60'000'000'000; }

Report& map_report() {
  void* const page =
      mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED, kReportDescriptor, 0);
  if (page == MAP_FAILED) std::abort();
  return *std::launder(static_cast<Report*>(page));
}

void wait_for_go(const Report& report, std::uint64_t step) {
  while (report.go.load() < step) sched_yield();
}

class Victim {
 public:
  Victim(Report& report, Channel& channel, const Script& script)
      : report_(report), channel_(channel), script_(script) {}

  void run() {
    const std::string_view name = script_.name;
    if (name.starts_with("send")) return send();
    if (name == "receive_in_place") return receive_in_place();
    if (name.starts_with("receive")) return receive();
    if (name.starts_with("work")) return work();
    if (name == "guest_joins") return come_and_go();
    if (name == "guest_survives" || name.starts_with("guest_gathers")) return send_and_stay();
    if (name == "close") close();
  }

 private:
  void send() {
    channel_.add_sender();
    for (std::uint64_t index = 0; index < script_.steps; ++index) send_one(index);
    channel_.remove_sender();
  }
  void receive() {
    std::uint64_t const most = std::min<std::uint64_t>(script_.steps, Report::kMostReceived);
    for (std::uint64_t index = 0; index < most; ++index) {
      Message message;
      receive_one(index, message);
    }
    while (most < script_.steps) pause();
  }
  /// Both, until it is killed.
  void work() {
    std::thread([this] { Victim(report_, channel_, script_).receive(); }).detach();
    send();
  }
  /// Several at a time, which are given back in another order.
  void receive_in_place() {
    Message held[2];
    receive_one(0, held[0]);
    if (bytes::view(held[0]).pinned == nullptr) report_.failures.fetch_add(1);
    receive_one(1, held[1]);
    drop(0, held[0]);
    receive_one(2, held[0]);
    drop(1, held[1]);
    receive_one(3, held[1]);
    drop(2, held[0]);
    drop(3, held[1]);
  }
  void come_and_go() {
    send();
    wait_for_go(report_, script_.steps + 1);
    receive();
  }
  /// And stays until somebody says that it may go.
  void send_and_stay() {
    send();
    wait_for_go(report_, script_.steps + 1);
  }
  void close() {
    channel_.add_sender();
    send_one(0);
    wait_for_go(report_, 2);
    channel_.close();
  }

  void send_one(std::uint64_t index) {
    wait_for_go(report_, index + 1);
    Message message;
    ThreadWaiter::Wake woken{};
    const bool is_written = write(message, number_of(kVictim, index), script_.size(index));
    report_.begun.store(index + 1);
    if (is_written && channel_.send(message, soon(), me_, &woken) == Status::ok) {
      report_.sent.store(index + 1);
    } else {
      report_.failures.fetch_add(1);
    }
  }
  void receive_one(std::uint64_t index, Message& message) {
    wait_for_go(report_, index + 1);
    message.take_in_place();
    ThreadWaiter::Wake woken{};
    if (channel_.receive(message, soon(), me_, &woken) == Status::ok) {
      report_.numbers[index] = read(message);
      report_.received.store(index + 1);
    } else {
      report_.failures.fetch_add(1);
    }
  }

  /// Nobody has written there meanwhile.
  void drop(std::uint64_t index, Message& message) {
    if (read(message) != report_.numbers[index]) report_.failures.fetch_add(1);
    message.clear();
  }

  Report& report_;
  Channel& channel_;
  const Script& script_;
  ThreadWaiter me_;
};

std::size_t small(std::uint64_t index) { return 8 + index * 300; }
std::size_t mixed(std::uint64_t index) { return 8 + index * 37 % 900; }
std::size_t kilobyte(std::uint64_t /*index*/) { return 1000; }
/// Records of several blocks, until the ring comes round.
std::size_t large(std::uint64_t index) { return 66'000 + index * 30'000; }

/// And some that may be read where they lie.
std::size_t any(std::uint64_t index) {
  constexpr std::size_t kSizes[] = {8, 10'000, 66'000, 126'000, 500};
  return kSizes[index % std::size(kSizes)];
}

/// Three of them may be read where they lie.
std::size_t in_place(std::uint64_t /*index*/) { return 10'000; }

constexpr std::uint64_t kForEver = ~std::uint64_t{0};

constexpr Script kScripts[] = {
    {"send", 1024, 3, small},
    {"send_for_ever", 1024, kForEver, mixed},
    {"send_large", 150'000, 3, large},
    {"send_last", 1024, 3, small},
    {"send_full", 1024, 3, kilobyte},
    {"close", 1024, 2, small},
    {"receive", 1024, 3, kilobyte},
    {"receive_large", 150'000, 3, large},
    {"receive_full", 1024, 3, kilobyte},
    {"receive_asleep", 1024, 3, small},
    {"receive_in_place", 20'000, 4, in_place},
    {"receive_for_ever", 1024, kForEver, mixed},
    {"guest_joins", 1024, 2, small},
    {"guest_survives", 1024, 1, small},
    {"guest_gathers", 1024, 3, small},
    {"guest_gathers_at_path", 1024, 3, small},
    {"work_for_ever", 1024, kForEver, mixed},
    {"work_large_for_ever", 150'000, kForEver, any},
};

Ref<Channel> shared_channel(const Script& script, unsigned number, std::uint64_t capacity) {
  const SharedShape shape{
      .capacity = capacity, .max_size = script.max_size, .content = SharedShape::kBytes};
  const Ref<Domain> domain = Domain::join(kFirstDescriptor, number);
  return SharedQueue::attach(domain, porter(), SharedQueue::map(kSecondDescriptor, shape), shape);
}

Ref<Channel> guest_channel(std::string_view name, std::uint64_t number) {
  const std::string address = guest_address(name, number);
  if (!name.starts_with("guest_gathers")) return sharing::connect(address, {soon()});
  return sharing::create(address, 1024, Channel::Content::bytes);
}

/// Once the threads that the channel had are gone, and so have said what they had to say.
bool is_alone() {
  return eventually([] {
    const std::filesystem::directory_iterator threads("/proc/self/task");
    return std::distance(begin(threads), end(threads)) == 1;
  });
}

}  // namespace

std::string guest_address(std::string_view script, std::uint64_t number) {
  const bool is_path = script.ends_with("_at_path");
  return (is_path ? "/tmp/penstock-kill-" : "@penstock-kill-") + std::to_string(number);
}

const Script* script_named(const char* name) {
  for (const Script& script : kScripts) {
    if (std::strcmp(script.name, name) == 0) return &script;
  }
  return nullptr;
}

int victim_main(int count, char** words) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (count < 7) return 2;
  const std::string_view name = words[0];
  Target target{std::strtoull(words[1], nullptr, 10), {}, std::strtoull(words[3], nullptr, 10)};
  (void)std::snprintf(target.place.text, sizeof target.place.text, "%s", words[2]);
  const Fate fate = std::string_view(words[4]) == "dies" ? Fate::dies : Fate::stops;
  const auto number = static_cast<unsigned>(std::strtoul(words[5], nullptr, 10));
  Report& report = map_report();
  if (name.starts_with("link_")) link_victim(name, report, target, fate);
  std::uint64_t const capacity = std::strtoull(words[6], nullptr, 10);
  if (name.starts_with("stream_")) stream_victim(name, report, target, fate, number, capacity);
  const Script* const script = script_named(words[0]);
  if (script == nullptr) return 2;
  const bool is_guest = name.starts_with("guest_");
  if (is_guest) arm(report, target, fate);
  Ref<Channel> channel =
      is_guest ? guest_channel(name, capacity) : shared_channel(*script, number, capacity);
  if (!is_guest) arm(report, target, fate);
  Victim(report, *channel, *script).run();
  channel = {};
  if (is_guest && !is_alone()) report.failures.fetch_add(1);
  _exit(report.failures.load() == 0 ? 0 : 1);
}

std::vector<std::string> target_words(const Target& target, Fate fate) {
  return {std::to_string(target.access), target.place.text, std::to_string(target.hit),
          fate == Fate::dies ? "dies" : "stops"};
}

wire::Porter& porter() noexcept {
  static wire::ValuePorter values(0);
  return values;
}

namespace {

/// Which no piece and no granule divides; the longest message fits, wherever it begins.
const std::vector<std::uint8_t>& pattern() {
  static const std::vector<std::uint8_t> bytes = [] {
    constexpr std::size_t kPeriod = 4099;
    std::vector<std::uint8_t> made(kPeriod);
    std::uint32_t state = 1;
    for (std::uint8_t& byte : made) {
      byte = static_cast<std::uint8_t>((state = state * 1'664'525 + 1'013'904'223) >> 24);
    }
    made.resize(300 * kPeriod);
    for (std::size_t at = kPeriod; at < made.size(); at += kPeriod) {
      std::memcpy(&made[at], made.data(), kPeriod);
    }
    return made;
  }();
  return bytes;
}

std::span<const std::uint8_t> pattern_of(std::uint64_t number, std::size_t size) {
  return std::span(pattern()).subspan(number % 1009, size);
}

}  // namespace

bool write(Message& message, std::uint64_t number, std::size_t size) {
  std::uint8_t* const room = message.extend(size);
  if (room == nullptr) return false;
  std::memcpy(room, &number, sizeof number);
  const auto rest = pattern_of(number, size - sizeof number);
  if (!rest.empty()) std::memcpy(room + sizeof number, rest.data(), rest.size());
  return true;
}

std::uint64_t read(const Message& message) {
  const std::span<const std::uint8_t> data = bytes::view(message).bytes;
  std::uint64_t number = ~std::uint64_t{0};
  if (data.size() < sizeof number) return number;
  std::memcpy(&number, data.data(), sizeof number);
  const bool is_whole = std::ranges::equal(data.subspan(sizeof number),
                                           pattern_of(number, data.size() - sizeof number));
  return is_whole ? number : ~std::uint64_t{0};
}

}  // namespace penstock::kill
