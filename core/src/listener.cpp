// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/file.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

#include "gathering.hpp"

namespace penstock::sharing {

namespace {

constexpr int kBacklog = 64;

[[nodiscard]] int try_bind(int socket, const SocketAddress& name) noexcept {
  return bind(socket, reinterpret_cast<const sockaddr*>(name.bytes), name.size) == 0 ? 0 : errno;
}

/// Whether the socket at that path has nobody who listens any more.
bool is_stale(const std::string& path, const SocketAddress& name) {
  struct stat file {};
  if (lstat(path.c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const Descriptor probe = new_socket();
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(name.bytes), name.size) != 0 &&
         errno == ECONNREFUSED;
}

/// Between its bind() and its listen() a new socket looks stale, and two that find one must not
/// remove each other's: held meanwhile.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder)
      : folder_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (folder_.get() < 0 || flock(folder_.get(), LOCK_EX) != 0) fail(errno, folder.native());
  }
  /// A child that was forked meanwhile has the descriptor, too: closing it is not enough.
  ~FolderLock() { (void)flock(folder_.get(), LOCK_UN); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  const Descriptor folder_;
};

int bind_path(int socket, const std::string& path, const SocketAddress& name) {
  const int error = try_bind(socket, name);
  if (error != EADDRINUSE || !is_stale(path, name)) return error;
  return unlink(path.c_str()) == 0 ? try_bind(socket, name) : errno;
}

}  // namespace

void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

Descriptor new_socket() {
  Descriptor made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (made.get() < 0) fail(errno, "a socket");
  return made;
}

SocketAddress::SocketAddress(const std::string& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  static_assert(sizeof name <= sizeof bytes);
  const bool is_abstract = address.starts_with('@');
  // A path ends with a zero byte.
  if (address.size() >= sizeof name.sun_path) fail(ENAMETOOLONG, address);
  if (address.empty() || address.find('\0') != std::string::npos || address == "@") {
    fail(EINVAL, "an address");
  }
  address.copy(name.sun_path, address.size());
  if (is_abstract) name.sun_path[0] = '\0';
  std::memcpy(bytes, &name, sizeof name);
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size() +
                                (is_abstract ? 0 : 1));
}

Listener::Listener(const std::string& address) {
  if (address.empty()) return;
  socket_ = new_socket();
  const SocketAddress name(address);
  std::optional<FolderLock> lock;
  int error = 0;
  if (address.front() == '@') {
    error = try_bind(socket_.get(), name);
  } else {
    // Whoever goes elsewhere removes it all the same.
    path_ = std::filesystem::absolute(address);
    lock.emplace(std::filesystem::path(path_).parent_path());
    // Before anybody can connect: the file has the socket's mode.
    if (fchmod(socket_.get(), S_IRUSR | S_IWUSR) != 0) fail(errno, address);
    error = bind_path(socket_.get(), address, name);
    if (error == 0 && lstat(path_.c_str(), &file_) != 0) error = errno;
  }
  if (error != 0) fail(error, address);
  if (listen(socket_.get(), kBacklog) == 0) return;
  error = errno;
  remove_name();
  fail(error, address);
}

/// Unless somebody has put another one there.
void Listener::remove_name() noexcept {
  struct stat found {};
  if (!path_.empty() && lstat(path_.c_str(), &found) == 0 && found.st_dev == file_.st_dev &&
      found.st_ino == file_.st_ino) {
    (void)unlink(path_.c_str());
  }
  path_.clear();
}

void Listener::close() noexcept {
  remove_name();
  socket_ = {};
}

}  // namespace penstock::sharing
