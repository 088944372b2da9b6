// SPDX-License-Identifier: Apache-2.0
#include "reader_claim.hpp"

#include <mutex>
#include <new>
#include <unordered_map>

namespace penstock::python::detail {

namespace {

bool is_our_turn(const BufferObject& self) {
  if (self.stream->take_turn()) return true;
  PyErr_SetString(PyExc_RuntimeError, "the buffer is being read in another process");
  return false;
}

}  // namespace

#if PY_VERSION_HEX >= 0x030C0000

namespace {

struct Claim {
  const PyInterpreterState* interpreter = nullptr;
  std::size_t objects = 0;  ///< Of that interpreter, that have read.
};

/// The mutex hands over from one reading interpreter to the next what Reading touches.
class Claims {
 public:
  bool take(const ByteStream* stream, const PyInterpreterState* interpreter) {
    const std::lock_guard lock(mutex_);
    Claim& claim = claims_[stream];
    if (claim.objects != 0 && claim.interpreter != interpreter) return false;
    claim.interpreter = interpreter;
    ++claim.objects;
    return true;
  }
  void give_up(const ByteStream* stream) noexcept {
    const std::lock_guard lock(mutex_);
    const auto known = claims_.find(stream);
    if (--known->second.objects == 0) claims_.erase(known);
  }

 private:
  std::mutex mutex_;  // Never held while a GIL is waited for.
  std::unordered_map<const ByteStream*, Claim> claims_;
};

Claims& claims() noexcept {
  static Claims* const all = new Claims;  // Never destroyed: interpreters end late.
  return *all;
}

}  // namespace

bool claim_reading(const BufferObject& self) {
  if (!is_our_turn(self)) return false;
  try {
    self.is_reader = claims().take(self.stream, PyInterpreterState_Get());
    if (!self.is_reader) {
      PyErr_SetString(PyExc_RuntimeError, "the buffer is being read in another interpreter");
    }
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return self.is_reader;
}

void give_up_reading(const BufferObject& self) noexcept { claims().give_up(self.stream); }

#else  // There is one interpreter.

bool claim_reading(const BufferObject& self) {
  self.is_reader = is_our_turn(self);
  return self.is_reader;
}

void give_up_reading(const BufferObject& /*self*/) noexcept {}

#endif

}  // namespace penstock::python::detail
