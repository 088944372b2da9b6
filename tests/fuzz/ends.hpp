// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "penstock/byte_stream.hpp"
#include "penstock/channel.hpp"
#include "penstock/portable.hpp"

namespace penstock::fuzz {

/// The end of a link: of all that may be named across it, it knows one channel, one
/// buffer and one call, and
/// the atoms and pids of the process's host.
class LinkEnd final : public wire::Porter {
 public:
  LinkEnd();
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override;
  [[nodiscard]] Status token_of(wire::HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept override;
  [[nodiscard]] Status object_of(wire::HandleKind kind, std::uint64_t token,
                                 Ref<Object>* object) noexcept override;
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override;

  [[nodiscard]] const Ref<Channel>& channel() const { return channel_; }
  [[nodiscard]] const Ref<ByteStream>& stream() const { return stream_; }

 private:
  const Ref<Channel> channel_;
  const Ref<ByteStream> stream_;
  const Ref<Object> call_;
};

}  // namespace penstock::fuzz
