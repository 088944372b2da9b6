// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>

#include "counters.hpp"
#include "penstock/byte_stream.hpp"
#include "penstock/ref.hpp"
#include "resource.hpp"

namespace penstock::nif {

/// Erlang's side of a buffer: what the references that py_buffer hands out refer to.
///
/// As long as one such reference exists in Erlang, somebody could write; when the last one goes and
/// the buffer was not closed, readers are told. So they are when the writer dies: the process that
/// wrote last, or that was named.
///
/// Threads: any. Edges:
///   N3  unlock -> lock of lock_: the writer and its monitor belong together.
class StreamResource {
 public:
  using Core = ByteStream;

  explicit StreamResource(Ref<ByteStream> stream) noexcept : stream_(std::move(stream)) {}
  ~StreamResource();

  [[nodiscard]] ByteStream& core() const noexcept { return *stream_; }
  [[nodiscard]] Ref<ByteStream> share() const noexcept { return stream_; }

  /// `process` is the writer from now on. Costs a load if it was before. If it is dead already, the
  /// buffer is aborted.
  void set_writer(ErlNifEnv* env, const ErlNifPid& process) noexcept;

  /// A process that was the writer is gone.
  void down(const ErlNifPid& process) noexcept;

 private:
  class Guard;
  const Ref<ByteStream> stream_;
  Atomic<std::uint64_t> writer_{0};  // A local pid's word; 0: nobody yet.
  Atomic<std::uint32_t> lock_{0};
  ErlNifMonitor monitor_{};  // Of writer_, if that is not 0.
  [[no_unique_address]] Counted<&Counters::buffers> counted_;
};

}  // namespace penstock::nif
