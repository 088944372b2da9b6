// SPDX-License-Identifier: Apache-2.0
#include "cases.hpp"

namespace penstock::model {

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto cases :
       {queue_cases(), waiter_cases(), channel_cases(), mailbox_cases(), ring_cases(),
        object_cases(), stream_cases(), position_line_cases(), sleep_state_cases(),
        far_line_cases(), doorbell_cases(), shared_queue_cases(), domain_cases(),
        shared_stream_cases(), death_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace penstock::model
