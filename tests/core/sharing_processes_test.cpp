// SPDX-License-Identifier: Apache-2.0
// Channels that processes share without a VM: real processes, also such that are killed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "penstock/descriptors.hpp"
#include "penstock/sharing.hpp"
#include "role.hpp"
#include "sharing_case.hpp"

namespace penstock {
namespace {

using namespace test;

class SharingAccess : public Tidy {};
class SharingForks : public Tidy {};
class SharingProcesses : public Tidy {};

std::vector<std::string> settings(const std::string& at, std::uint64_t number = 0) {
  return {"PENSTOCK_AT=" + at, "PENSTOCK_NUMBER=" + std::to_string(number)};
}

std::string role_address() {
  const char* const at = std::getenv("PENSTOCK_AT");
  return at == nullptr ? "" : at;
}

// Roles
// ------------------------------------------------------------------------------------------------

TEST(SharingRole, DISABLED_SendsNumbers) {
  const auto channel = SharedChannel::connect(role_address());
  std::uint64_t const mine = role_setting("PENSTOCK_NUMBER") << 32;
  for (std::uint64_t i = 0; i < scaled(20'000); ++i) {
    ASSERT_EQ(channel.send(bytes_of(mine | i), 60s), Status::ok);
  }
}

TEST(SharingRole, DISABLED_ForwardsUntilTheEnd) {
  const auto from = SharedChannel::connect(role_address() + "-in");
  const auto to = SharedChannel::connect(role_address() + "-out");
  Bytes message;
  Status status = Status::ok;
  while ((status = from.receive(message, 60s)) == Status::ok) {
    ASSERT_EQ(to.send(message, 60s), Status::ok);
  }
  ASSERT_EQ(status, Status::closed);
}

TEST(SharingRole, DISABLED_SendsForEver) {
  const auto channel = SharedChannel::connect(role_address());
  while (channel.send(Bytes(role_setting("PENSTOCK_NUMBER")), 60s) == Status::ok) {
  }
}

TEST(SharingRole, DISABLED_ReceivesForEver) {
  const auto channel = SharedChannel::connect(role_address());
  Bytes message;
  while (channel.receive(message, 60s) == Status::ok) {
  }
}

TEST(SharingRole, DISABLED_CreatesAndSendsForEver) {
  const auto channel =
      SharedChannel::create(role_address(), {.max_size = 4096, .content = Content::bytes});
  for (std::uint64_t i = 1; channel.send(bytes_of(i), 60s) == Status::ok; ++i) {
  }
}

TEST(SharingRole, DISABLED_CreatesAndSleeps) {
  const auto channel = SharedChannel::create(role_address());
  Bytes message;
  (void)channel.receive(message, 60s);
}

TEST(SharingRole, DISABLED_ConnectsByAnInvitation) {
  const auto channel = SharedChannel::connect(kRoleDescriptor);
  ASSERT_EQ(channel.send(bytes_of(4711)), Status::ok);
}

/// As somebody else.
TEST(SharingRole, DISABLED_AnotherUserIsRefused) {
  ASSERT_EQ(setresuid(65534, 65534, 65534), 0);
  EXPECT_EQ(error_of([] { (void)SharedChannel::connect(role_address()); }), EPERM);
  // By an invitation, too: it was given away.
  EXPECT_EQ(error_of([] { (void)SharedChannel::connect(kRoleDescriptor); }), EPERM);
}

/// One whose creator is another user; root may have it.
TEST(SharingRole, DISABLED_AnotherUserCreates) {
  ASSERT_EQ(setresuid(65534, 65534, 65534), 0);
  const auto channel = SharedChannel::create(role_address());
  Bytes message;
  EXPECT_EQ(channel.receive(message, 60s), Status::ok);
}

// Several processes
// ------------------------------------------------------------------------------------------------

TEST_F(SharingProcesses, SeveralSendAndSeveralReceive) {
  const auto at = address("several");
  const auto in = SharedChannel::create(at + "-in", {.max_size = 4096});
  const auto out = SharedChannel::create(at + "-out", {.max_size = 4096});
  constexpr std::uint64_t kSenders = 3;
  std::uint64_t const each = scaled(20'000);
  std::vector<std::unique_ptr<Role>> roles;
  for (int i = 0; i < 2; ++i) {
    roles.push_back(
        std::make_unique<Role>("SharingRole.DISABLED_ForwardsUntilTheEnd", settings(at), -1));
  }
  for (std::uint64_t i = 0; i < kSenders; ++i) {
    roles.push_back(
        std::make_unique<Role>("SharingRole.DISABLED_SendsNumbers", settings(at + "-in", i), -1));
  }
  std::vector<std::vector<bool>> seen(kSenders, std::vector<bool>(each));
  Bytes message;
  for (std::uint64_t i = 0; i < kSenders * each; ++i) {
    ASSERT_EQ(out.receive(message, 60s), Status::ok);
    std::uint64_t const number = number_in(message);
    ASSERT_LT(number >> 32, kSenders);
    ASSERT_LT(number & UINT32_MAX, each);
    auto place = seen[number >> 32][number & UINT32_MAX];
    ASSERT_FALSE(place) << number;
    place = true;
  }
  in.close();
  for (auto& role : roles) EXPECT_TRUE(role->succeeded());
  EXPECT_EQ(out.receive(message, 0ns), Status::empty);
}

TEST_F(SharingProcesses, AChildConnectsByAnInvitation) {
  const auto created = SharedChannel::create("");
  const Descriptor invitation(created.invite());
  Role child("SharingRole.DISABLED_ConnectsByAnInvitation", {}, invitation.get());
  Bytes message;
  ASSERT_EQ(created.receive(message, 60s), Status::ok);
  EXPECT_EQ(number_in(message), 4711U);
  EXPECT_TRUE(child.succeeded());
}

/// At any moment: in the midst of a message, of taking one, asleep.
TEST_F(SharingProcesses, GoesOnWhenOthersAreKilled) {
  const auto at = address("killed");
  const auto created = SharedChannel::create(at, {.max_size = 65536});
  Random random(7);
  for (std::uint64_t turn = 0; turn < scaled(24); ++turn) {
    // Some of the messages are longer than a block.
    const auto sent = settings(at, turn % 2 == 0 ? 65536 : 100);
    Role sender("SharingRole.DISABLED_SendsForEver", sent, -1);
    Role receiver("SharingRole.DISABLED_ReceivesForEver", settings(at), -1);
    Bytes message;
    for (std::uint64_t i = 0; i < 50 + random.below(200); ++i) {
      ASSERT_EQ(created.receive(message, 60s), Status::ok);
    }
  }  // Killed, the receiver first.
  // Neither is waited for, and the room of both comes back.
  const auto other = SharedChannel::connect(at);
  Bytes message;
  for (Patience patience; created.size() != 0 && patience.another_turn();) {
    (void)created.receive(message, 0ns);
  }
  std::uint64_t count = 0;
  while (other.send(Bytes(65536), 0ns) == Status::ok) ++count;
  EXPECT_GE(count, 2U);
  for (; count != 0; --count) ASSERT_EQ(created.receive(message, 60s), Status::ok);
}

/// What the creator had sent is received, in order and without a gap, and then it is over.
TEST_F(SharingProcesses, EndsWhenItsCreatorIsKilled) {
  for (std::uint64_t turn = 0; turn < scaled(24); ++turn) {
    const auto at = address("creator");
    std::optional<SharedChannel> mine;
    {
      Role creator("SharingRole.DISABLED_CreatesAndSendsForEver", settings(at), -1);
      for (Patience patience; !mine && patience.another_turn();) {
        (void)error_of([&] { mine = SharedChannel::connect(at); });
      }
      ASSERT_TRUE(mine);
      Role sleeper("SharingRole.DISABLED_ReceivesForEver", settings(at), -1);
      Bytes message;
      for (std::uint64_t i = 0; i < 100 * turn; ++i) {
        ASSERT_EQ(mine->receive(message, 60s), Status::ok);
      }
    }  // Both are dead now, and nobody else recovers what they had begun.
    std::uint64_t last = 0;
    Bytes message;
    Status status = Status::ok;
    while ((status = mine->receive(message, 60s)) == Status::ok) {
      ASSERT_GT(number_in(message), last);
      last = number_in(message);
    }
    ASSERT_EQ(status, Status::closed);
    ASSERT_EQ(mine->send(Bytes(8), 60s), Status::closed);
  }
}

/// Also of somebody who sleeps.
TEST_F(SharingProcesses, TheCreatorsDeathWakesReceivers) {
  const auto at = address("asleep");
  std::optional<SharedChannel> mine;
  Bytes message;
  std::thread receiver;
  {
    Role creator("SharingRole.DISABLED_CreatesAndSleeps", settings(at), -1);
    for (Patience patience; !mine && patience.another_turn();) {
      (void)error_of([&] { mine = SharedChannel::connect(at); });
    }
    ASSERT_TRUE(mine);
    receiver = std::thread([&] { EXPECT_EQ(mine->receive(message, 60s), Status::closed); });
  }
  receiver.join();
}

// Who is let in
// ------------------------------------------------------------------------------------------------

TEST_F(SharingAccess, AnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  const auto at = address("user");
  const auto created = SharedChannel::create(at);
  const Descriptor invitation(created.invite());
  Role other("SharingRole.DISABLED_AnotherUserIsRefused", settings(at), invitation.get());
  EXPECT_TRUE(other.succeeded());
}

TEST_F(SharingAccess, RootMayUseAnybodysChannel) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  const auto at = address("root");
  Role other("SharingRole.DISABLED_AnotherUserCreates", settings(at), -1);
  std::optional<SharedChannel> mine;
  for (Patience patience; !mine && patience.another_turn();) {
    (void)error_of([&] { mine = SharedChannel::connect(at); });
  }
  ASSERT_TRUE(mine);
  EXPECT_EQ(mine->send(Bytes{1}, 60s), Status::ok);
  EXPECT_TRUE(other.succeeded());
}

Descriptor raw_connection(const std::string& at) {
  Descriptor made(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  at.copy(name.sun_path, at.size());
  name.sun_path[0] = 0;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + at.size());
  EXPECT_EQ(::connect(made.get(), reinterpret_cast<const sockaddr*>(&name), size), 0);
  return made;
}

/// Anything, with descriptors, too: it is put out, and the others notice nothing.
TEST_F(SharingAccess, NonsenseIsPutOut) {
  const auto at = address("nonsense");
  const auto created = SharedChannel::create(at);
  Random random(3);
  for (std::size_t size : {0, 1, 39, 40, 41, 4000}) {
    const Descriptor raw = raw_connection(at);
    Bytes packet(size);
    for (std::uint8_t& byte : packet) byte = static_cast<std::uint8_t>(random.next());
    const int gift[] = {0, 1, 2};
    if (size == 0) {
      ASSERT_EQ(send(raw.get(), "", 0, MSG_NOSIGNAL), 0);
    } else {
      ASSERT_EQ(send_descriptors(raw.get(), packet, gift), 0);
    }
    // An answer, perhaps, and the end.
    std::uint8_t byte = 0;
    while (recv(raw.get(), &byte, 1, 0) > 0) {
    }
  }
  // Right words out of turn.
  for (std::uint32_t kind : {0U, 2U, 3U, 4U, 5U, 6U}) {
    const Descriptor raw = raw_connection(at);
    const std::uint32_t words[10] = {0x74656D70, 1, kind};
    ASSERT_EQ(send(raw.get(), words, sizeof words, MSG_NOSIGNAL), 40);
    std::uint8_t byte = 0;
    while (recv(raw.get(), &byte, 1, 0) > 0) {
    }
  }
  const auto other = SharedChannel::connect(at);
  EXPECT_EQ(other.send(Bytes{1}), Status::ok);
  Bytes message;
  EXPECT_EQ(created.receive(message, 60s), Status::ok);
}

/// Who speaks another version is told so.
TEST_F(SharingAccess, AnotherVersionIsRefused) {
  const auto at = address("version");
  const auto created = SharedChannel::create(at);
  const Descriptor raw = raw_connection(at);
  const std::uint32_t words[10] = {0x74656D70, 2, 1};
  ASSERT_EQ(send(raw.get(), words, sizeof words, MSG_NOSIGNAL), 40);
  std::uint32_t answer[10] = {};
  ASSERT_EQ(recv(raw.get(), answer, sizeof answer, 0), 40);
  EXPECT_EQ(answer[2], 4U);  // refused
  EXPECT_EQ(answer[3], static_cast<std::uint32_t>(EPROTONOSUPPORT));
}

/// A server that is something else, and one that says nothing.
TEST_F(SharingAccess, AStrangeServerIsNotTakenForACreator) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor strange(ends[0]);
  ASSERT_EQ(send(strange.get(), "220 smtp ready", 14, 0), 14);
  EXPECT_EQ(error_of([&] { (void)SharedChannel::connect(ends[1]); }), EPROTO);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor silent(ends[0]);
  EXPECT_EQ(error_of([&] { (void)SharedChannel::connect(ends[1], 1ms); }), ETIMEDOUT);
}

/// A guest that has waited long enough may have been let in just then: it would count as there, for
/// as long as its process lives.
TEST_F(SharingAccess, WhoGivesUpSaysSo) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor creator(ends[0]);
  std::vector<std::uint32_t> said;
  std::thread slow([&] {
    std::uint32_t words[10] = {};
    while (recv(creator.get(), words, sizeof words, 0) == sizeof words) {
      said.push_back(words[2]);
      if (said.back() == 1) (void)!send(creator.get(), words, sizeof words, MSG_NOSIGNAL);
    }
  });
  EXPECT_EQ(error_of([&] { (void)SharedChannel::connect(ends[1], 100ms); }), ETIMEDOUT);
  slow.join();
  EXPECT_EQ(said, (std::vector<std::uint32_t>{1, 2, 5}));  // hello, here, bye
}

// Forks
// ------------------------------------------------------------------------------------------------

/// The child has none of it, keeps nothing of it, and may connect by itself.
TEST_F(SharingForks, AChildHasAConnectionOfItsOwn) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer allows a forked child no threads";
#endif
  const auto at = address("fork");
  std::optional<SharedChannel> created = SharedChannel::create(at);
  const auto connected = SharedChannel::connect(at);
  const pid_t child = fork();
  if (child == 0) {
    Bytes message;
    bool is_good = created->send(bytes_of(1)) == Status::closed &&
                   connected.receive(message) == Status::closed && connected.is_closed();
    created.reset();
    const auto mine = SharedChannel::connect(at);
    is_good = is_good && mine.send(bytes_of(17)) == Status::ok &&
              connected.send(bytes_of(1)) == Status::closed;
    _exit(is_good ? 17 : 1);
  }
  Bytes message;
  ASSERT_EQ(created->receive(message, 60s), Status::ok);
  EXPECT_EQ(number_in(message), 17U);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 17) << status;
  EXPECT_EQ(connected.send(bytes_of(2)), Status::ok);
  EXPECT_EQ(created->receive(message, 60s), Status::ok);
}

/// A child that outlives the creator would hold the address, where nobody answers.
TEST_F(SharingForks, AChildDoesNotKeepTheAddress) {
  const auto at = address("held");
  std::optional<SharedChannel> created = SharedChannel::create(at);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Descriptor end(ends[1]);
  const Descriptor other_end(ends[0]);
  const pid_t child = fork();
  if (child == 0) {
    end = {};
    char byte = 0;
    (void)!read(other_end.get(), &byte, 1);
    _exit(0);
  }
  created.reset();
  int error = EADDRINUSE;
  for (Patience patience; error == EADDRINUSE && patience.another_turn();) {
    error = error_of([&] { created = SharedChannel::create(at); });
  }
  EXPECT_EQ(error, 0);
  end = {};
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace penstock
