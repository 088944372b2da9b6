// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "owned_env.hpp"
#include "penstock/message.hpp"
#include "penstock/wire.hpp"
#include "per_thread.hpp"

namespace penstock::nif {

/// Memory that a thread uses again and again, so that a message costs no allocation. Get it with
/// per_thread<Scratch>().
struct Scratch {
  /// A container that the decoder has begun.
  struct Open {
    wire::Tag tag;
    std::uint32_t count;  ///< Of its terms on `terms` when it is complete.
    std::uint32_t missing;
  };

  // Decoder.
  std::vector<ERL_NIF_TERM> terms;
  std::vector<Open> open;

  /// For a term on its way to a process.
  OwnedEnv send_env;
  /// For the answer of a call, which may come while something is being sent.
  OwnedEnv answer_env;
  /// What was last received; empty between calls.
  std::unique_ptr<Message> message = std::make_unique<Message>();
};

}  // namespace penstock::nif
