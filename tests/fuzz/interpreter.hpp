// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "input.hpp"
#include "module_state.hpp"

namespace penstock::fuzz {

/// Starts Python in this process as the VM does. From then on each block of an object is one of
/// malloc's, so that AddressSanitizer sees it, and counted. No garbage is collected: what is tested
/// makes none.
///
/// Threads: the fuzzer's only.
[[nodiscard]] python::ModuleState& start_python();

/// What Python holds.
struct Held {
  std::size_t blocks;
  std::size_t bytes;
  /// To what is never freed, and is so not missed among the blocks: None, True, small numbers,
  /// characters, types.
  Py_ssize_t references;
};
[[nodiscard]] Held held();

/// Bytes that were held at most since restart_peak().
[[nodiscard]] std::size_t peak_bytes();
void restart_peak();

/// For a scope the `countdown`-th allocation fails, of Python as of core, and each after it; 0:
/// none.
class Failing {
 public:
  explicit Failing(unsigned countdown);
  ~Failing();
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;
};

/// The exception that is set is one of those that the conversions may raise. Takes it away.
void require_refusal(bool memory_may_run_out);

[[noreturn]] void report_leak(const Held& before, const Held& after);

/// `use` drops everything that it makes. What Python remembers for the next time, it remembers
/// after a few rounds; more each time is a leak.
template <class Use>
void leaves_nothing(const python::ModuleState& state, Use use) {
  constexpr int kRounds = 12;
  for (int round = 0;; ++round) {
    const Held before = held();
    use();
    python::drop_returned(state);
    const Held after = held();
    if (after.blocks <= before.blocks && after.references <= before.references) return;
    if (round == kRounds) report_leak(before, after);
  }
}

}  // namespace penstock::fuzz
