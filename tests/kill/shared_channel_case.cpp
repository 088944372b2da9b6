// SPDX-License-Identifier: Apache-2.0
#include "shared_channel_case.hpp"

#include <algorithm>

#include "hook.hpp"
#include "penstock/shared_queue.hpp"

namespace penstock::kill {

namespace {

/// What a call that does not wait may take, whatever another process has done.
constexpr std::uint64_t kMostAccesses = 3000;

SharedQueue& queue_of(Channel& channel) { return static_cast<SharedQueue&>(*channel.shared()); }

template <class Call>
Status bounded(Call call) {
  std::uint64_t const before = accesses_of_thread();
  const Status status = call();
  EXPECT_LT(accesses_of_thread() - before, kMostAccesses);
  return status;
}

}  // namespace

SharedChannelCase::SharedChannelCase(const char* script, Way way, const Target& target)
    : script_(*script_named(script)), life_(way, target) {
  count_accesses_of_threads();
  domains_[0] = Domain::create();
  on_[0] = SharedQueue::create(domains_[0], porter(), script_.max_size, Channel::Content::bytes);
  const SharedQueue& queue = queue_of(*on_[0]);
  domains_[1] = Domain::join(dup(domains_[0]->descriptor()), domains_[0]->admit().value());
  on_[1] =
      SharedQueue::attach(domains_[1], porter(),
                          SharedQueue::map(dup(queue.descriptor()), queue.shape()), queue.shape());
  on_[1]->add_sender();
  EXPECT_EQ(domains_[0]->admit(), kVictim);
}

SharedChannelCase::~SharedChannelCase() {
  close_and_join();
  life_.end();
  on_[1] = {};
  on_[0] = {};
  for (const Ref<Domain>& domain : domains_) domain->leave();
}

// The victim
// ------------------------------------------------------------------------------------------------

void SharedChannelCase::start_victim() {
  const SharedQueue& queue = queue_of(*on_[0]);
  life_.start(script_.name, {kVictim, queue.shape().capacity}, domains_[0]->descriptor(),
              queue.descriptor());
}

void SharedChannelCase::work_without_it() {
  for (unsigned process = 0; process < 2; ++process) {
    if (!is_sending()) try_send(process, 20);
    if (receivers_ == 0) try_receive(process);
  }
}

void SharedChannelCase::bury() {
  domains_[0]->ended(kVictim);
  ASSERT_TRUE(eventually([&] { return domains_[0]->admit() == kVictim; })) << "not undone";
  undone_ns_ = now_ns();
}

// The others
// ------------------------------------------------------------------------------------------------

void SharedChannelCase::try_send(unsigned process, std::size_t size) {
  Message message;
  ASSERT_TRUE(write(message, number_of(process, sent(process)), size));
  const Status status = bounded([&] { return on(process).try_send(message); });
  if (status == Status::ok) return void(++sent_[process]);
  ASSERT_TRUE(status == Status::full || (status == Status::closed && on(process).is_closed()))
      << static_cast<int>(status);
}

void SharedChannelCase::try_receive(unsigned process) {
  Message message;
  if (bounded([&] { return on(process).try_receive(message); }) == Status::ok) got(message);
}

void SharedChannelCase::fill(std::size_t size) {
  for (std::uint64_t before = ~std::uint64_t{0}; before != sent(0);) {
    before = sent(0);
    try_send(0, size);
  }
}

void SharedChannelCase::start_receivers(unsigned count) {
  receivers_ += count;
  for (unsigned i = 0; i < count; ++i) threads_.emplace_back([this] { receive_all(); });
}

void SharedChannelCase::receive_all() {
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  Status status = Status::ok;
  for (;;) {
    Message message;
    message.take_in_place();
    status = on(1).receive(message, now_ns() + 3 * kPatience_ns, me, &woken);
    if (status != Status::ok) break;
    got(message);
  }
  EXPECT_EQ(status, Status::closed);
  ++at_end_;
}

void SharedChannelCase::start_sender(std::uint64_t count, std::size_t size) {
  is_sending_ = true;
  threads_.emplace_back([this, count, size] { send_all(count, size); });
}

void SharedChannelCase::send_all(std::uint64_t count, std::size_t size) {
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  for (std::uint64_t index = 0; index < count; ++index) {
    Message message;
    EXPECT_TRUE(write(message, number_of(1, index), size));
    EXPECT_EQ(on(1).send(message, now_ns() + 3 * kPatience_ns, me, &woken), Status::ok);
    ++sent_[1];
  }
  is_sending_ = false;
}

void SharedChannelCase::got(const Message& message) {
  const std::lock_guard lock(mutex_);
  got_.push_back(read(message));
}

// What is expected
// ------------------------------------------------------------------------------------------------

void SharedChannelCase::expect_flow() {
  if (receivers_ == 0) start_receivers(1);
  const auto has_come = [&] { return !is_sending() && on(0).size() == 0; };
  EXPECT_TRUE(eventually(has_come)) << "somebody sleeps whom nobody calls";
  for (unsigned process = 0; process < 2; ++process) {
    std::uint64_t const before = sent(process);
    EXPECT_TRUE(eventually([&] {
      try_send(process, 100);
      return sent(process) != before;
    }));
    EXPECT_TRUE(eventually(has_come)) << "somebody sleeps, though a message has come since";
  }
}

void SharedChannelCase::expect_end() {
  EXPECT_TRUE(eventually([&] { return at_end_ == receivers_; })) << "somebody sleeps at the end";
}

void SharedChannelCase::close_and_join() {
  on(0).close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::vector<std::uint64_t> SharedChannelCase::all_that_came() {
  close_and_join();
  // Who had been told of the end did not see what was sent without a sender being there.
  EXPECT_TRUE(eventually([&] {
    try_receive(0);
    return on(0).size() == 0;
  }));
  std::vector<std::uint64_t> all = got_;
  for (std::uint64_t i = 0; i < report().received.load(); ++i) all.push_back(report().numbers[i]);
  return all;
}

void SharedChannelCase::expect_order() {
  std::uint64_t next[kVictim + 1] = {};
  for (std::uint64_t const number : got_) {
    ASSERT_LE(number >> 32, kVictim) << "not as it was written";
    EXPECT_GE(number, next[number >> 32]) << "out of order";
    next[number >> 32] = number + 1;
  }
}

void SharedChannelCase::expect_each_once() {
  std::vector<std::uint64_t> all = all_that_came();
  if (receivers_ < 2) expect_order();
  std::ranges::sort(all);
  EXPECT_TRUE(std::ranges::adjacent_find(all) == all.end()) << "twice";
  std::uint64_t const victims = report().sent.load();
  std::uint64_t const counts[] = {sent(0), sent(1), victims};
  std::uint64_t certain = 0, missing = 0;
  for (std::uint64_t sender = 0; sender <= kVictim; ++sender) {
    certain += counts[sender];
    for (std::uint64_t index = 0; index < counts[sender]; ++index) {
      missing += std::ranges::binary_search(all, number_of(sender, index)) ? 0 : 1;
    }
  }
  EXPECT_LE(missing, takes(script_) && life_.is_cut_short() ? 1U : 0U) << "lost";
  const bool is_one_more = victims < report().begun.load() &&
                           std::ranges::binary_search(all, number_of(kVictim, victims));
  EXPECT_EQ(all.size() + missing, certain + (is_one_more ? 1 : 0)) << "what nobody sent";
  EXPECT_EQ(report().failures.load(), 0U);
}

}  // namespace penstock::kill
