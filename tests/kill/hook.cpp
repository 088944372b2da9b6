// SPDX-License-Identifier: Apache-2.0
#include "hook.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "penstock/shim.hpp"

namespace penstock::kill {

namespace {

using watched::Access;
using watched::What;

struct Range {
  std::uintptr_t from, to;
};

// Set before the hook is; by whoever maps some, if there is none by then.
std::vector<Range> shared;
bool is_mapped_later = false;
std::atomic<bool> is_shared_locked{false};
Report* report = nullptr;
Target target;
std::atomic<std::uint64_t> hits{0};
Fate fate = Fate::dies;

/// What this process maps of memory that others map, too: Segment names it so.
std::vector<Range> shared_ranges() {
  std::vector<Range> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:penstock") == std::string::npos) continue;
    Range range{};
    if (std::sscanf(line.c_str(), "%lx-%lx", &range.from, &range.to) == 2) found.push_back(range);
  }
  return found;
}

/// A lock that no hook is called for.
class SharedLock {
 public:
  SharedLock() {
    while (is_shared_locked.exchange(true)) spin_pause(0);
  }
  ~SharedLock() { is_shared_locked = false; }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;
};

/// Segment counts what it maps and unmaps, just then.
bool is_of_segment(const Access& access) {
  return access.line != 0 && std::strstr(access.name, "/segment.cpp") != nullptr;
}

bool is_in_shared(const volatile void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  for (const Range& range : shared) {
    if (range.from <= at && at < range.to) return true;
  }
  return false;
}

bool is_shared(const Access& access) {
  if (access.what == What::point) return true;  // Futexes, bells and notes: others wait for them.
  if (!is_mapped_later) return is_in_shared(access.address);
  const SharedLock lock;
  if (is_of_segment(access)) shared = shared_ranges();
  return is_in_shared(access.address);
}

const char* word_for(What what) {
  constexpr const char* kWords[] = {"load", "store", "update", "copy in", "copy out", ""};
  return kWords[static_cast<unsigned>(what)];
}

Place place_of(const Access& access) {
  Place place{};
  const char* const slash = std::strrchr(access.name, '/');
  const char* const file = slash == nullptr ? access.name : slash + 1;
  if (access.line == 0) {
    (void)std::snprintf(place.text, sizeof place.text, "%s", file);
  } else {
    (void)std::snprintf(place.text, sizeof place.text, "%s:%u %s", file, access.line,
                        word_for(access.what));
  }
  return place;
}

bool is_target(const Place& place) {
  std::uint64_t const number = report->accesses.fetch_add(1) + 1;
  if (target.hit == 0) return number == target.access;
  return std::strcmp(place.text, target.place.text) == 0 && hits.fetch_add(1) + 1 == target.hit;
}

void note(const Place& place) {
  while (report->lock.exchange(1) != 0) spin_pause(0);
  std::uint32_t index = 0;
  while (index < report->places_count && std::strcmp(report->places[index].text, place.text) != 0) {
    ++index;
  }
  if (index == report->places_count && index < Report::kMostPlaces) {
    report->places[report->places_count++] = place;
  }
  report->lock.store(0);
}

void meet_fate(const Access& access) noexcept {
  if (!is_shared(access)) return;
  const Place place = place_of(access);
  note(place);
  if (!is_target(place)) return;
  report->fate = place;
  (void)raise(fate == Fate::dies ? SIGKILL : SIGSTOP);
}

void count(const Access& /*access*/) noexcept { ++accesses_of_thread(); }

}  // namespace

void arm(Report& to, const Target& before, Fate what) {
  if (before.access == 0 && before.hit == 0) return;
  report = &to;
  target = before;
  fate = what;
  shared = shared_ranges();
  is_mapped_later = shared.empty();
  watched::hook.store(meet_fate);
}

std::uint64_t& accesses_of_thread() noexcept {
  thread_local std::uint64_t accesses = 0;
  return accesses;
}

void count_accesses_of_threads() noexcept { watched::hook.store(count); }

}  // namespace penstock::kill
