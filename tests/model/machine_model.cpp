// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <new>

#include "engine.hpp"
#include "explorer.hpp"
#include "penstock/segment.hpp"
#include "penstock/thread.hpp"

/// penstock::Segment and the threads that core starts, in the explorer's machine: a memfd is a
/// block of the arena, its descriptor the block's place, and each mapping of it is the block
/// itself. A thread waits until the scenario runs it.
namespace penstock {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kUnit = 128;  ///< Of descriptors, and the alignment of the memory.

/// Before the memory of each memfd: how often it is mapped.
std::size_t& mappings_of(std::span<std::uint8_t> memory) {
  return *reinterpret_cast<std::size_t*>(memory.data() - kUnit);
}

std::uint8_t* memory_at(int descriptor) {
  return reinterpret_cast<std::uint8_t*>(model::active->arena.base() +
                                         static_cast<std::uintptr_t>(descriptor) * kUnit);
}

}  // namespace

Segment Segment::create_shared(std::size_t bytes, const char* /*name*/) {
  std::size_t const size = (bytes + kPage - 1) / kPage * kPage;
  auto* const block = static_cast<std::uint8_t*>(model::allocate_block(kUnit + size, kUnit));
  Segment segment;
  segment.memory_ = {block + kUnit, size};
  mappings_of(segment.memory_) = 1;
  segment.descriptor_ = static_cast<int>((block + kUnit - memory_at(0)) / std::ptrdiff_t{kUnit});
  segment.born_ = Forks::count();
  segment.is_shared_ = true;
  return segment;
}

Segment Segment::attach(int descriptor, std::size_t bytes) {
  Segment segment;
  segment.memory_ = {memory_at(descriptor), (bytes + kPage - 1) / kPage * kPage};
  ++mappings_of(segment.memory_);
  segment.descriptor_ = descriptor;
  segment.born_ = Forks::count();
  segment.is_shared_ = true;
  return segment;
}

void Segment::close_descriptor() noexcept { descriptor_ = -1; }

Segment::~Segment() {
  if (memory_.empty() || --mappings_of(memory_) != 0) return;
  model::release_block(memory_.data() - kUnit);
}

namespace model {

namespace {

struct Started {
  void* (*body)(void*);
  void* argument;
};
Started started[kMaxThreads];
unsigned started_count = 0;
unsigned ran_count = 0;

}  // namespace

void forget_started() noexcept { started_count = ran_count = 0; }

bool have_all_started_run() noexcept { return ran_count == started_count; }

void run_started(unsigned which) {
  if (which >= started_count) fail("core has not started that thread");
  ++ran_count;
  (void)started[which].body(started[which].argument);
}

}  // namespace model

bool start_thread(void* (*body)(void*), void* argument) noexcept {
  if (model::started_count == model::kMaxThreads) return false;
  model::started[model::started_count++] = {body, argument};
  return true;
}

void name_this_thread(const char* /*name*/) noexcept {}

}  // namespace penstock
