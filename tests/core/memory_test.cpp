// SPDX-License-Identifier: Apache-2.0
#include "penstock/memory.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <unordered_set>

#include "penstock/slab.hpp"
#include "support.hpp"

namespace penstock {
namespace {

TEST(Memory, FailsFromTheNamedAllocationOn) {
  memory::fail_after(3);
  void* const first = memory::allocate(10);
  void* const second = memory::allocate(10);
  EXPECT_NE(first, nullptr);
  EXPECT_NE(second, nullptr);
  EXPECT_EQ(memory::allocate(10), nullptr);
  EXPECT_EQ(memory::reallocate(first, 100), nullptr);
  EXPECT_EQ(memory::map_blocks(1, slab::kAlignment), nullptr);
  memory::fail_after(0);
  void* const grown = memory::reallocate(first, 100);
  EXPECT_NE(grown, nullptr);
  memory::free(grown);
  memory::free(second);
  memory::free(nullptr);
}

TEST(Memory, MapsAlignedZeroedBlocksThatAreFreedOneByOne) {
  for (std::size_t const count : {1U, 2U, 7U}) {
    auto* const first = static_cast<std::uint8_t*>(memory::map_blocks(count, 65536));
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 65536, 0U);
    for (std::size_t i = 0; i < count * 65536; ++i) ASSERT_EQ(first[i], 0);
    for (std::size_t i = count; i-- > 0;) {
      first[i * 65536] = 1;
      memory::unmap_block(first + i * 65536, 65536);
    }
  }
}

TEST(Slab, IsAlignedAndNeverGivenOutTwice) {
  std::unordered_set<std::uint8_t*> taken;
  for (int i = 0; i < 200; ++i) {
    std::uint8_t* const slab = slab::take();
    ASSERT_NE(slab, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slab) % slab::kAlignment, 0U);
    EXPECT_TRUE(taken.insert(slab).second);
  }
  for (std::uint8_t* const slab : taken) slab::give(slab);
}

TEST(Slab, IsRefusedOnceMemoryRunsOut) {
  test::FailingMemory const none(1);
  std::vector<std::uint8_t*> taken;
  while (std::uint8_t* const slab = slab::take()) {
    taken.push_back(slab);
    ASSERT_LT(taken.size(), 1000U);
  }
  for (std::uint8_t* const slab : taken) slab::give(slab);
}

TEST(Slab, PassesBetweenThreadsWithItsContents) {
  std::atomic<unsigned> faults{0};
  std::vector<std::jthread> threads;
  for (std::uint8_t id = 1; id <= 3; ++id) {
    threads.emplace_back([&, id] {
      for (std::uint64_t round = 0; round < test::scaled(100'000); ++round) {
        std::uint8_t* const slab = slab::take();
        if (slab == nullptr || slab[0] != 0) {
          faults.fetch_add(1);
          return;
        }
        slab[0] = id;
        slab[0] = 0;
        slab::give(slab);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(faults.load(), 0U);
}

}  // namespace
}  // namespace penstock
