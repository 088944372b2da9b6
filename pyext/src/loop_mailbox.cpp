// SPDX-License-Identifier: Apache-2.0
#include "loop_mailbox.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <new>

namespace penstock::python {

Ref<LoopMailbox> LoopMailbox::create(Interruptible* owner) noexcept {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return {};
  auto* const mailbox = new (std::nothrow) LoopMailbox(fd, {}, owner);
  if (mailbox == nullptr) ::close(fd);
  return Ref<LoopMailbox>::steal(mailbox);
}

Ref<LoopMailbox> LoopMailbox::create(Interruptible* owner, Ref<LoopReactor> reactor) noexcept {
  return Ref<LoopMailbox>::steal(new (std::nothrow) LoopMailbox(-1, std::move(reactor), owner));
}

LoopMailbox::~LoopMailbox() {
  if (fd_ >= 0) ::close(fd_);
}

// A full counter (EAGAIN) wakes as well, and no other error can happen to an eventfd that is open.
void LoopMailbox::wake() noexcept {
  if (fd_ >= 0) {
    (void)!::eventfd_write(fd_, 1);
  } else {
    (*reactor_)->wake();
  }
}

void LoopMailbox::clear() noexcept {
  eventfd_t count = 0;
  (void)!::eventfd_read(fd_, &count);
}

}  // namespace penstock::python
