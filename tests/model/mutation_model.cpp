// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cases.hpp"
#include "order_sites.hpp"

/// Are the orders of core needed, and would a test notice if one were missing? Each is weakened in
/// turn, an acquire or release to relaxed, a fence to none, and a scenario must then fail.
namespace penstock::model {
namespace {

/// The edges of docs/memory-model.md, and the scenarios that are expected to notice.
struct Edge {
  const char* name;
  std::vector<const char*> killers;
};

const std::vector<Edge>& edges() {
  static const std::vector<Edge> table = {
      {"A1", {"CallTransitionsPublishWhatLedToThem", "CallStartPublishesWhatCameBefore"}},
      {"B1", {"StreamBringsEachWordOnceInOrder"}},
      {"B2", {"StreamReaderFreesWhatItLeaves"}},
      {"B3", {"StreamReaderMayWaitForMoreThanFits", "StreamMarkCoversThatOfAnotherWriter"}},
      {"B4",
       {"StreamEndsAfterItsBytes", "StreamAbortBringsItsReason",
        "StreamClosedByItsReaderIsComplete"}},
      {"B5", {"StreamWritersExcludeEachOther"}},
      {"B6", {"StreamReadersExcludeEachOther", "StreamRoleIsLeftOutUnderALock"}},
      {"C1", {"ReceiversShareTheConsumerRole", "TwoReceiversOfTwoSendersGetOneEach"}},
      {"C2", {"ReceiverLearnsThatTheLastSenderLeft"}},
      {"C3", {"PeerIsSetOnce"}},
      {"C4",
       {"CreditRefusesNothingThatFits", "CreditRefusesNoOnlooker",
        "CreditRefusesNoOnlookerOfManyRounds"}},
      {"D1", {"DomainCallsWhoSleepsInAnotherProcess", "DomainUndoesWhatADeadProcessHadBegun"}},
      {"D10",
       {"SharedStreamReaderMayWaitForMoreThanFits", "SharedStreamMarkCoversThatOfAnotherWriter"}},
      {"D11",
       {"SharedStreamBringsItsBytes", "SharedStreamBringsItsOwnProcessItsBytes",
        "SharedStreamEndsAfterItsBytes", "SharedStreamEndsInItsOwnProcessAfterItsBytes",
        "SharedStreamEndsAfterAnybodysBytes", "SharedStreamEndsInItsOwnProcessAfterAnybodysBytes",
        "SharedStreamBringsTheReason", "SharedStreamBringsItsOwnProcessTheReason"}},
      {"D12", {"SharedQueueEndsBesideALease", "DeadReceiverInPlaceLeavesNothing"}},
      {"D2",
       {"SharedQueueIsTakenFromByOneProcessAtATime", "SharedQueueSeesALeaseThatHasEnded",
        "SharedQueueUndoesWhatADeadProcessHadBegun"}},
      {"D3",
       {"FarWaiterNeverSleepsThroughItsToken", "FarWaitersAllWakeAtTheEnd",
        "FarWaiterIsAnnouncedAgainWhenItsTokenIsGone", "FarWaitersOfOneProcessAllWake",
        "FarCallForOneThatHasGoneIsPassedOn"}},
      {"D4", {"SharedQueueWithoutSendersHasTheLastMessage"}},
      {"D5", {"DomainGivesNumbersAgain"}},
      {"D6", {"FarCallForOneThatHasGoneIsPassedOn", "FarCallForOneThatGoesIsPassedOn"}},
      {"D7", {"SharedQueueKeepsWhatTwoReadInPlace", "SharedQueueKeepsWhatIsReadInPlace"}},
      {"D8", {"SharedStreamKeepsWhatIsBeingRead"}},
      {"D9",
       {"SharedStreamGoesOnInAnotherProcess", "SharedStreamWithItsFirstReaderIsNotAbandoned",
        "SharedStreamTellsOfBytesThatWereTakenAlong"}},
      {"G1", {"SpscRingWrapsWithPadding", "MpscRingKeepsOrderAndLosesNothing"}},
      {"L1", {"LoopNeverSleepsBesideSomething"}},
      {"M1", {"MailboxBringsEachFiredWaiterOnce", "MailboxThatClosesGivesTheWakeUpToTheNext"}},
      {"M2", {"MailboxBringsEachFiredWaiterOnce", "MailboxWakesTheLoopForALatePost"}},
      {"O1", {"LastReleaseSeesWhatEveryOwnerDid"}},
      {"P1", {"MpscRingKeepsOrderAndLosesNothing", "MpscRingPadsAtItsEnd"}},
      {"P2", {"MpscRingPadsAtItsEnd", "MpscProducersShareWhatTheySawOfTheConsumer"}},
      {"P3", {"MpscProducersShareWhatTheySawOfTheConsumer"}},
      {"P4",
       {"MpscRingRefusesNothingThatFits", "MpscRingSkipsWhatADeadProducerLeft",
        "MpscRingTellsWhomItWaitsFor", "DeadCloserClosesForAllOrNobody"}},
      {"Q1",
       {"QueueOfTwoProducersKeepsOrderAndLosesNothing", "QueueDroppedWithContentsLeaksNothing"}},
      {"Q2",
       {"QueueOfTwoProducersCrossesSlabEnds", "QueueClaimThatComparesEqualIsCurrent",
        "QueueClosePublishesWhatWasDoneBefore"}},
      {"Q3", {"QueueOfTwoProducersKeepsOrderAndLosesNothing"}},
      {"Q4", {"SlabOfOneQueueServesAnother"}},
      {"Q5", {"QueueClosePublishesWhatWasDoneBefore"}},
      {"R1", {"SpscRingWrapsWithPadding", "SpscRingPublishesBeforeItsEnd"}},
      {"R2", {"SpscRingWrapsWithPadding", "SpscRingOutlivesItsProducer"}},
      {"S1", {"OneAtATimeMovesWhatAllPutDown"}},
      {"S2", {"DoorbellWakesTheListener", "DoorbellWakesTheLooker"}},
      {"S3", {"ReceiverRoleIsHandedOver", "DoorbellIsHeardBesideALook"}},
      {"W1",
       {"WaiterNeverSleepsThroughItsToken", "WaitersAllWakeAtTheEnd", "LineWakesAtThePosition",
        "FarWaiterIsAnnouncedAgainWhenItsTokenIsGone", "FarWaitersAllWakeWhenAProcessForgets",
        "SharedQueueWakesWhoWaitsForRoom"}},
      {"W2", {"WaiterNeverSleepsThroughItsToken"}},
      {"W3",
       {"WaiterSeesWhatItsNotifierDid", "WaiterSeesWhatItsInterrupterDid",
        "WaiterLeavesOnlyAfterItsNotifiersLastTouch", "WaiterNeverSleepsThroughItsToken"}},
  };
  return table;
}

/// An order that no scenario misses at this place (although its edge is needed elsewhere), and why.
struct Survivor {
  const char* edge;
  Side side;
  const char* function;
  unsigned nth;  ///< Among the sites of that edge and side in the function.
  const char* reason;
};

constexpr const char* kByTheRole =
    "unneeded: only who has the reader role looks at what was pulled, and B6 orders that";

constexpr Survivor kSurvivors[] = {
    {"A1", kAcquire, "Call::move", 0,
     "unneeded: a transition that succeeds after one that failed has acquired by the failure"},
    {"B1", kRelease, "ByteStream::begin_at", 0, kByTheRole},
    {"B1", kRelease, "ByteStream::pull", 0, kByTheRole},
    {"B4", kRelease, "ByteStream::end_here", 0, kByTheRole},
    {"B4", kRelease, "ByteStream::end_here", 1, kByTheRole},
    {"B4", kRelease, "ByteStream::end_with", 0, kByTheRole},
    {"D4", kRelease, "SharedQueue::recover", 0,
     "unneeded: who takes a message afterwards takes the role that recover() has given back"},
    {"P4", kAcquire, "MpscProducer::try_claim", 1,
     "needed as C4's is at the same step; takes more rounds than are explored"},
    {"Q2", kRelease, "Queue::push", 0,
     "unneeded: a claim within a slab continues the release sequence of the one that began it"},
};

bool is_of_core(const OrderSite& site) {
  return std::strcmp(site.edge, "test") != 0 && std::strcmp(site.edge, "drain") != 0;
}

const Case& case_named(const std::string& name) {
  static const std::vector<Case> all = all_cases();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Case& it) { return name == it.name; });
  if (found == all.end()) throw std::logic_error("no scenario is called " + name);
  return *found;
}

