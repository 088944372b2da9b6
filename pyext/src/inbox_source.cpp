// SPDX-License-Identifier: Apache-2.0
#include "inbox_source.hpp"

#include <new>
#include <thread>
#include <utility>

#include "caller.hpp"
#include "gil.hpp"
#include "inbox_waiter.hpp"
#include "loop_core.hpp"
#include "loop_endpoint.hpp"
#include "loop_source.hpp"
#include "penstock/spin.hpp"

namespace penstock::python {

namespace {

constexpr const char* kCapsule = "erlang._inbox_source";

/// The inbox of one thread's calls, as one loop looks at it. Answers often come sooner than the
/// loop could fall asleep.
///
/// Threads: the loop's, with the GIL. On any other than the caller's it does nothing: what is in
/// the inbox is for a loop, or a context, that runs there.
class InboxSource final : public LoopSource {
 public:
  InboxSource(const PyRef& reader, Ref<LoopMailbox> mailbox, Ref<InboxWaiter> waiter) noexcept
      : reader_(PyRef::borrow(reader.get())),
        mailbox_(std::move(mailbox)),
        waiter_(std::move(waiter)) {}
  ~InboxSource() {
    if (Caller* const of = any_caller()) of->stop_using(*waiter_);
    take_fired(mailbox_->close());
  }
  InboxSource(const InboxSource&) = delete;
  InboxSource& operator=(const InboxSource&) = delete;

  [[nodiscard]] bool is_of(const PyRef& reader) const noexcept {
    return reader_.get() == reader.get();
  }

  [[nodiscard]] bool serve() override {
    Caller* const of = caller();
    if (of == nullptr || !Caller::is_something_in(*of->inbox())) return true;
    if (idle_since_ns_ != 0) spin_.learn(now_ns() - std::exchange(idle_since_ns_, 0));
    of->serve_source();
    return true;
  }

  [[nodiscard]] bool comes_soon(std::int64_t deadline) override {
    Caller* const of = caller();
    if (of == nullptr || !of->has_futures()) return false;
    // A copy: the caller may go while others have the GIL.
    const Ref<Channel> inbox = of->inbox();
    if (Caller::is_something_in(*inbox)) return true;
    idle_since_ns_ = now_ns();
    const GilRelease released;
    return spin_.spin(idle_since_ns_, deadline, [&] { return Caller::is_something_in(*inbox); });
  }

  [[nodiscard]] bool has_come() override {
    // One that was being fired when it left the line: the loop was awake, and is not woken again.
    take_fired(mailbox_->take());
    Caller* const of = caller();
    return of != nullptr && of->sleep_with(waiter_);
  }

  void has_stopped() override {
    if (Caller* const of = caller()) of->stop_using(*waiter_);
  }

 private:
  [[nodiscard]] Caller* any_caller() const noexcept {
    return reinterpret_cast<InboxReaderObject*>(reader_.get())->caller;
  }
  [[nodiscard]] Caller* caller() const noexcept {
    return std::this_thread::get_id() == thread_ ? any_caller() : nullptr;
  }

  const PyRef reader_;
  const Ref<LoopMailbox> mailbox_;
  const Ref<InboxWaiter> waiter_;
  const std::thread::id thread_ = std::this_thread::get_id();  // The caller's.
  std::int64_t idle_since_ns_ = 0;
  SpinBudget spin_{20'000};
};

void destroy(PyObject* capsule) {
  delete static_cast<InboxSource*>(PyCapsule_GetPointer(capsule, kCapsule));
}

/// nullptr: an exception is set.
InboxSource* make(LoopCore& loop, const PyRef& reader) {
  if (loop.reactor() == nullptr) return nullptr;
  auto mailbox = LoopMailbox::create(owner_of_waits(loop.state()), loop.shared_reactor());
  auto waiter = mailbox ? Ref<InboxWaiter>::steal(
                              new (std::nothrow) InboxWaiter(Ref<Mailbox>::borrow(mailbox.get())))
                        : Ref<InboxWaiter>();
  auto* const source = waiter ? new (std::nothrow)
                                    InboxSource(reader, std::move(mailbox), std::move(waiter))
                              : nullptr;
  if (source == nullptr) PyErr_NoMemory();
  return source;
}

}  // namespace

bool watch_inbox_in(LoopCore& loop, const PyRef& reader) {
  const bool is_known = loop.has_source([&](const LoopSource& each) {
    const auto* const source = dynamic_cast<const InboxSource*>(&each);
    return source != nullptr && source->is_of(reader);
  });
  // With it comes the endpoint, which interrupts find.
  if (is_known) return true;
  if (endpoint_of(loop.state(), loop.object()) == nullptr) return false;
  InboxSource* const source = make(loop, reader);
  if (source == nullptr) return false;
  PyRef owner = PyRef::steal(PyCapsule_New(source, kCapsule, destroy));
  if (!owner) {
    delete source;
    return false;
  }
  return loop.add_source(*source, std::move(owner));
}

}  // namespace penstock::python
