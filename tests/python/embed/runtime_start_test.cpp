// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "runtime_fixture.hpp"

namespace penstock::test {
namespace {

TEST(RuntimeStart, SeveralThreadsMayStartItAndAllWait) {
  std::vector<std::thread> threads;
  std::atomic<int> ok{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      ok += python::start_runtime({PENSTOCK_PYTHON, PENSTOCK_PACKAGE}).empty() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, 4);
}

/// What this program prints when it starts the runtime with these settings, in a process of its
/// own.
std::string start_elsewhere(const std::string& executable, const std::string& package) {
  char self[4096];  // Resolved here: to the shell it would be the shell.
  const ssize_t size = readlink("/proc/self/exe", self, sizeof self);
  if (size <= 0) return "no /proc";
  const std::string command = std::string(self, static_cast<std::size_t>(size)) + " --start '" +
                              executable + "' '" + package + "' 2>&1";
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "no shell";
  std::string text;
  for (int byte = fgetc(pipe); byte != EOF; byte = fgetc(pipe)) text += static_cast<char>(byte);
  pclose(pipe);
  return text;
}

TEST(RuntimeStart, AVirtualEnvironmentIsUsedWithItsPackages) {
  char folder[] = "/tmp/penstock-venv-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string venv = folder;
  const std::string make =
      std::string(PENSTOCK_PYTHON) + " -m venv --without-pip " + venv + " >/dev/null 2>&1";
  if (std::system(make.c_str()) != 0) GTEST_SKIP() << "this Python makes no virtual environments";
  EXPECT_EQ(start_elsewhere(venv + "/bin/python3", PENSTOCK_PACKAGE),
            "started, prefix " + venv + ", site-packages from there\n");
  EXPECT_EQ(std::system(("rm -rf " + venv).c_str()), 0);
}

TEST(RuntimeStart, AMissingPackageIsAnErrorThatSaysSo) {
  EXPECT_EQ(start_elsewhere(PENSTOCK_PYTHON, "/nonexistent"),
            "failed: ModuleNotFoundError: No module named 'erlang'\n");
}

}  // namespace
}  // namespace penstock::test

namespace {

/// Starts, asks Python for its prefix, prints it.
int start_only(const char* executable, const char* package) {
  using namespace penstock;
  const std::string failure = python::start_runtime({executable, package});
  if (!failure.empty() && python::start_runtime({executable, package}) == failure) {
    std::printf("failed: %s\n", failure.c_str());
    return 0;
  }
  const Ref<python::Context> context = python::Context::start(test::kContextPid, [] {});
  const auto call = Ref<test::TestCall>::steal(new test::TestCall(1));
  Message message;
  wire::Writer writer(message);
  const std::string_view code =
      "'started, prefix ' + __import__('sys').prefix + ', site-packages ' + ('from there' if "
      "any(p.startswith(__import__('sys').prefix) and p.endswith('site-packages') for p in "
      "__import__('sys').path) else 'missing')";
  if (!writer.tuple(5) || !writer.integer(static_cast<int>(Operation::eval)) ||
      !writer.handle(wire::HandleKind::call, Ref<Object>::borrow(call.get())) ||
      !writer.tag(wire::kNil) || !writer.bytes(wire::kBinary, test::bytes(code)) ||
      !writer.map(0) || context->requests().try_send(message) != Status::ok) {
    return 1;
  }
  std::string text = call->wait();
  const std::size_t from = text.find("<<\"") + 3;
  std::printf("%s\n", text.substr(from, text.rfind("\">>") - from).c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc == 4 && std::string(argv[1]) == "--start") {
    penstock::set_host(&penstock::test::the_host());
    const int result = start_only(argv[2], argv[3]);
    std::fflush(nullptr);
    std::_Exit(result);
  }
  penstock::set_host(&penstock::test::the_host());
  const std::string failure = penstock::python::start_runtime({PENSTOCK_PYTHON, PENSTOCK_PACKAGE});
  if (!failure.empty()) {
    std::fprintf(stderr, "%s\n", failure.c_str());
    return 1;
  }
  const int result = RUN_ALL_TESTS();
  std::fflush(nullptr);
  std::_Exit(result);  // Python is never finalized, and its threads are still there.
}