const Edge* edge_named(const char* name) {
  for (const Edge& edge : edges()) {
    if (std::strcmp(edge.name, name) == 0) return &edge;
  }
  return nullptr;
}

/// The scenario that fails under the mutant in force; nullptr if none does.
const char* killer_of(const Edge& edge) {
  for (const char* name : edge.killers) {
    const Case& it = case_named(name);
    if (explore(it.scenario, it.plan).failed) return it.name;
  }
  return nullptr;
}

/// Every site of core, from a short look at every scenario.
const std::vector<OrderSite>& all_sites() {
  OrderSites& sites = OrderSites::instance();
  static const bool once = [] {
    for (Case it : all_cases()) {
      it.plan.most_executions = 300;
      it.plan.random_executions = 100;
      (void)explore(it.scenario, it.plan);
    }
    return true;
  }();
  (void)once;
  return sites.all();
}

/// Place of a site among those of its edge and side in its function, in the order of the source.
unsigned place_of(const OrderSite& site, Side side) {
  unsigned place = 0;
  for (const OrderSite& other : all_sites()) {
    if (std::strcmp(other.edge, site.edge) == 0 && (other.sides & side) != 0 &&
        std::strcmp(other.function, site.function) == 0 &&
        (other.line < site.line || (other.line == site.line && other.column < site.column))) {
      ++place;
    }
  }
  return place;
}

