// SPDX-License-Identifier: Apache-2.0
#include "byte_search.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <memory>
#include <new>

#include "penstock/memory.hpp"

namespace penstock {

namespace {

/// Shorter searches are not worth remembering.
constexpr std::uint64_t kWorthRemembering = 2048;

std::uint64_t offset_in(std::span<const std::uint8_t> bytes, const void* found) noexcept {
  return static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(found) - bytes.data());
}

const void* find_in(std::span<const std::uint8_t> bytes,
                    std::span<const std::uint8_t> needle) noexcept {
  return needle.size() == 1 ? std::memchr(bytes.data(), needle[0], bytes.size())
                            : memmem(bytes.data(), bytes.size(), needle.data(), needle.size());
}

}  // namespace

ByteStream::Searches::Entry* ByteStream::Searches::entry_of(std::span<const std::uint8_t> needle,
                                                            std::uint64_t from) noexcept {
  for (Entry& entry : entries) {
    if (entry.size == needle.size() && entry.from <= from && from <= entry.upto &&
        std::memcmp(entry.needle.data(), needle.data(), needle.size()) == 0) {
      return &entry;
    }
  }
  return nullptr;
}

ByteStream::Searches::Entry& ByteStream::Searches::replace_oldest(
    std::span<const std::uint8_t> needle, std::uint64_t from) noexcept {
  Entry& entry = entries[oldest];
  oldest = (oldest + 1) % entries.size();
  entry.from = entry.upto = from;
  entry.size = needle.size();
  std::memcpy(entry.needle.data(), needle.data(), needle.size());
  return entry;
}

std::uint64_t ByteStream::Reading::find(std::uint8_t byte, std::uint64_t from,
                                        std::uint64_t to) noexcept {
  while (from < to) {
    const auto bytes = span_at(from, to);
    if (const void* const found = std::memchr(bytes.data(), byte, bytes.size())) {
      return from + offset_in(bytes, found);
    }
    from += bytes.size();
  }
  return kNowhere;
}

std::uint64_t ByteStream::Reading::find(std::span<const std::uint8_t> needle, std::uint64_t from,
                                        std::uint64_t to) noexcept {
  // A copy: the caller's may change while it is searched for, and what is remembered must not.
  std::array<std::uint8_t, sizeof(Searches::Entry::needle)> own;
  if (needle.size() <= own.size()) {
    std::copy(needle.begin(), needle.end(), own.begin());
    needle = {own.data(), needle.size()};
  }
  if (to < from) return kNowhere;
  if (needle.empty()) return from;
  if (to - from < needle.size()) return kNowhere;
  auto& searches = stream_.searches_;
  Searches::Entry* entry = searches != nullptr ? searches->entry_of(needle, from) : nullptr;
  std::uint64_t const start = entry != nullptr ? entry->upto : from;
  std::uint64_t const found = start < to ? search(needle, start, to) : kNowhere;
  std::uint64_t const upto = found != kNowhere ? found : to - needle.size() + 1;
  if (entry == nullptr) {
    if (upto - from < kWorthRemembering || needle.size() > sizeof entry->needle) return found;
    if (searches == nullptr) searches.reset(new (std::nothrow) Searches());
    if (searches == nullptr) return found;
    entry = &searches->replace_oldest(needle, from);
  }
  entry->upto = std::max(entry->upto, upto);
  return found;
}

std::uint64_t ByteStream::Reading::search(std::span<const std::uint8_t> needle, std::uint64_t from,
                                          std::uint64_t to) noexcept {
  while (to - from >= needle.size()) {
    const auto bytes = span_at(from, to);
    if (const void* const found = find_in(bytes, needle)) return from + offset_in(bytes, found);
    std::uint64_t const border = from + bytes.size();
    if (border == to) break;
    std::uint64_t const across = search_border(needle, border, from, to);
    if (across != kNowhere) return across;
    from = border;
  }
  return kNowhere;
}

/// Those that begin before `border`, from `from` on, and end after it.
std::uint64_t ByteStream::Reading::search_border(std::span<const std::uint8_t> needle,
                                                 std::uint64_t border, std::uint64_t from,
                                                 std::uint64_t to) noexcept {
  std::uint64_t const reach = needle.size() - 1;
  std::uint64_t const first = border - from > reach ? border - reach : from;
  std::uint64_t const last = to - border > reach ? border + reach : to;
  const auto count = static_cast<std::size_t>(last - first);
  if (count < needle.size()) return kNowhere;
  std::uint8_t inside[512];
  std::unique_ptr<void, decltype(&memory::free)> outside(nullptr, &memory::free);
  std::uint8_t* bytes = inside;
  if (count > sizeof inside) {
    outside.reset(memory::allocate(count));
    if (outside == nullptr) return search_border_slowly(needle, first, border, to);
    bytes = static_cast<std::uint8_t*>(outside.get());
  }
  copy(first, bytes, count);
  const void* const found = find_in({bytes, count}, needle);
  return found != nullptr ? first + offset_in({bytes, count}, found) : kNowhere;
}

/// Without memory: compares at each place, piece by piece.
std::uint64_t ByteStream::Reading::search_border_slowly(std::span<const std::uint8_t> needle,
                                                        std::uint64_t first, std::uint64_t border,
                                                        std::uint64_t to) noexcept {
  for (std::uint64_t at = first; at < border && to - at >= needle.size(); ++at) {
    std::uint64_t matched = 0;
    while (matched < needle.size()) {
      const auto bytes = span_at(at + matched, at + needle.size());
      if (std::memcmp(bytes.data(), needle.data() + matched, bytes.size()) != 0) break;
      matched += bytes.size();
    }
    if (matched == needle.size()) return at;
  }
  return kNowhere;
}

}  // namespace penstock
