// SPDX-License-Identifier: Apache-2.0
#include "alarm.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>

namespace penstock::io_uring {

namespace {

Fd open_event() noexcept { return Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

}  // namespace

Alarm Alarm::create() noexcept {
  Alarm alarm;
  alarm.event_ = open_event();
  return alarm;
}

void Alarm::ring() const noexcept { eventfd_write(event_.get(), 1); }

void Alarm::part_from_parent() noexcept {
  const Fd own = open_event();
  if (own) dup3(own.get(), event_.get(), O_CLOEXEC);
}

}  // namespace penstock::io_uring