const Survivor* survivor_at(const OrderSite& site, Side side) {
  for (const Survivor& it : kSurvivors) {
    if (std::strcmp(it.edge, site.edge) == 0 && it.side == side &&
        std::strstr(site.function, it.function) != nullptr && place_of(site, side) == it.nth) {
      return &it;
    }
  }
  return nullptr;
}

constexpr Side kEachSide[] = {kAcquire, kRelease, kFence};

TEST(Mutation, TableNamesExactlyTheEdgesOfCore) {
  std::vector<std::string> used;
  for (const OrderSite& site : all_sites()) {
    if (is_of_core(site)) used.emplace_back(site.edge);
  }
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  std::vector<std::string> listed;
  for (const Edge& edge : edges()) listed.emplace_back(edge.name);
  EXPECT_EQ(used, listed);
}

TEST(Mutation, EveryEdgeIsMissedOnEachSide) {
  OrderSites& sites = OrderSites::instance();
  for (const Edge& edge : edges()) {
    unsigned sides = 0;
    for (const OrderSite& site : all_sites()) {
      if (std::strcmp(site.edge, edge.name) == 0) sides |= site.sides;
    }
    for (const Side side : kEachSide) {
      if ((sides & side) == 0) continue;
      sites.weaken_edge(edge.name, side);
      const char* const killer = killer_of(edge);
      sites.restore();
      EXPECT_NE(killer, nullptr) << "no scenario misses " << edge.name << " " << name_of(side);
      std::printf("%s without %-8s fails %s\n", edge.name, name_of(side),
                  killer == nullptr ? "nothing" : killer);
    }
  }
}

TEST(Mutation, EveryOrderIsMissedAtItsPlaceOrListed) {
  OrderSites& sites = OrderSites::instance();
  std::size_t listed = 0;
  for (std::size_t index = 0; index < all_sites().size(); ++index) {
    const OrderSite site = all_sites()[index];
    const Edge* const edge = edge_named(site.edge);
    if (!is_of_core(site) || edge == nullptr) continue;
    for (const Side side : kEachSide) {
      if ((site.sides & side) == 0) continue;
      sites.weaken_site(index, side);
      const char* const killer = killer_of(*edge);
      sites.restore();
      const Survivor* const survivor = survivor_at(site, side);
      listed += survivor != nullptr ? 1 : 0;
      if (killer == nullptr && survivor != nullptr) {
        std::printf("%s %s survives: %s\n", site.text().c_str(), name_of(side), survivor->reason);
      }
      EXPECT_TRUE(killer != nullptr || survivor != nullptr)
          << "no scenario misses " << site.text() << " " << name_of(side);
      EXPECT_TRUE(killer == nullptr || survivor == nullptr)
          << killer << " misses " << site.text() << " " << name_of(side)
          << ": take it off the list of survivors";
    }
  }
  EXPECT_EQ(listed, std::size(kSurvivors)) << "a listed survivor is no longer in core";
}

TEST(Mutation, NothingFailsOnceAllIsRestored) {
  OrderSites& sites = OrderSites::instance();
  for (const Edge& edge : edges()) {
    sites.weaken_edge(edge.name, kAllSides);
    EXPECT_NE(killer_of(edge), nullptr) << edge.name;
    sites.restore();
    for (const char* name : edge.killers) {
      Case it = case_named(name);
      it.plan.most_executions = 2'000;
      it.plan.random_executions = 0;
      EXPECT_FALSE(explore(it.scenario, it.plan).failed) << name;
    }
  }
}

}  // namespace
}  // namespace penstock::model
