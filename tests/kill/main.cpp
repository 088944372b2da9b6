// SPDX-License-Identifier: Apache-2.0
// Processes that are killed or stopped before each of their accesses to shared memory in turn.
#include <gtest/gtest.h>

#include <string_view>

#include "sweep.hpp"
#include "victim.hpp"

namespace {

class Conclusion final : public testing::Environment {
  void TearDown() override { penstock::kill::Coverage::of_all().conclude(); }
};

}  // namespace

int main(int count, char** words) {
  if (count > 1 && std::string_view(words[1]) == "victim") {
    return penstock::kill::victim_main(count - 2, words + 2);
  }
  testing::InitGoogleTest(&count, words);
  testing::AddGlobalTestEnvironment(new Conclusion);
  return RUN_ALL_TESTS();
}
