// SPDX-License-Identifier: Apache-2.0
#include "penstock/io_uring/lookout.hpp"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace penstock::io_uring {

namespace {

constexpr std::int64_t kNanosPerMicro = 1000;
// Twice what it takes to wake a thread on an idle virtual processor.
constexpr std::int64_t kUsual_us = 50;
constexpr std::int64_t kMost_us = 1000;

}  // namespace

std::int64_t Lookout::limit_of(const char* setting) noexcept {
  std::string_view const digits = setting == nullptr ? "" : setting;
  std::int64_t micros = 0;
  const char* const end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, micros);
  if (!digits.empty() && error == std::errc() && rest == end && micros >= 0) {
    return std::min(micros, kMost_us) * kNanosPerMicro;
  }
  // Not the processors that this process may use: its peers may use others.
  return sysconf(_SC_NPROCESSORS_ONLN) > 1 ? kUsual_us * kNanosPerMicro : 0;
}

std::int64_t Lookout::limit_of_process() noexcept {
  // Read once; who changes the environment in another thread meanwhile is not our doing.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  static const std::int64_t limit = limit_of(std::getenv("PENSTOCK_LOOP_SPIN_US"));
  return limit;
}

}  // namespace penstock::io_uring
