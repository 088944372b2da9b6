// SPDX-License-Identifier: Apache-2.0
#include "lent_bytes.hpp"

#include <memory>
#include <vector>

namespace penstock::python {

namespace {

/// What an interpreter lends that cannot be told what comes back.
class CopiedBytes final : public wire::PinnedBytes {
 public:
  explicit CopiedBytes(std::span<const std::uint8_t> bytes)
      : PinnedBytes({}), memory_(bytes.begin(), bytes.end()) {
    bytes_ = memory_;
  }

 private:
  ~CopiedBytes() override = default;
  const std::vector<std::uint8_t> memory_;
};

std::span<const std::uint8_t> contents(PyObject* bytes) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(bytes)),
          static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

Ref<wire::PinnedBytes> copy(PyObject* bytes) noexcept {
  try {
    return Ref<wire::PinnedBytes>::steal(new CopiedBytes(contents(bytes)));
  } catch (const std::bad_alloc&) {
    return {};
  }
}

}  // namespace

constinit thread_local const Home* DropsWithGil::home_ = nullptr;

LentBytes::LentBytes(PyObject* bytes, Home& home) noexcept
    : PinnedBytes(contents(bytes)),
      home_(home),
      keeps_home_(Ref<Home>::borrow(home.is_main() ? nullptr : &home)),
      object_(PyRef::borrow(bytes).take()) {}

Ref<wire::PinnedBytes> LentBytes::lend(PyObject* bytes, Home* home) noexcept {
  if (home == nullptr) return copy(bytes);
  return Ref<wire::PinnedBytes>::steal(new (std::nothrow) LentBytes(bytes, *home));
}

PyObject* LentBytes::object_of(const wire::PinnedBytes& pinned, const Home* home) noexcept {
  const auto* const lent = dynamic_cast<const LentBytes*>(&pinned);
  return lent == nullptr || &lent->home_ != home ? nullptr : lent->object_;
}

void LentBytes::operator delete(LentBytes* self, std::destroying_delete_t) noexcept {
  if (DropsWithGil::is_active_for(self->home_)) {
    destroy(self);
  } else {
    self->home_.add(*self);
  }
}

void LentBytes::destroy(LentBytes* self) {
  self->~LentBytes();
  ::operator delete(self);
}

}  // namespace penstock::python
