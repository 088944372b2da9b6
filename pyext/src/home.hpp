// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "parking.hpp"
#include "penstock/ref.hpp"
#include "penstock/shim.hpp"

namespace penstock::python {

class LentBytes;

/// What others than its own threads know of an interpreter: where the bytes objects that it lent
/// come back to, how its RuntimeThread is woken, and whether its threads must stop. Outlives the
/// interpreter for as long as somebody has some of its bytes.
///
/// Bytes objects that nobody refers to any more but Penstock are dropped by the next call of a
/// channel in their interpreter, or, if there is none, soon by its RuntimeThread (in a plain
/// python3: when its main thread runs Python code), which is told so once for a burst. Those that
/// come back after the end of their interpreter go on to the main one: their type is everybody's,
/// and memory of their size is malloc's.
///
/// Threads: add() and request() any, lock-free, one system call for a burst; end() once; everything
/// else with the interpreter's GIL.
///
/// Edges:
///   K2  request() adds to requests_, release -> RuntimeThread::serve() loads it, acquire: what was
///       asked for is seen.
///   K4  add() links, release -> drop_all() empties, acquire: the object.
///   K5  collect() and end() clear told_ by an exchange before they empty the list, add() links
///       before it sets told_ by an exchange; whichever exchange is second sees the other's earlier
///       write (end(): that it has ended), so what is added too late for this collect() is told
///       again.
class Home final : public Object {
 public:
  /// The main interpreter's. Lives as long as the process.
  [[nodiscard]] static Home& main() noexcept;
  /// One for another interpreter. Empty when memory ran out.
  [[nodiscard]] static Ref<Home> create() noexcept;

  [[nodiscard]] bool is_main() const noexcept { return is_main_; }
  /// Stands for the threads of the interpreter that are not a context's; nullptr: nothing but the
  /// application's stop ends their waits.
  [[nodiscard]] Interruptible* others() noexcept { return is_main_ ? nullptr : &others_; }

  /// There is something to do for the RuntimeThread. Never blocks.
  void request() noexcept;
  [[nodiscard]] Atomic<std::uint32_t>& requests() noexcept { return requests_; }

  void add(LentBytes& bytes) noexcept;
  /// Cost: one load if there are none.
  void drop_all() {
    if (newest_.load(order::relaxed) != nullptr) drop_list();
  }
  /// For whoever was told: whether there is something to collect. Needs no GIL.
  [[nodiscard]] bool is_told() const noexcept { return told_.load(order::relaxed) != 0; }
  void collect();

  /// The interpreter is gone.
  void end() noexcept;

 private:
  explicit Home(bool is_main) noexcept : is_main_(is_main) {}
  ~Home() override = default;
  void drop_list();
  void tell() noexcept;
  void pass_on() noexcept;

  const bool is_main_;
  Atomic<LentBytes*> newest_{nullptr};
  Atomic<std::uint32_t> told_{0};
  Atomic<std::uint32_t> has_ended_{0};
  Atomic<std::uint32_t> requests_{0};
  Interruptible others_;
};

}  // namespace penstock::python
