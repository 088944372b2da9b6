// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::model {

/// The sides an order can have; a bit set. `fence` is a full fence.
enum Side : std::uint8_t { kNoSide = 0, kAcquire = 1, kRelease = 2, kFence = 4, kAllSides = 7 };

[[nodiscard]] const char* name_of(Side side);

/// One place in the source where an order or a fence of a named edge is written. Registered when it
/// first runs.
struct OrderSite {
  const char* edge = nullptr;
  const char* file = nullptr;
  const char* function = nullptr;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::uint8_t sides = 0;     ///< Those that it has as written.
  std::uint8_t weakened = 0;  ///< Those that the current mutant takes away.

  /// file:line edge
  [[nodiscard]] std::string text() const;
};

/// What stands for std::memory_order under the explorer.
struct Order {
  bool acquire = false;
  bool release = false;
  const OrderSite* site = nullptr;  ///< nullptr: relaxed as written.
};

/// The registry of all sites, and the mutant that is in force: sides of some sites are weakened to
/// relaxed, or a fence to none.
///
/// Threads: the explorer has one OS thread.
class OrderSites {
 public:
  [[nodiscard]] static OrderSites& instance();

  [[nodiscard]] const OrderSite& at(const char* edge, std::uint8_t sides,
                                    const std::source_location& where);
  /// Every site of `edge` loses `sides`, those registered later included.
  void weaken_edge(std::string_view edge, std::uint8_t sides);
  /// One site loses `sides`.
  void weaken_site(std::size_t index, std::uint8_t sides);
  void restore();

  [[nodiscard]] const std::vector<OrderSite>& all() const { return sites_; }
  /// Sorted names of all edges seen so far.
  [[nodiscard]] std::vector<std::string> edges() const;

 private:
  static constexpr std::size_t kBuckets = 1024;
  static constexpr std::size_t kMaxSites = 256;
  OrderSites();
  void apply_mutant(OrderSite& site) const;

  std::vector<OrderSite> sites_;  // Reserved once: addresses are handed out.
  std::uint16_t buckets_[kBuckets] = {};
  std::string weak_edge_;
  std::uint8_t weak_sides_ = 0;
};

}  // namespace penstock::model
