// SPDX-License-Identifier: Apache-2.0
#include "order_sites.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace penstock::model {

const char* name_of(Side side) {
  switch (side) {
    case kAcquire:
      return "acquire";
    case kRelease:
      return "release";
    case kFence:
      return "fence";
    default:
      return "all";
  }
}

std::string OrderSite::text() const {
  const char* slash = std::strrchr(file, '/');
  return std::string(slash == nullptr ? file : slash + 1) + ":" + std::to_string(line) + " " + edge;
}

OrderSites::OrderSites() { sites_.reserve(kMaxSites); }

OrderSites& OrderSites::instance() {
  static OrderSites sites;
  return sites;
}

const OrderSite& OrderSites::at(const char* edge, std::uint8_t sides,
                                const std::source_location& where) {
  // Not by the name's address: each translation unit may have a copy of it.
  std::size_t bucket = where.line() * 257 + where.column() * 7 + sides;
  for (;; ++bucket) {
    std::uint16_t& index = buckets_[bucket % kBuckets];
    if (index == 0) {
      if (sites_.size() == kMaxSites) std::abort();
      OrderSite site{
          edge, where.file_name(), where.function_name(), where.line(), where.column(), sides, 0};
      apply_mutant(site);
      sites_.push_back(site);
      index = static_cast<std::uint16_t>(sites_.size());
      return sites_.back();
    }
    const OrderSite& site = sites_[index - 1U];
    if (site.line == where.line() && site.column == where.column() && site.sides == sides &&
        (site.file == where.file_name() || std::strcmp(site.file, where.file_name()) == 0)) {
      return site;
    }
  }
}

void OrderSites::apply_mutant(OrderSite& site) const {
  if (weak_sides_ != 0 && weak_edge_ == site.edge) site.weakened |= weak_sides_;
}

void OrderSites::weaken_edge(std::string_view edge, std::uint8_t sides) {
  weak_edge_ = edge;
  weak_sides_ = sides;
  for (OrderSite& site : sites_) apply_mutant(site);
}

void OrderSites::weaken_site(std::size_t index, std::uint8_t sides) {
  sites_[index].weakened |= sides;
}

void OrderSites::restore() {
  weak_sides_ = 0;
  for (OrderSite& site : sites_) site.weakened = 0;
}

std::vector<std::string> OrderSites::edges() const {
  std::vector<std::string> names;
  for (const OrderSite& site : sites_) names.emplace_back(site.edge);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace penstock::model
