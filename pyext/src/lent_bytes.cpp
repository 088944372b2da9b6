// SPDX-License-Identifier: Apache-2.0
#include "lent_bytes.hpp"

#include "runtime_thread.hpp"

namespace penstock::python {

namespace {

constinit ReturnedBytes process_returned_bytes;

int collect_pending(void*) {
  returned_bytes().collect();
  return 0;
}

}  // namespace

constinit thread_local bool DropsWithGil::active_ = false;

ReturnedBytes& returned_bytes() noexcept { return process_returned_bytes; }

LentBytes::LentBytes(PyObject* bytes) noexcept
    : PinnedBytes({reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(bytes)),
                   static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))}),
      object_(PyRef::borrow(bytes).take()) {}

Ref<wire::PinnedBytes> LentBytes::lend(PyObject* bytes) noexcept {
  return Ref<wire::PinnedBytes>::steal(new (std::nothrow) LentBytes(bytes));
}

PyObject* LentBytes::object_of(const wire::PinnedBytes& pinned) noexcept {
  const auto* const lent = dynamic_cast<const LentBytes*>(&pinned);
  return lent == nullptr ? nullptr : lent->object_;
}

void LentBytes::operator delete(LentBytes* self, std::destroying_delete_t) noexcept {
  if (DropsWithGil::is_active()) {
    destroy(self);
  } else {
    returned_bytes().add(*self);
  }
}

void LentBytes::destroy(LentBytes* self) {
  self->~LentBytes();
  ::operator delete(self);
}

void ReturnedBytes::add(LentBytes& bytes) noexcept {
  LentBytes* newest = newest_.load(order::relaxed);
  do {
    bytes.next_ = newest;
  } while (!newest_.compare_exchange_weak(newest, &bytes, order::release("K4"), order::relaxed));
  if (told_.exchange(1, order::acq_rel("K5")) == 0) tell();
}

void ReturnedBytes::tell() noexcept {
  if (RuntimeThread* const runtime = runtime_thread()) {
    runtime->request();
  } else if (Py_IsInitialized() == 0 || Py_AddPendingCall(collect_pending, nullptr) != 0) {
    // No room among the pending calls: the next add() tries again, and the next call of a channel
    // drops what is here.
    told_.store(0, order::relaxed);
  }
}

void ReturnedBytes::drop_list() {
  LentBytes* bytes = newest_.exchange(nullptr, order::acquire("K4"));
  while (bytes != nullptr) LentBytes::destroy(std::exchange(bytes, bytes->next_));
}

void ReturnedBytes::collect() {
  (void)told_.exchange(0, order::acq_rel("K5"));
  drop_all();
}

}  // namespace penstock::python
