// SPDX-License-Identifier: Apache-2.0
// Channels that processes share without a VM: within one process.
#include "penstock/sharing.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "penstock/descriptors.hpp"
#include "sharing_case.hpp"

namespace penstock {
namespace {

using namespace test;

class Sharing : public Tidy {};
class SharingAddress : public Tidy {};

// One process
// ------------------------------------------------------------------------------------------------

TEST_F(Sharing, OneProcessMayCreateAndConnect) {
  const auto at = address("one");
  const auto created = SharedChannel::create(at, {.max_size = 1000, .content = Content::bytes});
  const auto other = SharedChannel::connect(at);
  EXPECT_EQ(other.content(), Content::bytes);
  EXPECT_EQ(other.max_size(), 1000U);
  EXPECT_EQ(other.send(Bytes{1, 2, 3}), Status::ok);
  EXPECT_EQ(other.send(Bytes{}), Status::ok);
  EXPECT_EQ(other.send(Bytes(1000, 7)), Status::ok);
  EXPECT_EQ(other.send(Bytes(1001)), Status::too_large);
  EXPECT_GT(created.size(), 0U);
  Bytes message;
  EXPECT_EQ(created.receive(message), Status::ok);
  EXPECT_EQ(message, (Bytes{1, 2, 3}));
  EXPECT_EQ(created.receive(message), Status::ok);
  EXPECT_EQ(message, Bytes{});
  EXPECT_EQ(created.receive(message), Status::ok);
  EXPECT_EQ(message, Bytes(1000, 7));
  EXPECT_EQ(created.receive(message, 0ns), Status::empty);
  EXPECT_EQ(created.receive(message, 1ms), Status::empty);
  while (created.send(Bytes(1000), 0ns) == Status::ok) {
  }
  EXPECT_EQ(other.send(Bytes(1000), 1ms), Status::full);
  other.close();
  EXPECT_TRUE(created.is_closed());
  EXPECT_EQ(created.send(Bytes{1}), Status::closed);
  EXPECT_EQ(created.receive(message), Status::ok);
}

std::atomic<int> signals{0};

/// A signal that is handled is the program's own affair.
TEST_F(Sharing, SignalsEndNoWait) {
  struct sigaction handler {};
  struct sigaction before {};
  handler.sa_handler = [](int) {
    const int error = errno;
    ++signals;
    errno = error;
  };
  ASSERT_EQ(sigaction(SIGUSR1, &handler, &before), 0);
  const auto channel = SharedChannel::create(address("signals"), {.max_size = 1000});
  std::thread receiver([&] {
    Bytes message;
    EXPECT_EQ(channel.receive(message, 60s), Status::ok);
  });
  while (signals < 100) {
    pthread_kill(receiver.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  EXPECT_EQ(channel.send(Bytes{1}), Status::ok);
  receiver.join();
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(Sharing, TermsAreCheckedBeforeTheyAreSent) {
  const auto at = address("terms");
  const auto created = SharedChannel::create(at, {.content = Content::terms});
  const Bytes pair{104, 2, 97, 1, 109, 0, 0, 0, 1, 'x'};  // {1, <<"x">>}
  const Bytes list{108, 0, 0, 0, 1, 97, 5, 106};          // [5]
  EXPECT_EQ(created.send(pair), Status::ok);
  EXPECT_EQ(created.send(list), Status::ok);
  EXPECT_EQ(created.send(Bytes{}), Status::corrupt);
  EXPECT_EQ(created.send(Bytes{97}), Status::corrupt);
  EXPECT_EQ(created.send(Bytes{97, 1, 97, 1}), Status::corrupt);   // Two.
  EXPECT_EQ(created.send(Bytes{104, 2, 97, 1}), Status::corrupt);  // Half of one.
  EXPECT_EQ(created.send(Bytes{108, 0, 0, 0, 1, 97, 5}), Status::corrupt);
  EXPECT_EQ(created.send(Bytes{4, 1, 0, 0, 0, 0, 0, 0, 0}), Status::corrupt);     // An atom's word.
  EXPECT_EQ(created.send(Bytes{9, 0, 1, 0, 0, 0, 0, 0, 0, 0}), Status::corrupt);  // An address.
  EXPECT_EQ(created.send(Bytes{5, 1, 0, 0, 0, 0, 0, 0, 0}), Status::not_shared);  // A pid.
  Bytes message;
  EXPECT_EQ(created.receive(message), Status::ok);
  EXPECT_EQ(message, pair);
}

TEST_F(Sharing, ItsEndIsItsCreators) {
  const auto at = address("end");
  std::optional<SharedChannel> created = SharedChannel::create(at);
  const auto other = SharedChannel::connect(at);
  EXPECT_EQ(created->send(bytes_of(1)), Status::ok);
  created.reset();
  Bytes message;
  EXPECT_EQ(other.receive(message, 60s), Status::ok);
  EXPECT_EQ(other.receive(message, 60s), Status::closed);
  EXPECT_EQ(other.send(bytes_of(2)), Status::closed);
  EXPECT_EQ(error_of([&] { (void)other.invite(); }), EINVAL);
  // Its address goes soon.
  int error = 0;
  for (Patience patience; error != ECONNREFUSED && patience.another_turn();) {
    error = error_of([&] { (void)SharedChannel::connect(at); });
  }
  EXPECT_EQ(error, ECONNREFUSED);
}

TEST_F(Sharing, NumbersComeBack) {
  const auto at = address("numbers");
  const auto created = SharedChannel::create(at);
  for (int turn = 0; turn < 3; ++turn) {
    // Those of the turn before may be going yet.
    std::vector<SharedChannel> all;
    for (Patience patience; all.size() < 62 && patience.another_turn();) {
      (void)error_of([&] { all.push_back(SharedChannel::connect(at)); });
    }
    ASSERT_EQ(all.size(), 62U);
    EXPECT_EQ(error_of([&] { (void)SharedChannel::connect(at); }), ENOSPC);
    EXPECT_EQ(all.back().send(bytes_of(9)), Status::ok);
    Bytes message;
    EXPECT_EQ(created.receive(message, 60s), Status::ok);
  }
}

// Addresses
// ------------------------------------------------------------------------------------------------

struct Folder {
  Folder() { EXPECT_NE(mkdtemp(path), nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  char path[32] = "/tmp/penstock-XXXXXX";
};

TEST_F(SharingAddress, APathIsThereForAsLongAsTheChannel) {
  const Folder folder;
  const std::string at = std::string(folder.path) + "/channel";
  {
    const auto created = SharedChannel::create(at);
    struct stat file {};
    ASSERT_EQ(stat(at.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600U);
    EXPECT_EQ(error_of([&] { (void)SharedChannel::create(at); }), EADDRINUSE);
    (void)SharedChannel::connect(at);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path));
}

TEST_F(SharingAddress, WhatADeadProcessLeftIsTakenOver) {
  const Folder folder;
  const std::string at = std::string(folder.path) + "/channel";
  {
    Descriptor listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    at.copy(name.sun_path, at.size());
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    ASSERT_EQ(listen(listener.get(), 1), 0);
  }
  EXPECT_EQ(error_of([&] { (void)SharedChannel::connect(at); }), ECONNREFUSED);
  {
    const auto created = SharedChannel::create(at);
    (void)SharedChannel::connect(at);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path));
}

TEST_F(SharingAddress, AFileThatIsNoSocketStays) {
  const Folder folder;
  const std::string at = std::string(folder.path) + "/file";
  const Descriptor file(open(at.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_EQ(error_of([&] { (void)SharedChannel::create(at); }), EADDRINUSE);
  EXPECT_TRUE(std::filesystem::is_regular_file(at));
}

TEST_F(SharingAddress, WrongOnesAreRefused) {
  EXPECT_EQ(error_of([] { (void)SharedChannel::create("@"); }), EINVAL);
  EXPECT_EQ(error_of([] { (void)SharedChannel::create(std::string(200, 'x')); }), ENAMETOOLONG);
  EXPECT_EQ(error_of([] { (void)SharedChannel::connect(""); }), EINVAL);
  EXPECT_EQ(error_of([] { (void)SharedChannel::connect("/nonexistent/x"); }), ENOENT);
  EXPECT_EQ(error_of([] { (void)SharedChannel::connect(-1); }), EBADF);
  EXPECT_EQ(error_of([] { (void)SharedChannel::create("", {.max_size = 0}); }), EINVAL);
  EXPECT_EQ(error_of([] { (void)SharedChannel::create("", {.max_size = (1U << 24) + 1}); }),
            EINVAL);
}

}  // namespace
}  // namespace penstock
