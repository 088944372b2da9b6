// SPDX-License-Identifier: Apache-2.0
#include "penstock/doorbell.hpp"

#include "cases.hpp"
#include "penstock/one_at_a_time.hpp"

namespace penstock::model {

namespace {

/// One end of a Link that receives, and the other end that sends to it, as link.cpp uses them.
/// Frames are counted, relaxed: the protocol's own edges must do.
class Receiver {
 public:
  void send() {
    sent_.fetch_add(1, order::relaxed);
    std::uint32_t const who = bell_.rouse();
    if (who == Doorbell::looker) return bell_.wake_looker();
    if (who == Doorbell::listener) ring();
  }
  /// The listener, until `count` frames have been taken, by whomever.
  void listen(std::uint32_t count) {
    for (;;) {
      role_.lock();
      take(count);
      const bool is_done = taken_ == count;
      bell_.lie_down(Doorbell::listener);
      const bool is_left = !is_done && is_something_there();
      role_.unlock();
      if (is_done) return;
      if (is_left) continue;
      while (alarm_.exchange(0, order::relaxed) == 0) futex_wait(alarm_, 0, kNoDeadline);
    }
  }
  /// Another thread, once.
  void look(std::uint32_t count) {
    if (!role_.try_lock()) return;
    bell_.stay_up();
    take(1);
    const bool is_done = taken_ == count;
    bell_.lie_down(Doorbell::listener);
    const bool is_left = is_something_there();
    role_.unlock();
    if (is_left || is_done) ring();
  }
  /// The same as the only one, and sleeps on the word.
  void sleep_until(std::uint32_t count, const Atomic<std::uint32_t>* also = nullptr) {
    for (;;) {
      role_.lock();
      bell_.stay_up();
      take(count);
      const bool is_done = taken_ == count;
      if (!is_done) bell_.lie_down(Doorbell::looker);
      const bool is_left = is_something_there();
      role_.unlock();
      if (is_done) return;
      if (also != nullptr && also->load(order::relaxed) != 0) return;
      if (!is_left) bell_.park();
    }
  }
  void rouse_looker() { bell_.rouse_here(); }
  [[nodiscard]] std::uint32_t taken() const { return taken_; }

 private:
  void take(std::uint32_t most) {
    while (most > 0 && is_something_there()) {
      ++taken_;
      --most;
    }
  }
  [[nodiscard]] bool is_something_there() const { return sent_.load(order::relaxed) != taken_; }
  void ring() {
    alarm_.store(1, order::relaxed);
    futex_wake(&alarm_, 1);
  }

  Doorbell bell_;
  ReceiverRole role_;
  Atomic<std::uint32_t> sent_{0};
  Atomic<std::uint32_t> alarm_{0};
  std::uint32_t taken_ = 0;  // Of who has the role.
};

void wakes_the_listener() {
  Receiver receiver;
  parallel([&] { receiver.send(); }, [&] { receiver.listen(1); });
  require(receiver.taken() == 1, "lost");
}

void wakes_the_looker() {
  Receiver receiver;
  parallel([&] { receiver.send(); }, [&] { receiver.sleep_until(1); });
  require(receiver.taken() == 1, "lost");
}

/// Whoever of them is told, the frame is taken.
void is_heard_beside_a_look() {
  Receiver receiver;
  parallel([&] { receiver.send(); }, [&] { receiver.listen(1); }, [&] { receiver.look(1); });
  require(receiver.taken() == 1, "lost, or taken twice");
}

void is_heard_twice_beside_a_look() {
  Receiver receiver;
  parallel([&] { receiver.send(), receiver.send(); }, [&] { receiver.listen(2); },
           [&] { receiver.look(2); });
  require(receiver.taken() == 2, "lost, or taken twice");
}

/// Both wait for it, and one of them gets it first.
void the_role_is_handed_over() {
  ReceiverRole role;
  std::uint64_t taken = 0;
  const auto take = [&] {
    role.lock();
    ++taken;
    role.unlock();
  };
  parallel(take, take);
  role.lock();
  require(taken == 2, "two had it");
  role.unlock();
}

/// What is put down before run() is moved when both have gone.
void moves_what_all_put_down() {
  OneAtATime turn;
  Atomic<std::uint32_t> is_down[3] = {{0}, {0}, {0}};
  std::uint64_t moved = 0;
  const auto work = [&] {
    for (int each = 0; each < 3; ++each) {
      if (is_down[each].load(order::relaxed) == 0) continue;
      is_down[each].store(0, order::relaxed);
      ++moved;
    }
  };
  const auto put = [&](int which) { is_down[which].store(1, order::relaxed); };
  parallel([&] { put(0), turn.run(work); }, [&] { put(1), turn.run(work); },
           [&] {
             if (turn.try_run([&] { ++moved; }, work)) return;
             put(2);
             turn.run(work);
           });
  turn.run([&] { require(moved == 3, "something stayed where it was"); });
}

constexpr Case kCases[] = {
    {"DoorbellWakesTheListener", wakes_the_listener, {}},
    {"DoorbellWakesTheLooker", wakes_the_looker, {}},
    {"DoorbellIsHeardBesideALook", is_heard_beside_a_look, {.limits = {2, 2}}},
    {"DoorbellIsHeardTwiceBesideALook", is_heard_twice_beside_a_look, {.limits = {2, 2}}},
    {"ReceiverRoleIsHandedOver", the_role_is_handed_over, {}},
    {"OneAtATimeMovesWhatAllPutDown", moves_what_all_put_down, {.limits = {2, 2}}},
};

}  // namespace

std::span<const Case> doorbell_cases() { return kCases; }

}  // namespace penstock::model
