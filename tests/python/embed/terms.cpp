// SPDX-License-Identifier: Apache-2.0
#include "terms.hpp"

#include <vector>

#include "host.hpp"
#include "penstock/wire.hpp"

namespace penstock::test {

namespace {

std::string characters(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

class Printer {
 public:
  explicit Printer(std::span<const std::uint8_t> wire) : reader_(wire) {}

  std::string term() {
    wire::Item item;
    if (reader_.next(item) != Status::ok) return "CORRUPT";
    switch (item.tag) {
      case wire::kSmallTuple:
      case wire::kLargeTuple:
        return "{" + elements(item.count) + "}";
      case wire::kMap:
        return "#{" + elements(2 * item.count) + "}";
      case wire::kNil:
        return "[]";
      case wire::kList:
        return list(item.count);
      case wire::kTrue:
        return "true";
      case wire::kFalse:
        return "false";
      case wire::kNone:
        return "none";
      case wire::kAtom:
      case wire::kSmallAtom:
        return characters(item.bytes);
      case wire::kAtomWord: {
        char name[1024];
        bool ok = true;
        std::size_t const size = the_host().atom_name(item.word, name, &ok);
        return ok ? std::string(name, size) : "CORRUPT";
      }
      case wire::kSmallInteger:
      case wire::kInteger:
        return std::to_string(item.integer);
      case wire::kSmallBig:
      case wire::kLargeBig:
        return "big";
      case wire::kFloat:
        return std::to_string(item.floating);
      case wire::kBinary:
      case wire::kBytes:
        return "<<\"" + characters(item.bytes) + "\">>";
      case wire::kPidWord:
        return "<pid>";
      case wire::kPinned:
        return std::to_string(static_cast<wire::PinnedBytes*>(item.object)->bytes().size()) +
               " pinned bytes";
      case wire::kHandle:
        return "handle";
      default:
        return "other";
    }
  }

 private:
  std::string elements(std::uint32_t count) {
    std::string text;
    for (std::uint32_t i = 0; i < count; ++i) text += (i > 0 ? "," : "") + term();
    return text;
  }

  std::string list(std::uint32_t count) {
    std::vector<std::string> terms;
    for (std::uint32_t i = 0; i < count; ++i) terms.push_back(term());
    if (!reader_.end_list()) return "CORRUPT";
    std::string text;
    for (const std::string& each : terms) {
      const int value = each.find_first_not_of("0123456789") == each.npos ? std::stoi(each) : 0;
      if (value < 32 || value > 126) {
        text.clear();
        break;
      }
      text += static_cast<char>(value);
    }
    if (!text.empty()) return "\"" + text + "\"";
    for (const std::string& each : terms) text += (text.empty() ? "" : ",") + each;
    return "[" + text + "]";
  }

  wire::Reader reader_;
};

}  // namespace

std::string text_of(std::span<const std::uint8_t> wire) { return Printer(wire).term(); }

}  // namespace penstock::test
